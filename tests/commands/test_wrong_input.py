"""What people get wrong: one sentence and a way out, exit code 2, nothing written."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from effv2_tune import cli
from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT
from effv2_tune.session.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., object]

PLACES = [
    ("status", "nowhere"),
    ("trials", "nowhere"),
    ("report", "nowhere"),
    ("export", "nowhere"),
    ("confirm", "nowhere"),
    ("status", "study.yaml"),
    ("run", "study.yaml", "--out", "new", "--warm-start", "nowhere"),
]
WRONG = [
    (("status", "sqlite:///none.db"), "There is no database sqlite:///none.db."),
    (("status", "what://ever"), "'what://ever' is not the URL of a database."),
    (("run", "study.yaml", "--storage", "ever"), "'ever' is not the URL of a database."),
    (("run", "study.yaml", "--storage", "sqlite://"), "names no file"),
    (("run", "study.yaml", "--storage", "sqlite:////no/x.db"), "there is no folder /no."),
    (("run", "study.yaml", "--storage", "oracle://u:secret@h/x"), "oracle://u:***@h/x needs a"),
    (("run", "study.yaml", "--out", "study.yaml"), "study.yaml is a file."),
    (("run", "study.yaml", "--out", "study.yaml/deep/er"), "study.yaml is a file."),
    (("run", "stduy.yaml"), "There is no study file 'stduy.yaml'."),
    (("run", "quickstrat"), "did you mean 'quickstart'?"),
    (
        ("train", "nothing.yaml"),
        "There is no file nothing.yaml.\nWrite one with: effv2-tune export",
    ),
    (("check", "."), ". is a folder, not a study file."),
    (("run", "study.yaml", "--hours", "abc"), "'abc' is not a valid number."),
    (("confirm", "small", "--level", "1"), "1.0 is not in the range"),
    (("run", "study.yaml", "--trials", "abc"), "'abc' is not a valid whole number."),
    (
        ("train", "study.yaml"),
        "study.yaml is a study file, not a training run.\nRun the study with: effv2-tune run",
    ),
    (("check", "data.yaml"), "data.yaml:2: data: "),
    (("check", "clock.yaml"), "clock.yaml:3: clock: There is no study in "),
    (("check", "clock.yaml"), "clock.yaml:2: data: "),
    (("check", "hour.yaml"), "hour.yaml:1: clock: "),
    (("init", "quickstrat"), "did you mean 'quickstart'?"),
    (("spaces", "quickstrat"), "did you mean 'quickstart'?"),
    (("run", "study.yaml", "--trials", "0"), "0 is not in the range"),
    (("run", "study.yaml", "--workers", "9999"), "workers: 9999 exceeds the "),
]


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
def test_a_place_without_a_study_is_named(
    tune: Callable[..., object], folder: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(folder.rglob("*"))
    done = tune(*arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert "There is no study in" in done.err
    assert "effv2-tune run" in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=str)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(
    tune: Tune, folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (folder / "data.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nsearch_space: quickstart\ntrials: 1\n"
    )
    (folder / "clock.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nclock: {recorded: nowhere}\n"
        "search_space: quickstart\ntrials: 1\n"
    )
    (folder / "hour.yaml").write_text(
        "clock: hourly\nname: x\nsearch_space: quickstart\ntrials: 1\n"
    )
    before = sorted(folder.rglob("*"))

    done = tune(*arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "said"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_a_full_disk_is_told_in_a_sentence(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, error: int, said: str
) -> None:
    def fail(_: object, **_options: object) -> None:
        raise OSError(error, os.strerror(error), "runs/small/study.db")

    monkeypatch.setattr(Study, "run", fail)

    done = tune("run", "study.yaml")

    assert done.code == EXIT_FAILED
    assert done.err.startswith(f"Error: {said}")
    assert "runs/small/study.db" in done.err


def test_a_mistake_of_our_own_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object, **_options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(folder))

    monkeypatch.setattr(Study, "run", fail)

    with pytest.raises(FileNotFoundError):
        cli.run(["run", "study.yaml"])
