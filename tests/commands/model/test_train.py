"""The command ``train``: what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_DONE, EXIT_WRONG_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


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
    assert "\n2 errors." in done.err
    assert not Path("runs/small-trial-2").exists()


def test_a_session_that_is_over_at_once_names_the_command_that_continues(
    tune: Tune, start: Callable[..., Any], study: Path
) -> None:
    assert tune("export", str(study)).code == 0

    process = start("train", "train.yaml", "--session-hours", "1e-9")
    out, err = process.communicate(timeout=120)

    command = "effv2-tune train train.yaml --session-hours 1e-09"
    assert (process.returncode, out) == (EXIT_DONE, "")
    assert err == f"The session is over, and the training is not done. To continue: {command}\n"


def test_training_on_the_validation_images_leaves_no_epoch_to_select(
    tune: Tune, study: Path
) -> None:
    assert tune("export", str(study)).code == 0
    text = Path("train.yaml").read_text()
    assert "train_on: train\n" in text
    Path("train.yaml").write_text(text.replace("select: last", "select: best"))

    done = tune("train", "train.yaml", "--data", "train+validation")

    assert done.code == EXIT_WRONG_INPUT
    assert "'select: best' compares epochs by the validation images" in done.err
    assert "write 'select: last'" in done.err
    assert not Path("runs/small-trial-2").exists()


def test_a_study_does_not_train_on_its_validation_images(tune: Tune) -> None:
    study = Path("study.yaml")
    study.write_text(f"data: {{train_on: train+validation}}\n{study.read_text()}")

    done = tune("check", "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "leaves no validation images, by which trials are compared" in done.err


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ("0,1,x", "'x' is no whole number from 0 to 4294967295"),
        ("0,-1", "'-1' is no whole number"),
        ("4294967296", "'4294967296' is no whole number"),
        ("2,3,2", "2 is there twice: each seed is one training"),
        ("", "'' is no whole number"),
    ],
)
def test_seeds_are_different_whole_numbers(
    tune: Tune, study: Path, seeds: str, message: str
) -> None:
    assert tune("export", str(study)).code == 0

    done = tune("train", "train.yaml", "--seeds", seeds)

    assert done.code == EXIT_WRONG_INPUT
    assert message in " ".join(done.err.split())
