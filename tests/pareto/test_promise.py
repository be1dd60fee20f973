"""Whether a final training has kept the promise of the search."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.pareto import COMMON_SHARE, SEED_SHARE
from effv2_tune.pareto.promise import (
    FinalResult,
    compare,
    compare_seconds,
    other_images_error,
    same_images_error,
)
from effv2_tune.study.training_run import Promise, Provenance
from effv2_tune.study.trial import Environment, Scores

HERE = Environment(
    device_kind="cpu",
    device_count=1,
    backend="tensorflow",
    precision="float32",
    threads=2,
    host="here",
    versions={},
    hardware="cpu",
)
PROMISE = Promise(
    quality=0.95,
    standard_error=0.01,
    low=0.934,
    high=0.966,
    raw=0.96,
    raw_standard_error=0.012,
    seed_deviation=0.0,
)


def scores(value: float) -> Scores:
    return Scores(accuracy=value, balanced_accuracy=value, macro_f1=value, top5=value, loss=value)


def found(promise: Promise | None = PROMISE, **changes: object) -> Provenance:
    provenance = Provenance(
        study="mine",
        trial=3,
        pick="knee",
        validation=scores(0.96),
        validation_count=300,
        train_seconds=20.0,
        seconds_low=19.0,
        seconds_high=21.0,
        environment=HERE,
        data_digest="abc",
        promise=promise,
    )
    return provenance.model_copy(update=changes)


FINAL = FinalResult(
    validation=scores(0.94),
    validation_errors=None,
    test=scores(0.95),
    test_errors=scores(0.01),
    train_seconds=20.0,
    seconds_error=0.0,
    environment=HERE,
)


def final(test: float = 0.95, **changes: Any) -> FinalResult:
    return replace(FINAL, test=scores(test), **changes)


def test_a_test_accuracy_is_compared_with_the_errors_of_both_sides() -> None:
    kept = compare(found(), "accuracy", final(0.94)).test
    broken = compare(found(), "accuracy", final(0.90)).test

    assert kept.standard_error == pytest.approx(math.hypot(0.01, 0.01))
    assert kept.standard_errors == pytest.approx(-0.01 / math.hypot(0.01, 0.01))
    assert (kept.is_kept, broken.is_kept) == (True, False)


def test_a_better_accuracy_keeps_the_promise_and_so_does_a_lower_loss() -> None:
    assert compare(found(), "accuracy", final(0.99)).test.is_kept
    assert compare(found(), "loss", final(0.90)).test.is_kept
    assert not compare(found(), "loss", final(0.99)).test.is_kept


def test_the_seeds_variance_beyond_that_of_the_images_makes_the_difference_less_certain() -> None:
    restless = PROMISE.model_copy(update={"seed_deviation": 0.03})

    more = compare(found(restless), "accuracy", final(0.90))

    assert more.test.is_kept
    assert (
        more.validation.standard_error > compare(found(), "accuracy", final()).test.standard_error
    )


def test_the_same_scores_on_the_same_images_are_a_reproduction() -> None:
    assert compare(found(), "accuracy", final(validation=scores(0.96))).is_reproduced
    assert not compare(found(), "accuracy", final(validation=scores(0.9601))).is_reproduced


def test_a_file_of_an_earlier_version_promises_the_accuracy_as_measured() -> None:
    compared = compare(found(None, seconds_low=None), "loss", final(0.95))

    assert compared.quality == "accuracy"
    assert compared.test.expected == 0.96
    assert compared.test.standard_error == pytest.approx(math.hypot(0.0120, 0.01), rel=0.01)
    assert compared.seconds is not None
    assert compared.seconds.standard_errors is None


@pytest.mark.parametrize(
    ("seconds", "is_expected"), [(19.5, True), (20.9, True), (22.4, False), (18.0, False)]
)
def test_seconds_are_compared_with_their_interval(seconds: float, is_expected: bool) -> None:  # noqa: FBT001
    compared = compare_seconds(found(), final(train_seconds=seconds))

    assert compared.is_expected == is_expected
    assert compared.excess == pytest.approx(seconds / 20 - 1)
    assert compared.standard_errors is not None
    assert (abs(compared.standard_errors) < 1.7) == is_expected


def test_the_error_of_the_new_step_time_widens_the_interval() -> None:
    compared = compare_seconds(found(), final(train_seconds=22.4, seconds_error=0.12))

    assert compared.is_expected
    assert compared.high is not None
    assert compared.high == pytest.approx(20 * 1.134, rel=0.01)


def test_on_a_fold_the_validation_images_are_others_than_those_of_the_search() -> None:
    fold = compare(found(), "accuracy", final(validation_errors=scores(0.03)))

    assert fold.validation.standard_error == pytest.approx(math.hypot(0.01, 0.03))
    assert (
        fold.validation.standard_error
        > compare(found(), "accuracy", final()).validation.standard_error
    )


def test_without_an_interval_a_tenth_is_tolerated() -> None:
    alone = found(seconds_low=None, seconds_high=None)

    assert compare_seconds(alone, final(train_seconds=21.9)).is_expected
    assert not compare_seconds(alone, final(train_seconds=22.1)).is_expected


def test_seconds_on_another_kind_of_device_are_not_compared() -> None:
    four = HERE.model_copy(update={"threads": 4})
    compared = compare(found(), "accuracy", final(environment=four))

    assert compared.seconds is None
    assert compared.other_device == "CPU threads: 2 then, 4 now"
    assert compare(
        found(), "accuracy", final(environment=HERE.model_copy(update={"host": "b"}))
    ).seconds


@pytest.mark.parametrize("beyond", [0.0, 0.01])
@pytest.mark.parametrize("spread", [0.002, 0.01, 0.05])
def test_differences_in_standard_errors_are_those_of_a_simulated_study(
    spread: float, beyond: float
) -> None:
    """Many searches and final trainings, in the model that the estimates assume."""
    chance = np.random.default_rng(7)
    error, test_error = 0.012, 0.009
    seeds = math.sqrt(SEED_SHARE * error**2 + beyond**2)

    def draw(deviation: float) -> np.ndarray:
        return deviation * chance.standard_normal(40_000)

    truth, common = draw(spread), draw(math.sqrt(COMMON_SHARE) * error)
    images = draw(math.sqrt(1 - SEED_SHARE - COMMON_SHARE) * error)
    # All configs of a study are shifted alike, so their mean is no help against the shift.
    own = (1 - SEED_SHARE - COMMON_SHARE) * error**2 + seeds**2
    weight = spread**2 / (spread**2 + own)
    estimate = common + weight * (truth + images + draw(seeds))
    promise = PROMISE.model_copy(
        update={
            "standard_error": math.sqrt(weight * own + COMMON_SHARE * error**2),
            "raw_standard_error": error,
            "seed_deviation": seeds,
        }
    )
    again = truth + common + images + draw(seeds) - estimate
    elsewhere = truth + draw(math.hypot(test_error, beyond)) - estimate

    assert again.std() / same_images_error(promise) == pytest.approx(1, abs=0.02)
    assert elsewhere.std() / other_images_error(promise, test_error) == pytest.approx(1, abs=0.02)


@given(st.floats(1e-6, 0.1), st.floats(1e-6, 0.1), st.floats(0, 0.2), st.integers(1, 9))
def test_a_difference_has_an_error_whatever_was_recorded(
    error: float, raw: float, seeds: float, replicates: int
) -> None:
    promise = PROMISE.model_copy(
        update={
            "standard_error": error,
            "raw_standard_error": raw,
            "seed_deviation": seeds,
            "replicates": replicates,
        }
    )

    assert same_images_error(promise) > 0
    assert other_images_error(promise, raw) > 0


def test_without_validation_images_the_test_and_the_seconds_of_more_steps_are_compared() -> None:
    both = final(0.94, validation=None, train_seconds=22.0, steps_ratio=1.1)

    compared = compare(found(), "accuracy", both)

    assert compared.validation is None
    assert not compared.is_reproduced
    assert compared.test == compare(found(), "accuracy", final(0.94)).test
    assert compared.seconds is not None
    assert compared.seconds.expected == pytest.approx(22.0)
    assert (compared.seconds.low, compared.seconds.high) == pytest.approx((20.9, 23.1))
    assert compared.seconds.excess == pytest.approx(0.0)
