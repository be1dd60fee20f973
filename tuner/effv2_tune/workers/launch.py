"""Specifies the start of a worker: command, environment, device and first message."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from effv2_tune.host import THREADS_VARIABLE, threads_each
from effv2_tune.workers.devices import visible_devices
from effv2_tune.workers.messages import Prepare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from effv2_tune.host import Backend, Kind
    from effv2_tune.study.plan import StudyPlan

WORKER_COMMAND = (sys.executable, "-m", "effv2_tune.training.worker")


@dataclass(frozen=True)
class WorkerSpec:
    """The start of each worker of a pool.

    Attributes:
        prepare: Its first message.
        command: The program that it runs; ``--fd N`` is added.
        each: Devices of one worker; None for all that there are.
        devices: Devices of the machine.
        devices_per_chip: Devices of a chip of a TPU.
        target: Devices of the worker that runs alone, for what the others cannot do; its number is
            the one after theirs. None where they are on the target.
        has_target_apart: Whether there are workers that are not on the target.
    """

    prepare: Prepare
    command: Sequence[str] = WORKER_COMMAND
    each: int | None = None
    devices: int = 1
    target: int | None = None
    devices_per_chip: int = 1
    has_target_apart: bool = False

    @classmethod
    def of(
        cls,
        plan: StudyPlan,
        *,
        base: Path,
        hardware: Kind,
        backend: Backend,
        workers: int,
        devices: int = 1,
        devices_per_chip: int = 1,
        storage_size: int | None = None,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> Self:
        """The workers of a study.

        Args:
            plan: The study.
            base: Folder that the plan's relative paths start from.
            hardware: The kind of device that each worker must find.
            backend: The Keras backend.
            workers: How many workers share the machine.
            devices: Devices of the machine.
            devices_per_chip: Devices of a chip of a TPU: the least that a worker can have.
            storage_size: Side in pixels of stored images; the largest resolution of the plan if
                left out.
            command: The program that a worker runs; ``--fd N`` is added.
        """
        prepare = Prepare(
            data=plan.data,
            base=base,
            backend=backend,
            hardware=hardware,
            precision=plan.recipe.precision,
            storage_size=plan.largest_resolution if storage_size is None else storage_size,
            quality=plan.quality,
            workers=workers,
            target_devices=plan.target_devices,
        )
        each: int | None = plan.devices_per_worker
        target = plan.target_devices
        if each is None and workers > 1 and (hardware != "cpu" or max(devices, target or 1) > 1):
            each = devices_per_chip
        own = devices if each is None else each
        alone = None if target == own else target
        # On a cluster, nodes of the target's kind and others work together.
        is_apart = alone is not None or (plan.cluster is not None and target is not None)
        return cls(prepare, command, each, devices, alone, devices_per_chip, is_apart)

    def environment(self, worker: int = 0) -> dict[str, str]:
        """The environment variables of a worker, in addition to those of this process.

        Args:
            worker: Its number, from 0.
        """
        backend, hardware = self.prepare.backend, self.prepare.hardware
        workers, each = self.prepare.workers, self.each
        if worker >= workers and self.target is not None:
            worker, workers, each = 0, 1, self.target
        cpu_count = len(os.sched_getaffinity(0))
        return worker_environment(
            backend, hardware, workers=workers, cpu_count=cpu_count
        ) | visible_devices(
            worker,
            hardware=hardware,
            each=each,
            machine=self.devices,
            per_chip=self.devices_per_chip,
        )


def worker_environment(
    backend: str, hardware: str, *, workers: int, cpu_count: int
) -> dict[str, str]:
    """The environment variables that all workers of a machine share.

    Args:
        backend: The Keras backend.
        hardware: ``cpu``, ``gpu`` or ``tpu``; on a CPU, every accelerator is hidden.
        workers: How many share the machine.
        cpu_count: Processors that they share.
    """
    environment = {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
    }
    if workers > 1:
        environment |= thread_limits(threads_each(cpu_count, workers))
    if hardware == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    return environment


def thread_limits(threads: int) -> dict[str, str]:
    """The environment variables that limit a worker to so many compute threads."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        **dict.fromkeys(THREADS_VARIABLE.values(), count),
        "TF_NUM_INTEROP_THREADS": "1",
    }
