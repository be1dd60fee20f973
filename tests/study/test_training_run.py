"""The file that export writes and train reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import MistakesError
from effv2_tune.study.recipe import Settings
from effv2_tune.study.training_run import Provenance, TrainingRun, load_training_run
from effv2_tune.study.trial import Environment, Scores

if TYPE_CHECKING:
    from pathlib import Path

RUN = TrainingRun(
    name="mine-trial-3",
    recipe=Settings(variant="b1", resolution=48, weight_decay=1e-6),
    provenance=Provenance(
        study="mine",
        trial=3,
        pick="knee",
        validation=Scores(accuracy=0.95, balanced_accuracy=0.9, macro_f1=0.9, top5=0.99, loss=0.2),
        validation_count=300,
        train_seconds=12.5,
        environment=Environment(
            device_kind="cpu",
            device_count=1,
            backend="tensorflow",
            precision="float32",
            threads=2,
            host="here",
            versions={"keras": "3.15.1"},
        ),
        data_digest="abc",
    ),
)


def test_a_training_run_is_read_back_equal(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(RUN.to_yaml())

    loaded = load_training_run(tmp_path / "train.yaml")

    assert loaded.run == RUN
    assert loaded.base == tmp_path
    assert loaded.run.full_recipe().variant == "b1"


def test_its_first_lines_say_where_it_comes_from() -> None:
    text = RUN.to_yaml()

    assert "# Trial 3 of study mine (knee): validation accuracy 0.9500, 12.5 s" in text


def test_a_mistake_in_it_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("name: x\nrecipe:\n  epoch: 3\n")

    with pytest.raises(MistakesError, match=r"train.yaml:3: recipe: unknown key 'epoch', did you"):
        load_training_run(tmp_path / "train.yaml")


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("name: x\nrecipe: {backbone: frozen}\n")

    with pytest.raises(MistakesError, match="needs pretrained weights"):
        load_training_run(tmp_path / "train.yaml")
