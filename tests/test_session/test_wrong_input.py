"""What people get wrong: one sentence and a way out, exit code 2, nothing written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune import cli
from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT
from effv2_tune.session.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., object]

PLACES = [
    ("status", "nowhere"),
    ("trials", "nowhere"),
    ("report", "nowhere"),
    ("export", "nowhere"),
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
    (("train", "nothing.yaml"), "There is no file nothing.yaml."),
    (("train", "study.yaml"), "study.yaml:3: unknown key 'search_space'"),
    (("check", "data.yaml"), "data.yaml:2: data: "),
    (("check", "clock.yaml"), "clock.yaml:3: clock: There is no study in "),
    (("check", "clock.yaml"), "clock.yaml:2: data: "),
    (("check", "hour.yaml"), "hour.yaml:1: clock: "),
    (("init", "quickstrat"), "did you mean 'quickstart'?"),
    (("spaces", "quickstrat"), "did you mean 'quickstart'?"),
    (("run", "study.yaml", "--trials", "0"), "0 is not in the range"),
    (("run", "study.yaml", "--workers", "9999"), "asks for 9999 workers, and this machine has "),
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
    ("arguments", "sentence"),
    [
        (("--pick", "kne"), "'kne' names no point, did you mean 'knee'?"),
        (("--pick", "trial=99"), "Trial 99 does not exist"),
        (("--pick", "trial=-1"), "Trial -1 does not exist"),
        (("--pick", "trial=1", "--max-seconds", "9"), "leaves nothing to choose"),
        (("--max-seconds", "0.001"), "The fastest takes 0.9 s"),
        (("--min-quality", "0.999"), "the best has accuracy 0.5"),
        (("--device", "scriptd"), "did you mean 'scripted'?"),
        (("--name", "other"), "holds no study 'other'"),
        (("-o", "study.yaml"), "study.yaml is there already"),
        (("-o", "none/train.yaml"), "none/train.yaml cannot be written"),
    ],
)
def test_export_says_what_there_is_instead(
    tune: Tune, study: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    written = Path("study.yaml").read_text()

    done = tune("export", str(study), *arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err
    assert not Path("train.yaml").exists()
    assert Path("study.yaml").read_text() == written


def test_a_study_without_a_complete_trial_cannot_be_exported_and_fails(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = '{"0": {"outcome": "diverged"}, "1": {"outcome": "infeasible"}}'
    monkeypatch.setenv("SCRIPT", failed)

    ran = tune("run", "study.yaml", "--trials", "2")
    exported = tune("export", "runs/small")

    assert ran.code == EXIT_FAILED
    assert "Next:" not in ran.err
    assert exported.code == EXIT_WRONG_INPUT
    assert "has no complete trial yet" in exported.err
    assert "no trial is complete yet" in tune("status", "runs/small").out
    assert tune("trials", "runs/small").code == 0


def test_a_study_whose_trials_fail_one_after_another_exits_with_1(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ", ".join(f'"{number}": {{"outcome": "failed"}}' for number in range(1, 9))
    monkeypatch.setenv("SCRIPT", f"{{{failing}}}")

    done = tune("run", "study.yaml", "--trials", "9")

    assert done.code == EXIT_FAILED
    assert "as the script says" in done.err
    assert "Report: " in done.err


def test_the_folder_of_another_study_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    for option in ((), ("--dry-run",)):
        done = tune("run", "quickstart", "--out", str(study), *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "holds another study, small" in done.err


def test_a_study_with_another_recipe_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 5"))

    for option in ((), ("--dry-run",)):
        done = tune("run", "study.yaml", *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "recipe.epochs: 4 -> 5" in done.err
    assert study.is_dir()


def test_a_batch_that_the_images_cannot_fill_is_found_by_a_dry_run(tune: Tune) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 4, batch_size: 5000"))

    done = tune("run", "study.yaml", "--dry-run")

    assert done.code == EXIT_WRONG_INPUT
    assert "A batch of 5000 images cannot be filled from 1293" in done.err


@pytest.mark.parametrize("left", ["study.db", "model.keras"])
def test_train_writes_into_no_folder_of_something_else(
    tune: Tune, study: Path, folder: Path, left: str
) -> None:
    assert tune("export", str(study)).code == 0
    (folder / "mine").mkdir()
    (folder / "mine" / left).write_text("precious")

    done = tune("train", "train.yaml", "--out", "mine")

    assert done.code == EXIT_WRONG_INPUT
    assert "The folder mine holds " in done.err
    assert [path.name for path in (folder / "mine").iterdir()] == [left]


def test_train_takes_no_file_for_a_folder(tune: Tune, study: Path) -> None:
    assert tune("export", str(study)).code == 0

    done = tune("train", "train.yaml", "--out", "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "study.yaml is a file" in done.err


def test_every_mistake_of_a_training_run_has_its_line(tune: Tune, study: Path) -> None:
    assert tune("export", str(study)).code == 0
    text = Path("train.yaml").read_text()
    Path("train.yaml").write_text(
        text.replace("epochs: 4", "epoch: 4").replace("dropout: 0.2", "dropout: many")
    )

    done = tune("train", "train.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "unknown key 'epoch', did you mean 'epochs'?" in done.err
    assert "found 'many'" in done.err
    assert "2 mistakes; nothing was started." in done.err
    assert not Path("runs/small-trial-2").exists()


@pytest.mark.parametrize(
    ("error", "said"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_a_full_disk_is_told_in_a_sentence(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, error: int, said: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(error, os.strerror(error), "runs/small/study.db")

    monkeypatch.setattr(Study, "run", fail)

    done = tune("run", "study.yaml")

    assert done.code == EXIT_FAILED
    assert done.err.startswith(f"Error: {said}")
    assert "runs/small/study.db" in done.err


def test_a_mistake_of_our_own_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(folder))

    monkeypatch.setattr(Study, "run", fail)

    with pytest.raises(FileNotFoundError):
        cli.run(["run", "study.yaml"])
