"""Which trial is picked from a front, and what becomes of it as a training run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search import read_study
from effv2_tune.session.picking import pick_trial, to_training_run
from effv2_tune.study.recipe import DataSpec
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import Trial


def remade(trial: Trial, device: str, quality: float, seconds: float) -> Trial:
    """A real trial's record with other figures, from another device."""
    assert trial.environment is not None
    assert trial.bucket is not None
    where, bucket = (
        one.model_copy(update={"device_kind": device}) for one in (trial.environment, trial.bucket)
    )
    measured = Measurement(quality=quality, train_seconds=seconds)
    return trial.model_copy(
        update={"environment": where, "bucket": bucket, "measurement": measured}
    )


@pytest.fixture
def record(ended: Path) -> StudyRecord:
    """Two trials on a slow kind of device, and two on a fast one."""
    record = read_study(ended)
    figures = [("old", 0.90, 900.0), ("old", 0.95, 1900.0), ("new", 0.80, 5.0), ("new", 0.85, 9.0)]
    trials = [remade(t, *figure) for t, figure in zip(record.trials, figures, strict=True)]
    return replace(record, trials=tuple(trials))


@pytest.mark.parametrize(
    ("device", "pick", "number"),
    [("old", "fastest", 0), ("old", "most-accurate", 1), ("new", "most-accurate", 3)],
)
def test_a_point_is_picked_among_the_trials_of_one_kind_of_device(
    record: StudyRecord, device: str, pick: str, number: int
) -> None:
    assert pick_trial(record, pick, device=device).trial.number == number


def test_times_of_two_kinds_of_device_are_never_compared(record: StudyRecord) -> None:
    with pytest.raises(
        TuneError, match="2 device kinds, whose training times are not comparable"
    ) as error:
        pick_trial(record, "fastest")

    assert "--device" in str(error.value.hint)
    assert pick_trial(record, "trial=1").trial.number == 1


def test_limits_leave_points_out(record: StudyRecord) -> None:
    assert pick_trial(record, "most-accurate", device="old", max_seconds=1000).trial.number == 0
    assert pick_trial(record, "fastest", device="old", min_quality=0.92).trial.number == 1


def test_a_training_run_finds_its_files_from_anywhere(record: StudyRecord, tmp_path: Path) -> None:
    pick = pick_trial(record, "trial=0")
    assert pick.trial.recipe is not None
    recipe = pick.trial.recipe.model_copy(
        update={
            "backbone": "finetune",
            "weights": "mine.weights.h5",
            "data": DataSpec(name="npz", path="images.npz"),
        }
    )
    record = replace(record, base=tmp_path)

    trial = pick.trial.model_copy(update={"recipe": recipe})
    run = to_training_run(record, replace(pick, option=replace(pick.option, trial=trial)))

    assert run.recipe.weights == str(tmp_path / "mine.weights.h5")
    assert run.data.path == str(tmp_path / "images.npz")


@pytest.mark.parametrize(("written", "exported"), [("same", "same"), ("native", 224), (96, 96)])
def test_a_training_run_evaluates_at_the_resolution_of_the_trial(
    record: StudyRecord, written: str | int, exported: str | int
) -> None:
    pick = pick_trial(record, "trial=0")
    assert pick.trial.recipe is not None
    recipe = pick.trial.recipe.with_settings(variant="b0", evaluation_resolution=written)
    trial = pick.trial.model_copy(update={"recipe": recipe})

    run = to_training_run(record, replace(pick, option=replace(pick.option, trial=trial)))

    assert run.recipe.evaluation_resolution == exported


def test_a_long_name_of_a_study_leaves_room_for_the_trial(record: StudyRecord) -> None:
    plan = record.plan.model_copy(update={"name": "n" * 80})

    run = to_training_run(replace(record, plan=plan), pick_trial(record, "trial=3"))

    assert run.name == "n" * 72 + "-trial-3"
    assert len(run.name) == 80


def test_a_training_run_has_the_promise_of_the_search(record: StudyRecord) -> None:
    pick = pick_trial(record, "most-accurate", device="old", robust=True)

    found = to_training_run(record, pick).provenance

    assert found is not None
    assert found.pick == "most-accurate, robust"
    assert found.promise == pick.promise()
    assert found.promise.low < found.promise.quality < found.promise.high


def test_a_trial_by_its_number_has_an_estimate_from_the_trials_of_its_kind_of_device(
    record: StudyRecord,
) -> None:
    pick = pick_trial(record, "trial=3")

    assert pick.compared == 2
    assert pick.probability is None
    assert pick.option.estimate == pick_trial(record, "most-accurate", device="new").option.estimate


def test_a_replicate_is_exported_as_the_trial_that_it_repeats(record: StudyRecord) -> None:
    again = record.trials[3].model_copy(update={"replicate_of": 2})

    with pytest.raises(TuneError, match="Trial 3 is a replicate of trial 2; only a complete") as no:
        pick_trial(replace(record, trials=(*record.trials[:3], again)), "trial=3")

    assert no.value.hint == "Complete are: 0, 1, 2"
