"""Profiles the buckets of a study before it runs, each in a fresh worker process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.workers.launch import WORKER_COMMAND, WorkerSpec
from effv2_tune.workers.local import local_pool
from effv2_tune.workers.messages import Measured, Ready
from effv2_tune.workers.pool import WorkerExited, messages

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.host import Hardware
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.supervised_pool import SupervisedPool


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
    spec = WorkerSpec.of(
        plan,
        base=base,
        hardware=hardware.kind,
        backend=hardware.backend,
        # It runs alone, but with the threads, or the one GPU, that it will have in the study.
        workers=plan.worker_count,
        devices=hardware.devices,
        command=worker_command,
    )
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        for share in shares:
            with local_pool(spec, count=1, out=Path(folder)) as pool:
                pool.start()
                yield _measure(pool, share)


def _measure(pool: SupervisedPool, share: BucketShare) -> Measured:
    requested = False
    for message in messages(pool):
        if isinstance(message, Ready) and not requested:
            pool.measure(0, share.recipe)
            requested = True
        elif isinstance(message, Measured):
            return message
        elif isinstance(message, WorkerExited) and requested:
            reason = f"Its process ended: {message.cause}"
            return Measured(bucket=share.key, step_seconds=None, reason=reason)
    raise AssertionError("the messages of a worker have no end")
