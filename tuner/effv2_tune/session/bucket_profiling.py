"""Profiles the buckets of a study before it runs, each in a fresh worker process."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.workers.local import (
    WORKER_COMMAND,
    ProcessPool,
    WorkerExited,
    device_of_worker,
    worker_environment,
)
from effv2_tune.workers.messages import Measured, Prepare, Ready, Refused

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.host import Hardware
    from effv2_tune.study.plan import StudyPlan

_POLL_SECONDS = 60.0


def measure_buckets(
    plan: StudyPlan,
    shares: Sequence[BucketShare],
    *,
    base: Path,
    hardware: Hardware,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> Generator[Measured]:
    """Yield the profile of each bucket, in order.

    Each is built in a fresh process, which isolates its memory and its crashes.

    Args:
        plan: The study.
        shares: Which of its buckets.
        base: Folder that the plan's relative paths start from.
        hardware: The device and the backend.
        worker_command: What a worker runs; ``--fd N`` is added.

    Raises:
        TuneError: The device or the images cannot be used.
    """
    prepare = Prepare(
        data=plan.data,
        base=base,
        backend=hardware.backend,
        hardware=hardware.kind,
        precision=plan.recipe.precision,
        storage_size=plan.largest_resolution,
        quality=plan.quality,
    )
    environment = worker_environment(
        hardware.backend,
        hardware.kind,
        # One worker, with the threads, or the one GPU, that it will have in the study.
        workers=plan.workers,
        cpu_count=len(os.sched_getaffinity(0)),
    )
    device_of = partial(device_of_worker, hardware=hardware.kind, workers=plan.workers)
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        for share in shares:
            # One pool per bucket: closing it ends the worker and frees its memory.
            with ProcessPool(
                prepare,
                count=1,
                out=Path(folder),
                environment=environment,
                command=worker_command,
                device_of=device_of,
            ) as pool:
                pool.start()
                yield _measure(pool, share)


def _measure(pool: ProcessPool, share: BucketShare) -> Measured:
    asked = False
    while True:
        for worker, message in pool.wait(_POLL_SECONDS):
            if isinstance(message, Ready) and not asked:
                pool.measure(worker, share.recipe)
                asked = True
            elif isinstance(message, Refused):
                raise TuneError(message.message, hint=message.hint, exit_code=message.exit_code)
            elif isinstance(message, Measured):
                return message
            elif isinstance(message, WorkerExited) and asked:
                return Measured(
                    bucket=share.key,
                    step_seconds=None,
                    reason=f"Its process ended: {message.cause}",
                )
