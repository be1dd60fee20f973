"""Compares a final training with what the search promised: quality and seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.pareto.estimates import COMMON_SHARE, SEED_SHARE, Z90, binomial_error
from effv2_tune.study.base import Value
from effv2_tune.study.recipe import Quality, quality_direction
from effv2_tune.study.training_run import Promise
from effv2_tune.study.trial import STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from effv2_tune.study.training_run import Provenance
    from effv2_tune.study.trial import Environment, Scores

#: A promise is broken where the result is worse by more standard errors of the difference.
TOLERATED_ERRORS = 2.0


class QualityDifference(Value):
    """A quality of the final training, and what the search expected of it.

    Attributes:
        expected: The estimate of the search.
        found: Of the final training.
        standard_error: Of their difference.
        standard_errors: The difference, found less expected, in standard errors.
        is_kept: Whether it is not worse by more than ``TOLERATED_ERRORS``.
    """

    expected: float
    found: float
    standard_error: float
    standard_errors: float
    is_kept: bool


class SecondsDifference(Value):
    """The training seconds of the final training, and what the search expected of them.

    Attributes:
        expected: By the search.
        low: Lower end of the interval that holds the found seconds in 90 % of all cases, by the
            errors of both step times; None where the search recorded none.
        high: Upper end.
        found: By the final training.
        excess: Relative deviation of what was found; positive is slower.
        steps_ratio: Steps of the final training relative to those of the search, by which expected
            seconds and interval are scaled: above 1 where it trains on the validation images, too.
        standard_errors: The deviation in standard errors, on a logarithmic scale; None without an
            interval.
        is_expected: Whether it is within the interval; without one, within the tolerance of step
            times.
    """

    expected: float
    low: float | None
    high: float | None
    found: float
    excess: float
    standard_errors: float | None
    is_expected: bool
    steps_ratio: float = 1.0


class Comparison(Value):
    """Whether a final training has kept the promise of the search.

    Attributes:
        quality: The score that is compared.
        validation: On the validation images; None where they were trained on.
        test: On the test images.
        is_reproduced: Whether the validation scores are exactly those of the search.
        seconds: None where the devices differ.
        other_device: How they differ; empty where they do not.
    """

    quality: Quality
    validation: QualityDifference | None
    test: QualityDifference
    is_reproduced: bool
    seconds: SecondsDifference | None
    other_device: str


@dataclass(frozen=True)
class FinalResult:
    """What is compared of a final training.

    Attributes:
        validation: Scores of the selected weights; None where the validation images were trained
            on.
        validation_errors: The standard error of each of these, where the validation images are not
            those of the search but, with folds, the first part of them; else None.
        test: Scores of the same weights on the test images.
        test_errors: The standard error of each of these.
        train_seconds: By the step time that the final training measured.
        seconds_error: Relative half-width of the 90 % interval of these.
        environment: What it ran on.
        steps_ratio: As of :class:`SecondsDifference`.
    """

    validation: Scores | None
    validation_errors: Scores | None
    test: Scores
    test_errors: Scores
    train_seconds: float
    seconds_error: float
    environment: Environment
    steps_ratio: float = 1.0


def compare(found: Provenance, quality: Quality, result: FinalResult) -> Comparison:
    """Compare a final training with the promise in its provenance.

    A file of an earlier version promises the accuracy as measured, with its binomial error. Where
    the validation images were trained on, nothing is left to compare but test quality and seconds.
    """
    promise = found.promise
    if promise is None:
        quality, promise = "accuracy", _measured(found)
    test_error = other_images_error(promise, result.test_errors.value_of(quality))
    other_device = _other_device(found.environment, result.environment)
    return Comparison(
        quality=quality,
        validation=_validation(promise, result, quality),
        test=_difference(promise, result.test, quality, error=test_error),
        is_reproduced=result.validation == found.validation,
        seconds=None if other_device else compare_seconds(found, result),
        other_device=other_device,
    )


def _validation(
    promise: Promise, result: FinalResult, quality: Quality
) -> QualityDifference | None:
    if result.validation is None:
        return None
    if result.validation_errors is None:
        error = same_images_error(promise)
    else:
        # What the fold's images do is partly in the estimate: the true error is a little smaller.
        error = other_images_error(promise, result.validation_errors.value_of(quality))
    return _difference(promise, result.validation, quality, error=error)


def other_images_error(promise: Promise, training_error: float) -> float:
    """Standard error of a training's quality on other images less the estimate.

    Args:
        promise: Of the search.
        training_error: Of the training's quality on its images, as an estimate for all images.
    """
    # The images differ, so the errors of both sides are independent. What other seeds change
    # beyond the images' share comes on top. Where the seed is that of the search, a part of that is
    # common to both sides: the true error is then a little smaller.
    beyond = _between_seeds(promise) - SEED_SHARE * promise.raw_standard_error**2
    return math.sqrt(promise.standard_error**2 + training_error**2 + beyond)


def same_images_error(promise: Promise) -> float:
    """Standard error of a training's quality on the validation images less the estimate."""
    # The estimate was made on these very images. What they do to all configs alike is in full on
    # both sides, and cancels. What they do to this config alone is in the estimate by the weight
    # that shrinkage leaves to the measurement. The seeds of both sides count in full.
    sampling, seeds = promise.raw_standard_error**2, _between_seeds(promise)
    images = (1 - SEED_SHARE - COMMON_SHARE) * sampling
    relative = max(0.0, promise.standard_error**2 - COMMON_SHARE * sampling)
    weight = min(1.0, relative / (images + seeds / promise.replicates))
    return math.sqrt(relative + (1 - 2 * weight) * images + seeds)


