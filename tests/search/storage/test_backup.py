"""A study whose database is gone is restored from its backup, and never begun over it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_FAILED
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


def remove(database: Path) -> None:
    database.unlink()


def empty(database: Path) -> None:
    database.write_bytes(b"")


def drop_studies(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM studies")
        connection.commit()


@pytest.mark.parametrize("lose", [remove, empty, drop_studies])
def test_a_lost_database_is_restored_by_the_command_of_the_message(
    tune: Tune, study: Path, lose: Callable[[Path], None]
) -> None:
    lose(study / "study.db")
    backup = (study / "study.db.backup").read_bytes()

    for command in (
        ("run", "study.yaml"),
        ("run", "study.yaml", "--dry-run"),
        ("status", "runs/small"),
        ("status", "small"),
        ("trials", "runs/small"),
    ):
        done = tune(*command)

        assert done.code == EXIT_FAILED
        assert "runs/small/study.db " in done.err
        assert "study.db.backup holds 4 trials" in done.err
        assert "in a database" not in done.err
    assert (study / "study.db.backup").read_bytes() == backup

    command = re.search(r"cp .*", done.err)
    assert command is not None
    subprocess.run(["/bin/sh", "-c", command[0]], check=True)
    assert len(read_study(study).trials) == 4
    assert tune("run", "study.yaml", "--trials", "5").code == 0
    assert [trial.state for trial in read_study(study).trials] == ["complete"] * 5


def test_the_backup_before_the_last_is_kept(tune: Tune, study: Path) -> None:
    first = (study / "study.db.backup").read_bytes()

    tune("run", "study.yaml", "--trials", "5")

    assert (study / "study.db.backup-older").read_bytes() == first
    (study / "study.db.backup").write_bytes(b"")
    remove(study / "study.db")
    done = tune("run", "study.yaml", "--trials", "5")
    assert "study.db.backup-older holds 4 trials" in done.err


def test_a_folder_name_with_a_space_is_quoted_in_the_command(tune: Tune, study: Path) -> None:
    study.rename("runs/a study")
    remove(Path("runs/a study/study.db"))

    done = tune("status", "runs/a study")

    assert "cp 'runs/a study/study.db.backup' 'runs/a study/study.db'" in done.err


def test_without_a_backup_a_study_begins(tune: Tune, study: Path) -> None:
    (study / "study.db.backup").unlink()
    empty(study / "study.db")

    assert tune("run", "study.yaml").code == 0


def test_logs_without_database_and_backup_are_no_proof_of_a_database_elsewhere(
    tune: Tune, study: Path
) -> None:
    (study / "study.db.backup").unlink()
    remove(study / "study.db")

    done = tune("status", "runs/small")

    assert "it was deleted, or " in done.err
