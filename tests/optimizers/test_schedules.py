"""Learning-rate schedules: reference values, laws, and the same numbers in numpy and Keras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from effv2_tune.errors import TuneError
from effv2_tune.optimizers import (
    ConstantLearningRate,
    CosineLearningRate,
    CyclicalLearningRate,
    ScheduleSettings,
    WarmupLearningRate,
    learning_rate_at,
)
from effv2_tune.optimizers.curves import SCHEDULE_HYPERPARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Products of smaller rates are subnormal in float32, and XLA takes subnormal numbers for 0.
rates = st.just(0.0) | st.floats(2.0**-100, 10, width=32)
step_sizes = st.floats(2.0**-100, 2.0**40, width=32)
steps = st.integers(0, 10**9)


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleSettings:
    """Any schedule between two bounds."""
    kind = draw(st.sampled_from([kind for kind in SCHEDULE_HYPERPARAMETERS if kind != "constant"]))
    low, high = sorted([draw(rates), draw(rates)])
    available = {
        "initial_learning_rate": low,
        "maximal_learning_rate": high,
        "step_size": draw(step_sizes),
        "gamma": draw(st.floats(2.0**-20, 1, width=32)),
        "warmup_steps": draw(st.floats(0, 2.0**20, width=32)),
        "decay_steps": draw(step_sizes),
    }
    return ScheduleSettings(
        kind, {name: available[name] for name in SCHEDULE_HYPERPARAMETERS[kind]}
    )


def schedule_from(settings: ScheduleSettings) -> Any:
    """The Keras schedule that `settings` describe."""
    kinds = {
        "constant": ConstantLearningRate,
        "cosine": CosineLearningRate,
        "warmup": WarmupLearningRate,
    }
    return kinds.get(settings.kind, CyclicalLearningRate).from_settings(settings)


def at(schedule: Any, step: Any) -> float:
    return float(ops.convert_to_numpy(schedule(step)))


def test_the_schedules_of_tensorflow_addons_are_reproduced(shared: Path) -> None:
    reference = json.loads((shared / "reference" / "cyclical_learning_rate.json").read_text())
    assert len(reference) == 16

    for run in reference:
        schedule = CyclicalLearningRate(
            run["initial"],
            run["maximal"],
            run["step_size"],
            policy=run["policy"],
            scale_mode=run["scale_mode"] if run["policy"] == "exponential" else None,
            gamma=run.get("gamma", 1.0),
        )
        found = np.asarray([at(schedule, step) for step in run["at"]])
        expected = np.asarray(run["learning_rate"])
        # gamma to the power of thousands of steps: float32 rounds gamma itself by 1e-8.
        rounding = 5e-5 if run["policy"] == "exponential" else 3e-7
        assert found == pytest.approx(expected, rel=rounding, abs=1e-9)
        assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (30, 1.0), (60, 0.1), (90, 0.55), (120, 0.1), (150, 0.325)]
)
def test_triangular2_halves_its_peaks_above_the_lower_bound(step: int, expected: float) -> None:
    assert at(CyclicalLearningRate.triangular2(0.1, 1, 30), step) == pytest.approx(expected)


def test_whole_and_fractional_steps_of_every_dtype_are_taken() -> None:
    schedule = CyclicalLearningRate.exponential(1e-3, 1e-1, 10, gamma=0.99)
    expected = at(schedule, 7)

    for step in (np.int32(7), np.int64(7), np.float32(7), ops.convert_to_tensor(7), 7.0):
        assert at(schedule, step) == pytest.approx(expected)


def test_the_cosine_climbs_falls_and_stays() -> None:
    schedule = CosineLearningRate(0.1, 1.1, decay_steps=100, warmup_steps=10)

    assert [at(schedule, step) for step in (0, 5, 10, 60, 110, 500)] == pytest.approx(
        [0.1, 0.6, 1.1, 0.6, 0.1, 0.1]
    )


def test_a_cosine_without_warm_up_begins_at_the_top() -> None:
    assert at(CosineLearningRate(0.0, 1.0, decay_steps=10), 0) == 1.0


def test_the_warm_up_of_a_constant_rate_is_that_of_the_published_training() -> None:
    """google/automl, efficientnetv2/utils.py, `WarmupLearningRateSchedule`, `constant`."""
    rate, warmup_steps = 1e-3, 97
    schedule = WarmupLearningRate(0.0, rate, warmup_steps)

    for step in (0, 1, 50, 96, 97, 98, 10_000):
        published = rate * step / warmup_steps if step < warmup_steps else rate
        assert at(schedule, step) == pytest.approx(published, rel=1e-6)
    assert at(schedule, 97) == float(np.float32(rate))


def test_during_a_warm_up_the_height_of_a_cycle_grows_and_its_timing_stays() -> None:
    bounds = (0.1, 1.1, 10, "triangular2")
    plain, warm = CyclicalLearningRate(*bounds), CyclicalLearningRate(*bounds, warmup_steps=25)

    for step in range(60):
        height = (at(plain, step) - 0.1) * min(1, step / 25)
        assert at(warm, step) - 0.1 == pytest.approx(height, abs=1e-6)


@settings(deadline=None)
@given(schedules(), steps)
def test_a_warm_up_of_0_steps_changes_nothing(schedule: ScheduleSettings, step: int) -> None:
    values = dict(schedule.hyperparameters) | {"warmup_steps": 0.0}
    left_out = {name: value for name, value in values.items() if name != "warmup_steps"}
    without = ScheduleSettings(schedule.kind, left_out)

    assert without == ScheduleSettings(schedule.kind, values)
    if schedule.kind == "warmup":
        assert at(schedule_from(without), step) == float(
            np.float32(values["maximal_learning_rate"])
        )


def test_a_constant_rate_is_constant() -> None:
    assert learning_rate_at(
        ScheduleSettings("constant", {"learning_rate": 0.3}), [0, 9]
    ).tolist() == [
        0.3,
        0.3,
    ]
    assert at(ConstantLearningRate(0.3), 9) == pytest.approx(0.3)


@settings(deadline=None)
@given(schedules(), steps)
def test_a_schedule_never_leaves_its_bounds(schedule: ScheduleSettings, step: int) -> None:
    low, high = (
        schedule.hyperparameters[name]
        for name in ("initial_learning_rate", "maximal_learning_rate")
    )

    assert low <= at(schedule_from(schedule), step) <= high
    assert low <= learning_rate_at(schedule, step) <= high


@settings(deadline=None)
@given(schedules(), st.integers(0, 20_000))
def test_numpy_and_keras_compute_the_same(schedule: ScheduleSettings, step: int) -> None:
    hyperparameters = schedule.hyperparameters
    low, high = hyperparameters["initial_learning_rate"], hyperparameters["maximal_learning_rate"]
    half_cycles = step / hyperparameters.get("step_size", hyperparameters.get("decay_steps", 1.0))
    # float32 knows a place in the cycle to one part in 2**23 of the cycles that have passed, and
    # a gamma near 1 to 6e-8, step after step.
    tolerance = 1e-6 + 5e-7 * min(half_cycles, 1e7) + 1e-6 * step * ("gamma" in hyperparameters)

    found, expected = at(schedule_from(schedule), step), float(learning_rate_at(schedule, step))

    assert abs(found - expected) <= tolerance * (high - low) + 1e-6 * high


@settings(deadline=None)
@given(schedules())
def test_a_schedule_comes_back_from_its_description(schedule: ScheduleSettings) -> None:
    described = keras.optimizers.schedules.serialize(schedule_from(schedule))

    again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(described)))

    assert again.settings == schedule


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CyclicalLearningRate(-1e-3, 1e-1, 10), "initial_learning_rate must be at least 0"),
        (lambda: CyclicalLearningRate(1e-1, 1e-3, 10), "0.1 is above maximal_learning_rate 0.001"),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, 0), "above 0 and finite, found 0."),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, 1e-60), "above 0 and finite, found 1e-60."),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, -4), "above 0 and finite, found -4."),
        (lambda: CyclicalLearningRate(1e-3, float("nan"), 4), "must be a number, found nan"),
        (lambda: CyclicalLearningRate(1e-3, float("inf"), 4), "maximal_learning_rate must be"),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, "5"), "step_size must be a number, found '5'"),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, 5, "square"), "no cyclical policy 'square'"),
        (
            lambda: CyclicalLearningRate(1e-3, 1e-1, 5, "exponential", "epochs"),
            "no scale mode 'epochs'",
        ),
        (
            lambda: CyclicalLearningRate(1e-3, 1e-1, 5, "triangular2", "iterations"),
            "'triangular2' scales by cycle only",
        ),
        (
            lambda: CyclicalLearningRate(1e-3, 1e-1, 5, "exponential", gamma=1.5),
            "gamma must be above 0 and at most 1",
        ),
        (lambda: CyclicalLearningRate(1e-3, 1e-1, 5, gamma=0.9), "gamma 0.9 has no meaning"),
        (lambda: CosineLearningRate(0.0, 1.0, decay_steps=0), "decay_steps must be above 0"),
        (lambda: CosineLearningRate(0.5, 0.1, decay_steps=9), "is above maximal_learning_rate"),
        (lambda: ConstantLearningRate(-0.1), "learning_rate must be at least 0"),
        (lambda: ScheduleSettings("triangle", {}), "did you mean 'triangular'?"),
        (lambda: ScheduleSettings("constant", {}), "takes learning_rate, found nothing"),
    ],
)
def test_a_wrong_schedule_is_refused_in_a_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(TuneError) as refused:
        make()

    assert sentence in refused.value.message
    assert refused.value.hint