def compare_seconds(found: Provenance, result: FinalResult) -> SecondsDifference:
    """Compare training seconds, on the same kind of device, with those that were promised."""
    expected = found.train_seconds * result.steps_ratio
    low, high = (
        None if end is None else end * result.steps_ratio
        for end in (found.seconds_low, found.seconds_high)
    )
    excess = result.train_seconds / expected - 1
    errors, is_expected = None, abs(excess) <= STEP_TIME_TOLERANCE
    if low is not None and high is not None and low < high:
        own = math.log1p(result.seconds_error)
        below = math.hypot(math.log(expected / low), own)
        above = math.hypot(math.log(high / expected), own)
        low, high = expected * math.exp(-below), expected * math.exp(above)
        errors = math.log1p(excess) / (above if excess > 0 else below) * Z90
        is_expected = low <= result.train_seconds <= high
    return SecondsDifference(
        expected=expected,
        low=low,
        high=high,
        found=result.train_seconds,
        excess=excess,
        standard_errors=errors,
        is_expected=is_expected,
        steps_ratio=result.steps_ratio,
    )


def _between_seeds(promise: Promise) -> float:
    """Variance between trainings with other seeds on the same images."""
    return max(promise.seed_deviation**2, SEED_SHARE * promise.raw_standard_error**2)


def _difference(
    promise: Promise, scores: Scores, quality: Quality, *, error: float
) -> QualityDifference:
    value = scores.value_of(quality)
    errors = (value - promise.quality) / error
    gain = -errors if quality_direction(quality) == "minimize" else errors
    return QualityDifference(
        expected=promise.quality,
        found=value,
        standard_error=error,
        standard_errors=errors,
        is_kept=gain >= -TOLERATED_ERRORS,
    )


def _measured(found: Provenance) -> Promise:
    """The validation accuracy of a provenance as a promise that is not shrunken."""
    accuracy = found.validation.accuracy
    error = binomial_error(accuracy, found.validation_count)
    return Promise(
        quality=accuracy,
        standard_error=error,
        low=accuracy - Z90 * error,
        high=accuracy + Z90 * error,
        raw=accuracy,
        raw_standard_error=error,
        seed_deviation=0.0,
    )


def _other_device(search: Environment, final: Environment) -> str:
    """How the device of the final training differs in kind from that of the search."""
    pairs = [
        ("device", search.device_kind, final.device_kind),
        ("number of devices", search.device_count, final.device_count),
        ("backend", search.backend, final.backend),
        ("CPU threads", search.threads, final.threads),
    ]
    # On an accelerator the threads of the host do not decide how long a step takes.
    if final.hardware != "cpu":
        del pairs[-1]
    return "; ".join(
        f"{name}: {one} then, {other} now" for name, one, other in pairs if one != other
    )
