"""Reads the step times of an earlier study, for a study with a recorded clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.search.storage.snapshot import read_study

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import RecordedClock


def recorded_study(clock: RecordedClock, *, base: Path) -> StudyRecord:
    """The study whose step times are replayed.

    Args:
        clock: With the path of its folder.
        base: Folder that a relative path starts from.

    Raises:
        TuneError: There is no such study, or it has no step times, or some that contradict the
            records of its trials.
    """
    record = read_study(base / clock.recorded)
    if record.contradictions:
        raise TuneError(
            f"The study in {clock.recorded} is damaged: {record.contradictions[0]}",
            hint="Restore its backup, or name another study.",
        )
    if not record.bucket_times:
        raise TuneError(
            f"The study in {clock.recorded} has stored no step time yet.",
            hint="Run it first or name another one; 'clock: measured' measures step times again.",
        )
    return record


def missing_time(bucket: BucketKey, clock: RecordedClock) -> str:
    """Why a recipe of this bucket cannot be trained under a recorded clock."""
    return (
        f"no step time of {bucket.label} ({bucket.optimizer[0]}, {bucket.schedule}) on "
        f"{bucket.device_count} x {bucket.device_kind} with {bucket.backend} is recorded in "
        f"{clock.recorded}; 'clock: measured' would measure it"
    )
