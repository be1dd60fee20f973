"""Profiles the buckets of a study before it runs, or tests them, each in a fresh worker process."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.workers.launch import WORKER_COMMAND, WorkerSpec
from effv2_tune.workers.local import local_pool
from effv2_tune.workers.messages import Measured, RangeTested, Ready
from effv2_tune.workers.pool import WorkerExited, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

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

    def measure(pool: SupervisedPool, share: BucketShare) -> None:
        pool.measure(0, share.recipe)

    answers = _answers(plan, shares, measure, base=base, hardware=hardware, command=worker_command)
    with closing(answers):
        for share, answer in zip(shares, answers, strict=True):
            if isinstance(answer, Measured):
                yield answer
            elif isinstance(answer, WorkerExited):
                reason = f"Its process ended: {answer.cause}"
                yield Measured(bucket=share.key, step_seconds=None, reason=reason)


def range_test_buckets(
    plan: StudyPlan,
    shares: Sequence[BucketShare],
    rates: Sequence[float],
    *,
    base: Path,
    hardware: Hardware,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> Generator[RangeTested]:
    """Yield the losses of each bucket at rising learning rates, in order.

    Errors and processes are as of :func:`measure_buckets`.

    Args:
        plan: The study.
        shares: Which of its buckets.
        rates: Of the steps.
        base: Folder that the plan's relative paths start from.
        hardware: The device and the backend.
        worker_command: What a worker runs; ``--fd N`` is added.
    """

    def test(pool: SupervisedPool, share: BucketShare) -> None:
        pool.range_test(0, share.recipe, rates)

    answers = _answers(plan, shares, test, base=base, hardware=hardware, command=worker_command)
    with closing(answers):
        for share, answer in zip(shares, answers, strict=True):
            if isinstance(answer, RangeTested):
                yield answer
            elif isinstance(answer, WorkerExited):
                yield RangeTested(bucket=share.key, reason=f"Its process ended: {answer.cause}")


def _answers(
    plan: StudyPlan,
    shares: Sequence[BucketShare],
    request: Callable[[SupervisedPool, BucketShare], None],
    *,
    base: Path,
    hardware: Hardware,
    command: Sequence[str],
) -> Generator[Measured | RangeTested | WorkerExited]:
    """The answer of a fresh worker about each bucket, or its exit.

    Args:
        plan: The study.
        shares: The buckets.
        request: Sends a bucket to a worker that is ready.
        base: Folder that the plan's relative paths start from.
        hardware: The device and the backend.
        command: What a worker runs; ``--fd N`` is added.
    """
    spec = WorkerSpec.of(
        plan,
        base=base,
        hardware=hardware.kind,
        backend=hardware.backend,
        # It runs alone, but with the threads, or the one GPU, that it will have in the study.
        workers=plan.worker_count,
        devices=hardware.devices,
        devices_per_chip=hardware.devices_per_chip,
        command=command,
    )
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        for share in shares:
            with local_pool(spec, count=1, out=Path(folder)) as pool:
                pool.start()
                yield _answer(pool, share, request)


def _answer(
    pool: SupervisedPool,
    share: BucketShare,
    request: Callable[[SupervisedPool, BucketShare], None],
) -> Measured | RangeTested | WorkerExited:
    requested = False
    for message in messages(pool):
        if isinstance(message, Ready) and not requested:
            request(pool, share)
            requested = True
        elif requested and isinstance(message, Measured | RangeTested | WorkerExited):
            return message
    raise AssertionError("the messages of a worker have no end")
