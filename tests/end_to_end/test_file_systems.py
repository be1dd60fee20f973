"""Studies on network and FUSE file systems: SQLite is refused there, reading is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT
from effv2_tune.files import file_systems

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]

HERE = Path(__file__).resolve().parent
SCRIPTED_CLI = (sys.executable, str(HERE / "scripted_cli.py"))
ON_FUSE = (sys.executable, str(HERE / "on_fuse.py"))


def test_a_study_on_a_fuse_file_system_is_refused_before_anything_is_written(folder: Path) -> None:
    drive = folder / "drive"
    drive.mkdir()
    if subprocess.run([*ON_FUSE, drive, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("FUSE cannot be mounted here")

    done = subprocess.run(
        [*ON_FUSE, drive, *SCRIPTED_CLI, "run", "study.yaml", "--out", "drive/runs"],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == EXIT_WRONG_INPUT
    assert "drive/runs is on a file system of type fuse.drive" in done.stderr
    assert "--out DIR" in done.stderr
    assert "--storage URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["drive", "study.yaml"]


def test_a_study_on_a_network_file_system_is_read_and_not_run(
    tune: Tune, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"22 1 0:1 / / rw - ext4 x rw\n23 22 0:2 / {tmp_path} rw - nfs4 s:/ rw\n")
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)

    refused = [
        tune("run", "study.yaml"),
        tune("run", "study.yaml", "--dry-run"),
        tune("run", "study.yaml", "--storage", f"sqlite:///{tmp_path}/shared.db"),
    ]

    assert [done.code for done in refused] == [EXIT_WRONG_INPUT] * 3
    assert all("type nfs4, where SQLite" in done.err for done in refused)
    assert tune("status", str(study)).code == 0
    assert tune("trials", str(study)).code == 0
    assert tune("report", str(study), "-o", str(tmp_path / "report.html")).code == 0
