"""Predicts the step time of every bucket, each from the best source available."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from effv2_tune.forecast import roofline
from effv2_tune.forecast.work import work_of
from effv2_tune.workers.accelerators import recognise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey

#: Source of a time, the best first: measured just now; measured before, by `plan --measure` or by
#: a study; the roofline, corrected by the measured buckets of the study; or the roofline alone.
Source = Literal["measured", "recorded", "scaled", "roofline"]


@dataclass(frozen=True)
class KnownTime:
    """A bucket that was measured.

    Attributes:
        key: The bucket.
        step_seconds: Time of one optimizer step; None if it did not fit. Of a bucket that caches
            features, either of the classifier's step, or of one that runs the backbone as well.
        source: When it was measured.
        origin: By which command or study, for display.
        runs_backbone: Whether that step runs the backbone although the bucket caches features.
        extraction_seconds: One pass of a frozen backbone over all views of the training images;
            None if that was not measured.
        start_seconds: Building and compiling; None if that was not measured.
        memory_bytes: Peak usage; None if that was not measured.
        flops: Operations of one image's training step as XLA counts them; None if not counted.
        reason: Why it did not fit.
    """

    key: BucketKey
    step_seconds: float | None
    source: Literal["measured", "recorded"]
    origin: str
    runs_backbone: bool = False
    extraction_seconds: float | None = None
    start_seconds: float | None = None
    memory_bytes: int | None = None
    flops: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class StepTime:
    """The predicted times of a bucket.

    Attributes:
        step_seconds: Of one optimizer step.
        evaluation_seconds: Of a forward pass over one image.
        extraction_seconds: Of the features of one view of one image; 0 if none are cached.
        source: Of the step time.
        origin: The same, for display.
    """

    step_seconds: float
    evaluation_seconds: float
    extraction_seconds: float
    source: Source
    origin: str


def same_work(key: BucketKey) -> BucketKey:
    """The bucket without the fields that affect neither time nor memory, such as the weights.

    Several names of one device become one.
    """
    chip = recognise(key.device_kind)
    return key.model_copy(
        update={
            "device_kind": key.device_kind if chip is None else chip.name,
            "weights": "",
            "schedule": "",
            "class_weighted": False,
        }
    )


def step_times(
    works: Sequence[tuple[BucketKey, Work]],
    target: Target,
    known: Mapping[str, KnownTime],
    *,
    images: int,
) -> list[StepTime | None]:
    """Predict the times of every bucket of a study.

    Args:
        works: The buckets.
        target: The device.
        known: Measured buckets, by the digest of :func:`same_work`.
        images: Number of training images.

    Returns:
        In the same order; None if the device is unknown.
    """
    timed = [known.get(same_work(key).digest) for key, _ in works]
    predicted = [
        _predicted(work, key, target) if roofline.can_predict(target) else None
        for key, work in works
    ]
    factor = _factor(works, timed, predicted)
    return [
        _best(key, work, one, guess, factor=factor, images=images)
        for (key, work), one, guess in zip(works, timed, predicted, strict=True)
    ]


def _predicted(work: Work, key: BucketKey, target: Target) -> StepTime:
    extraction = roofline.extraction_seconds(work, key, target) if work.caches_features else 0.0
    return StepTime(
        step_seconds=roofline.step_seconds(work, key, target),
        evaluation_seconds=roofline.evaluation_seconds(
            work_of(key.evaluated), key.evaluated, target
        ),
        extraction_seconds=extraction,
        source="roofline",
        origin="roofline",
    )


def _factor(
    works: Sequence[tuple[BucketKey, Work]],
    timed: Sequence[KnownTime | None],
    predicted: Sequence[StepTime | None],
) -> float | None:
    """Geometric mean of measured over predicted times."""
    ratios = []
    for (key, work), one, guess in zip(works, timed, predicted, strict=True):
        if one is None or one.step_seconds is None or guess is None:
            continue
        if not work.caches_features:
            ratios.append(one.step_seconds / guess.step_seconds)
        elif one.runs_backbone:
            ratios.append(one.step_seconds / (key.batch * guess.extraction_seconds))
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def _best(
    key: BucketKey,
    work: Work,
    timed: KnownTime | None,
    guess: StepTime | None,
    *,
    factor: float | None,
    images: int,
) -> StepTime | None:
    if timed is not None and timed.step_seconds is not None:
        return _known(key, work, timed, guess, images=images)
    if guess is None or factor is None:
        return guess
    return StepTime(
        # The factor of a network's step does not apply to a classifier's.
        step_seconds=guess.step_seconds * (1.0 if work.caches_features else factor),
        evaluation_seconds=guess.evaluation_seconds * factor,
        extraction_seconds=guess.extraction_seconds * factor,
        source="scaled",
        origin="roofline, scaled by the measured buckets",
    )


def _known(
    key: BucketKey, work: Work, timed: KnownTime, guess: StepTime | None, *, images: int
) -> StepTime | None:
    """Times of a measured bucket; those that were not measured, in proportion to its step."""
    seconds = timed.step_seconds
    if seconds is None:
        return guess
    forward_share = work_of(key.evaluated).forward_flops / work.train_flops
    if not work.caches_features:
        each = seconds / key.batch * forward_share
        return StepTime(seconds, each, 0.0, timed.source, timed.origin)
    if timed.runs_backbone:
        step = 0.0 if guess is None else guess.step_seconds
        return StepTime(step, step / key.batch, seconds / key.batch, timed.source, timed.origin)
    extraction = 0.0 if guess is None else guess.extraction_seconds
    if timed.extraction_seconds is not None:
        extraction = timed.extraction_seconds / (work.feature_views * images)
    return StepTime(seconds, seconds / key.batch, extraction, timed.source, timed.origin)
