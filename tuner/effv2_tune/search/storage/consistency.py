"""Finds facts of a study that contradict the records of its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.trial import Trial


def contradictions(
    trials: Sequence[Trial],
    *,
    times: Mapping[str, Sequence[BucketTime]],
    data: DataFacts | None,
    device_kind: str | None,
) -> Iterator[str]:
    """Sentences about the facts of a study that contradict the records of its trials.

    Args:
        trials: All of them.
        times: The versions of the time of each bucket, by its digest.
        data: Facts of the images.
        device_kind: Of the study.
    """
    yield from _of_times(trials, times)
    for trial in trials:
        if trial.bucket is None:
            continue
        if device_kind is not None and trial.bucket.device_kind != device_kind:
            yield (
                f"Trial {trial.number} was measured on {trial.bucket.device_kind}, and the study "
                f"on {device_kind}."
            )
        images = (trial.bucket.classes, trial.bucket.image_shape)
        if data is not None and images != (data.classes, data.image_shape):
            yield (
                f"Trial {trial.number} was trained on {_images(*images)}, and the study has "
                f"{_images(data.classes, data.image_shape)}."
            )


def _of_times(trials: Sequence[Trial], times: Mapping[str, Sequence[BucketTime]]) -> Iterator[str]:
    """Step times that no version of the bucket's time has."""
    for trial in trials:
        # Until its training ends, a record has the step time that its own worker has measured.
        if trial.state not in ("complete", "pruned") or trial.bucket is None:
            continue
        if trial.stage_buckets:  # its step time is a mean over several buckets
            continue
        used, known = trial.times.step_bucket, times.get(trial.bucket.digest, ())
        if used and used not in {time.step_seconds for time in known}:
            found = ", ".join(f"{time.step_seconds:.6g} s" for time in known) or "none"
            yield (
                f"Trial {trial.number} was recorded with a step time of {used:.6g} s for "
                f"{trial.bucket.label}, and the study's step time of this bucket is {found}."
            )


def _images(classes: int, shape: Sequence[int]) -> str:
    return f"images of {' x '.join(map(str, shape))} in {classes} classes"
