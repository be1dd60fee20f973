"""Studies are found in folders and in databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


def test_a_study_in_a_database_is_read_by_its_url(tune: Tune, folder: Path) -> None:
    url = f"sqlite:///{folder}/shared.db"
    for name in ("small", "other"):
        text = Path("study.yaml").read_text().replace("name: small", f"name: {name}")
        Path("named.yaml").write_text(text)
        assert tune("run", "named.yaml", "--storage", url, "--dry-run").code == 0
        ran = tune("run", "named.yaml", "--storage", url)
        assert ran.code == 0
        assert f"Next: effv2-tune export {url} --name {name} --pick knee" in ran.err

    assert "It holds: other, small." in tune("status", url).err
    assert json.loads(tune("status", url, "--name", "other", "--json").out)["study"] == "other"
    assert len(tune("trials", url, "--name", "small", "--format", "csv").out.splitlines()) == 5
    assert tune("report", url, "--name", "small").out == "runs/small/report.html\n"
    assert tune("export", url, "--name", "small").out == "train.yaml\n"
    assert "so far    4 trials" in tune("run", "study.yaml", "--storage", url, "--dry-run").out


def test_the_folder_of_a_study_in_a_database_says_where_its_trials_are(
    tune: Tune, folder: Path
) -> None:
    tune("run", "study.yaml", "--storage", f"sqlite:///{folder}/shared.db")

    done = tune("status", "runs/small")

    assert "whose trials are in a database" in done.err
    assert "--name" in done.err


def test_a_password_is_not_shown(tune: Tune) -> None:
    pytest.importorskip("sqlite3")
    done = tune("status", "postgresql+psycopg://me:secret@127.0.0.1:9/none", "--name", "x")

    assert done.code == 2
    assert "secret" not in done.out + done.err


@pytest.mark.parametrize("written", ["runs/small", "small", "runs/small/study.db"])
def test_a_study_is_found_by_its_folder_its_name_and_its_file(
    tune: Tune, study: Path, written: str
) -> None:
    assert study == Path("runs/small")

    assert json.loads(tune("status", written, "--json").out)["study"] == "small"
