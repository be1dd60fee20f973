"""Collects known step times: from ``plan --measure``, and from studies that were run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.cache import cache_folder
from effv2_tune.files.checked_json import read_checked, write_checked
from effv2_tune.forecast.times import KnownTime, same_work
from effv2_tune.host import installed_versions
from effv2_tune.session.location import RUNS
from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study.trial import Environment
    from effv2_tune.workers.messages import Measured

#: The packages that a step time depends on.
_PACKAGES = {
    "tensorflow": ("keras", "tensorflow"),
    "jax": ("keras", "jax", "jaxlib"),
}


class MeasuredBucket(Value):
    """One bucket that ``plan --measure`` has timed; one small JSON file.

    Attributes:
        bucket: The bucket.
        threads: Processors that it had.
        versions: Of what its time depends on.
        step_seconds: As :class:`effv2_tune.workers.messages.Measured`, like those below.
        start_seconds: Building and compiling.
        memory_bytes: The most in use.
        memory_of: Whose memory.
        flops: As XLA counts them.
        written: When, UTC.
    """

    bucket: BucketKey
    threads: int
    versions: dict[str, str]
    step_seconds: float
    start_seconds: float
    memory_bytes: int
    memory_of: Literal["device", "process"]
    flops: float | None
    written: datetime

    @property
    def file_name(self) -> str:
        """The same for all buckets with the same step time."""
        parts = [same_work(self.bucket).digest, self.threads, sorted(self.versions.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24] + ".json"


def keep_measured(measured: Measured, *, threads: int) -> None:
    """Write the profile of a bucket for later plans; one that did not fit is not kept.

    Whether it fits depends on what else is running.

    Raises:
        TuneError: The cache cannot be written.
    """
    if measured.step_seconds is None:
        return
    entry = MeasuredBucket(
        bucket=measured.bucket,
        threads=threads,
        versions=versions_of(measured.bucket.backend),
        step_seconds=measured.step_seconds,
        start_seconds=measured.build_seconds + measured.compile_seconds,
        memory_bytes=measured.memory_bytes,
        memory_of=measured.memory_of,
        flops=measured.flops,
        written=datetime.now(UTC),
    )
    folder = cache_folder("measured")
    path = folder / entry.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_checked(path, entry.model_dump(mode="json"))
    except OSError as error:
        raise TuneError(
            f"The measured step times cannot be written to {folder}: {error.strerror or error}.",
            hint="Set EFFV2_TUNE_CACHE to a writable folder.",
            exit_code=EXIT_FAILED,
        ) from error


def known_times(backend: str, *, threads: int, out: Path) -> dict[str, KnownTime]:
    """All buckets that were timed with these versions and processors, by `same_work`'s digest.

    Args:
        backend: The Keras backend.
        threads: Processors that a worker has.
        out: The study's folder; studies in ``runs/`` are looked at as well.

    Returns:
        Step times that a study recorded take precedence over those of ``plan --measure``.
    """
    found: dict[str, KnownTime] = {}
    for entry in _measured(backend, threads):
        found[same_work(entry.bucket).digest] = KnownTime(
            key=entry.bucket,
            step_seconds=entry.step_seconds,
            source="recorded",
            origin=f"measured by plan --measure on {entry.written:%Y-%m-%d}",
            runs_backbone=entry.bucket.takes_features,
            start_seconds=entry.start_seconds,
            memory_bytes=entry.memory_bytes,
            flops=entry.flops,
        )
    for record in _studies([*sorted(RUNS.glob("*")), out]):
        for time in _recorded(record, backend, threads):
            digest = same_work(time.key).digest
            found[digest] = _completed(time, found.get(digest))
    return found


def as_known(measured: Measured) -> KnownTime:
    """A profile that was just measured."""
    return KnownTime(
        key=measured.bucket,
        step_seconds=measured.step_seconds,
        source="measured",
        origin="measured now",
        runs_backbone=measured.bucket.takes_features,
        start_seconds=measured.build_seconds + measured.compile_seconds,
        memory_bytes=measured.memory_bytes or None,
        flops=measured.flops,
        reason=measured.reason,
    )


def versions_of(backend: str) -> dict[str, str]:
    """Versions of the installed packages that a step's time depends on."""
    return installed_versions(_PACKAGES[backend])


def _measured(backend: str, threads: int) -> Iterator[MeasuredBucket]:
    installed = versions_of(backend)
    for path in sorted(cache_folder("measured").glob("*.json")):
        try:
            entry = MeasuredBucket.from_plain(read_checked(path))
        except ValidationError:
            continue  # of another version of this tool, or damaged: it is measured again
        if entry.versions == installed and entry.threads == threads:
            yield entry


def _studies(folders: Iterable[Path]) -> Iterator[StudyRecord]:
    from effv2_tune.search.storage.backup import DATABASE
    from effv2_tune.search.storage.snapshot import read_study

    for folder in folders:
        if not (folder / DATABASE).is_file():
            continue
        try:
            record = read_study(folder)
        except TuneError:
            continue  # a study that cannot be read is no business of another one's plan
        if not record.contradictions:
            yield record


def _recorded(record: StudyRecord, backend: str, threads: int) -> Iterator[KnownTime]:
    """The buckets of a study that were timed with what is installed here."""
    for trial in record.trials:
        if trial.environment is None or not _is_alike(trial.environment, threads):
            continue
        for bucket in trial.buckets:
            time = record.bucket_times.get(bucket.digest)
            if time is None or bucket.backend != backend:
                continue
            yield KnownTime(
                key=bucket,
                step_seconds=time.step_seconds,
                source="recorded",
                origin=f"recorded by study {record.plan.name}",
                extraction_seconds=time.extraction_seconds if bucket.takes_features else None,
            )


def _is_alike(environment: Environment, threads: int) -> bool:
    installed = versions_of(environment.backend)
    then = {name: environment.versions.get(name) for name in installed}
    return then == installed and environment.threads == threads


def _completed(time: KnownTime, other: KnownTime | None) -> KnownTime:
    """A study's time, with the memory and the start that only ``plan --measure`` looks at."""
    if other is None or other.runs_backbone:
        return time
    return replace(
        time,
        start_seconds=other.start_seconds,
        memory_bytes=other.memory_bytes,
        flops=other.flops,
    )
