"""The history that freeze-thaw decides from, out of the records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.search.simulated_study import SPACE

from effv2_tune.pareto import Objective
from effv2_tune.search.engines.action_costs import Costs
from effv2_tune.search.engines.curve_history import CurveReader
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.study.space import Space
from effv2_tune.study.trial import Measurement, RungResult, Trial

if TYPE_CHECKING:
    from effv2_tune.search.freeze_thaw import History

START = datetime(2026, 1, 1, tzinfo=UTC)
EPOCHS = 20


def config(width: int) -> dict[str, Any]:
    return {"rate": 0.01, "width": width, "kind": None}


def trial(number: int, state: str, *qualities: float, minute: int = 0, **facts: Any) -> Trial:
    """With a result at each of the epochs 2, 4 and 8, a minute after another."""
    rungs = tuple(
        RungResult(rung=rung, epoch=epoch, quality=quality, projected_seconds=30.0)
        for rung, (epoch, quality) in enumerate(zip((2, 4, 8), qualities, strict=False))
    )
    times = tuple(START + timedelta(minutes=minute + place) for place in range(len(rungs)))
    written = {"config": config(number + 1), "rungs": rungs, "rung_times": times}
    return Trial.model_validate({"number": number, "state": state} | written | facts)


COSTS = Costs(
    seconds=lambda configs: [7.0 for _ in configs],
    continue_seconds=lambda trial: 1.0 + trial.number,
)


def new_reader(direction: Any = "maximize") -> CurveReader:
    return CurveReader(
        SPACE,
        cube=UnitCube(SPACE),
        epochs=lambda _: EPOCHS,
        objective=Objective(direction),
        quality="accuracy",
    )


def history(*trials: Trial, direction: Any = "maximize") -> History:
    return new_reader(direction).history(trials, COSTS)


def complete(number: int, *qualities: float, minute: int = 0) -> Trial:
    point = Measurement(quality=qualities[-1], train_seconds=40.0)
    ended = START + timedelta(minutes=minute + 30)
    return trial(number, "complete", *qualities[:-1], minute=minute, measurement=point, ended=ended)


def test_observations_are_in_the_order_measured_with_shares_of_the_epochs() -> None:
    found = history(
        complete(0, 0.1, 0.2, 0.3, 0.9, minute=0), trial(1, "paused", 0.4, 0.5, minute=2)
    )

    assert [(one.trial, one.share, one.quality) for one in found.observations] == [
        (0, 0.1, 0.1),
        (0, 0.2, 0.2),
        (0, 0.4, 0.3),
        (1, 0.1, 0.4),
        (1, 0.2, 0.5),
        (0, 1.0, 0.9),
    ]
    assert {number: one.state for number, one in found.trials.items()} == {
        0: "complete",
        1: "paused",
    }
    assert {number: one.seconds for number, one in found.trials.items()} == {0: 40.0, 1: 30.0}


def test_a_trial_without_a_rung_has_the_seconds_of_its_config() -> None:
    found = history(trial(0, "running"))

    assert found.trials[0].seconds == 7.0
    assert found.observations == []


def test_only_paused_trials_cost_something_to_continue() -> None:
    found = history(trial(0, "running", 0.1), trial(1, "paused", 0.2))

    assert [one.continue_seconds for one in found.trials.values()] == [0.0, 2.0]


def test_a_record_that_has_changed_is_read_again() -> None:
    reader = new_reader()
    early, late = (trial(0, "running"), trial(0, "paused", 0.4))

    assert reader.history([early], COSTS).observations == []
    assert [one.quality for one in reader.history([late], COSTS).observations] == [0.4]


def test_a_loss_is_negated() -> None:
    found = history(trial(0, "paused", 0.4), direction="minimize")

    assert [one.quality for one in found.observations] == [-0.4]


def test_a_trial_that_diverged_is_as_bad_as_the_worst() -> None:
    found = history(trial(0, "paused", 0.4), trial(1, "diverged", 0.6, ended=START))

    assert [(one.trial, one.share, one.quality) for one in found.observations] == [
        (1, 1.0, 0.4),
        (0, 0.1, 0.4),
    ]
    assert found.trials[1].state == "stopped"


def test_records_of_earlier_versions_have_no_times_of_rungs() -> None:
    old = complete(0, 0.1, 0.2, 0.9).model_copy(update={"rung_times": ()})

    assert [one.share for one in history(old).observations] == [0.1, 0.2, 1.0]


def test_replicates_duplicates_and_trials_outside_of_the_space_are_unknown() -> None:
    replicate = trial(1, "complete", replicate_of=0)
    duplicate = trial(2, "complete", notes=("duplicate of trial 0",))
    outside = trial(3, "failed", config={"rate": 5.0, "width": 1, "kind": None})

    assert list(history(trial(0, "running"), replicate, duplicate, outside).trials) == [0]


def test_trials_of_smaller_images_differ_in_one_input_and_are_complete_as_any_other() -> None:
    space = Space.model_validate(
        {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "scale": "log"},
            "resolution": {"type": "choice", "values": [64, 96, 128]},
        }
    )
    cube = UnitCube(space)
    reader = CurveReader(
        space,
        cube=cube,
        epochs=lambda _: EPOCHS,
        objective=Objective("maximize"),
        quality="accuracy",
    )
    small, large = (
        complete(number, 0.5).model_copy(
            update={"config": {"weight_decay": 1e-4, "resolution": resolution}}
        )
        for number, resolution in enumerate((64, 128))
    )

    found = reader.history([small, large], COSTS)

    decay, resolution = zip(*(one.config for one in found.trials.values()), strict=True)
    assert cube.dimensions == 2
    assert decay[0] == decay[1]
    assert resolution[0] < resolution[1]
    assert [one.state for one in found.trials.values()] == ["complete", "complete"]
