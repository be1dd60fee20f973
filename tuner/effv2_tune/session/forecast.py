"""Forecasts time, memory and disk of a study on this machine, or on a named device."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.files.cache import cache_folder
from effv2_tune.forecast.accelerators import named, recognise
from effv2_tune.forecast.study import forecast_study
from effv2_tune.forecast.target import target_of
from effv2_tune.forecast.times import same_work
from effv2_tune.host import probe_host, threads_each, usable_bytes
from effv2_tune.session.bucket_profiling import measure_buckets
from effv2_tune.session.known_times import as_known, keep_measured, known_times
from effv2_tune.session.preflight import choose_device
from effv2_tune.training.features.cache import limit_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.forecast.study import BucketForecast, StudyForecast
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.times import KnownTime
    from effv2_tune.host import Hardware
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.messages import Measured


@dataclass(frozen=True)
class FreeSpace:
    """Free bytes where a study writes.

    Attributes:
        out: On the disk of its folder.
        cache: On the disk of the user's cache.
        same_disk: Whether both are the same disk.
    """

    out: int
    cache: int
    same_disk: bool


class Forecaster:
    """Forecasts one study.

    Args:
        plan: The study.
        dataset: Its images.
        base: Folder that its relative paths start from.
        out: Its folder.
        device: A device of the table of accelerators, with a count, instead of this machine's.

    Raises:
        TuneError: The device cannot be used, or is not known.
    """

    def __init__(
        self,
        plan: StudyPlan,
        dataset: Dataset,
        *,
        base: Path,
        out: Path,
        device: str | None = None,
    ) -> None:
        self._plan = plan
        self._dataset = dataset
        self._base = base
        self._out = out
        self._hardware: Hardware | None = None
        self._threads = threads_each(len(os.sched_getaffinity(0)), plan.workers)
        self._known: dict[str, KnownTime] = {}
        if device is None:
            self._hardware = choose_device(plan)
            self.target = target_here(plan, self._hardware)
            self._known = known_times(self._hardware.backend, threads=self._threads, out=out)
        else:
            self.target = target_named(plan, device)

    def forecast(self, *, session_hours: float) -> StudyForecast:
        """The forecast from all times that are known so far."""
        return forecast_study(
            self._plan,
            self._dataset.facts(),
            self.target,
            on_disk=isinstance(self._dataset.train.images, np.memmap),
            feature_limit=limit_bytes(),
            known=self._known,
            session_hours=session_hours,
        )

    def measure(
        self,
        forecast: StudyForecast,
        *,
        at_most: int,
        on_start: Callable[[BucketForecast, int, int], None],
        on_result: Callable[[Measured], None],
    ) -> None:
        """Profile buckets that were not profiled yet, the cheapest first, and keep the results.

        Args:
            forecast: Names the buckets.
            at_most: How many.
            on_start: Called with the next bucket, its index from 1, and the number of buckets.
            on_result: Called with its profile.

        Raises:
            TuneError: The device or the images cannot be used.
        """
        if self._hardware is None:
            raise ValueError("only a device of this machine can be measured")
        new = {same_work(one.share.key).digest: one for one in forecast.buckets if not one.timed}
        chosen = list(new.items())[:at_most]
        results = measure_buckets(
            self._plan, [one.share for _, one in chosen], base=self._base, hardware=self._hardware
        )
        with closing(results):
            for index, (digest, bucket) in enumerate(chosen, 1):
                on_start(bucket, index, len(chosen))
                measured = next(results)
                keep_measured(measured, threads=self._threads)
                self._known[digest] = as_known(measured)
                on_result(measured)

    def free_space(self) -> FreeSpace:
        """Free bytes on the disks that the study writes to."""
        out, cache = _existing(self._out), _existing(cache_folder("features"))
        return FreeSpace(
            out=shutil.disk_usage(out).free,
            cache=shutil.disk_usage(cache).free,
            same_disk=out.stat().st_dev == cache.stat().st_dev,
        )


def target_here(plan: StudyPlan, hardware: Hardware) -> Target:
    """The device of this machine that the study will use."""
    host = probe_host()
    precision = plan.recipe.precision
    if hardware.kind == "cpu":
        return target_of(
            None,
            kind="cpu",
            backend=hardware.backend,
            device_kind=host.cpu,
            count=1,
            precision=precision,
            memory=usable_bytes() / plan.workers,
            cores=threads_each(host.cpu_count, plan.workers),
        )
    name = host.tpu_kind if hardware.kind == "tpu" else host.gpus[0]
    return target_of(
        recognise(name),
        kind=hardware.kind,
        backend=hardware.backend,
        device_kind=name or hardware.kind.upper(),
        # Several workers have one device each.
        count=hardware.devices if plan.workers == 1 else 1,
        precision=precision,
    )


def target_named(plan: StudyPlan, device: str) -> Target:
    """The device that the user names, with JAX.

    Raises:
        TuneError: It is not in the table of accelerators.
    """
    accelerator, count = named(device)
    return target_of(
        accelerator,
        kind=accelerator.kind,
        backend="jax",
        device_kind=accelerator.device_kind,
        count=count if plan.workers == 1 else 1,
        precision=plan.recipe.precision,
    )


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    whole = folder.resolve()
    return next(one for one in (whole, *whole.parents) if one.exists())
