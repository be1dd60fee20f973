"""The file that export writes and train reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import MistakesError
from effv2_tune.study.recipe import Settings
from effv2_tune.study.training_run import Promise, Provenance, TrainingRun, load_training_run
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


def test_a_promise_is_kept_in_it_and_a_file_without_one_can_still_be_read(tmp_path: Path) -> None:
    promise = Promise(
        quality=0.94,
        standard_error=0.01,
        low=0.92,
        high=0.96,
        raw=0.95,
        raw_standard_error=0.012,
        seed_deviation=0.0,
    )
    assert RUN.provenance is not None
    found = RUN.provenance.model_copy(update={"promise": promise, "seconds_low": 12.0})
    promised = RUN.model_copy(update={"provenance": found})
    (tmp_path / "train.yaml").write_text(promised.to_yaml())

    assert load_training_run(tmp_path / "train.yaml").run == promised
    assert "0.9400 (90 % interval 0.9200 to 0.9600)." in promised.to_yaml()
    assert "promise" not in RUN.to_yaml()


def test_a_mistake_in_it_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("name: x\nrecipe:\n  epoch: 3\n")

    with pytest.raises(MistakesError, match=r"train.yaml:3: recipe: unknown key 'epoch', did you"):
        load_training_run(tmp_path / "train.yaml")


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("name: x\nrecipe: {backbone: frozen}\n")

    with pytest.raises(MistakesError, match="needs pretrained weights"):
        load_training_run(tmp_path / "train.yaml")
