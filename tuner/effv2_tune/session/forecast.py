"""Forecasts time, memory and disk of a study on this machine, or on a named device."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.errors import TuneError
from effv2_tune.files.cache import cache_folder
from effv2_tune.forecast.cost import SESSION_HOURS
from effv2_tune.forecast.study import forecast_study
from effv2_tune.forecast.target import target_of
from effv2_tune.forecast.times import same_work
from effv2_tune.host import probe_host, threads_each, usable_bytes
from effv2_tune.plurals import pluralized
from effv2_tune.session.bucket_profiling import measure_buckets
from effv2_tune.session.known_times import as_known, keep_measured, known_times
from effv2_tune.study.batches import check_batches
from effv2_tune.training.features.cache import limit_bytes
from effv2_tune.workers.accelerators import named, recognise
from effv2_tune.workers.compilations import CompileBucket
from effv2_tune.workers.compiling import check_compiler, compile_bucket
from effv2_tune.workers.device_choice import choose_device, device_name
from effv2_tune.workers.topology import devices_per_chip, topology_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.forecast.study import BucketForecast, StudyForecast
    from effv2_tune.forecast.target import Target
    from effv2_tune.forecast.times import KnownTime
    from effv2_tune.host import Hardware
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.compilations import Compilation, CompiledProgram
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

    Attributes:
        plan: As given, with the workers chosen.
        choice: How they were chosen; empty where the study says how many.
        target: The devices of a worker.

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
        self._dataset = dataset
        self._base = base
        self._out = out
        self._device = device
        self._hardware = choose_device(plan) if device is None else None
        self._compiled: dict[str, Compilation] = {}
        self.choice = ""
        self.plan = plan
        if plan.workers == "auto":
            self.plan, self.choice = self._choose_workers(plan)
        self.target = self._target(self.plan)
        self._known = self._known_times(self.plan)

    def forecast(self, *, session_hours: float) -> StudyForecast:
        """The forecast from all times that are known so far."""
        return self._forecast(self.plan, self._known, session_hours)

    def _forecast(
        self, plan: StudyPlan, known: Mapping[str, KnownTime], session_hours: float = SESSION_HOURS
    ) -> StudyForecast:
        target, data = self._target(plan), self._dataset.facts()
        check_batches(plan, data, target.placement.device_count)
        return forecast_study(
            plan,
            data,
            target,
            on_disk=isinstance(self._dataset.train.images, np.memmap),
            feature_limit=limit_bytes(),
            known=known,
            compiled=self._compiled,
            session_hours=session_hours,
            final=final_of(plan, target),
            devices=self._devices(),
        )

    def _target(self, plan: StudyPlan) -> Target:
        if self._hardware is not None:
            return target_here(plan, self._hardware)
        if self._device is None:
            raise AssertionError("a forecast has a device")
        return target_named(plan, self._device)

    def _known_times(self, plan: StudyPlan) -> dict[str, KnownTime]:
        """What was measured on this machine before, by workers with so many processors."""
        if self._hardware is None:
            return {}
        return known_times(self._hardware.backend, threads=_threads(plan), out=self._out)

    def _choose_workers(self, plan: StudyPlan) -> tuple[StudyPlan, str]:
        """The plan with the workers that train most trials in an hour, and the comparison."""
        devices = self._devices()
        rates: list[tuple[StudyPlan, float]] = []
        for split in _splits(plan, devices, self._devices_per_chip()):
            try:
                cost = self._forecast(split, self._known_times(split)).cost
            except TuneError:
                continue  # a batch cannot be divided by these devices
            rates.append((split, 0.0 if cost is None else cost.trials_per_hour))
        if not rates:
            return plan.with_workers(1, None, devices), ""
        # The fewest of those that are alike: they start and compile fewest times.
        best = max(rates, key=lambda one: (round(one[1], 6), -one[0].worker_count))[0]
        found = ", ".join(
            f"{one.worker_count} x {pluralized(one.devices_per_worker or 1, 'device')}: {rate:.3g}"
            for one, rate in rates
        )
        each = pluralized(best.devices_per_worker or 1, "device")
        return best, (
            f"workers: {best.worker_count} with {each} each, of {devices}; trials in an hour, as "
            f"'effv2-tune plan' estimates them: {found}"
        )

    def _devices(self) -> int:
        if self._hardware is not None:
            return 1 if self._hardware.kind == "cpu" else self._hardware.devices
        return 1 if self._device is None else named(self._device)[1]

    def _devices_per_chip(self) -> int:
        if self._hardware is not None:
            return self._hardware.devices_per_chip
        return 1 if self._device is None else devices_per_chip(named(self._device)[0].name)

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
            self.plan, [one.share for _, one in chosen], base=self._base, hardware=self._hardware
        )
        with closing(results):
            for index, (digest, bucket) in enumerate(chosen, 1):
                on_start(bucket, index, len(chosen))
                measured = next(results)
                keep_measured(measured, threads=_threads(self.plan))
                self._known[digest] = as_known(measured)
                on_result(measured)

    def compile(
        self,
        buckets: Sequence[BucketForecast],
        *,
        cache: Path | None = None,
        on_start: Callable[[BucketForecast, int, int], None],
        on_program: Callable[[CompiledProgram], None],
    ) -> None:
        """Compile buckets for the named device, which need not be attached; forecasts use that.

        Args:
            buckets: Of a forecast.
            cache: Folder of JAX's caches for the entries; this user's if left out.
            on_start: Called with the next bucket, its index from 1, and the number of buckets.
            on_program: Called with each of its programs when it is compiled.

        Raises:
            TuneError: The device has no compiler here, or it is not installed.
        """
        placement, accelerator = self.target.placement, self.target.accelerator
        name = placement.device_kind if accelerator is None else accelerator.name
        topology = topology_of(name, placement.device_count)
        check_compiler()
        for index, bucket in enumerate(buckets, 1):
            on_start(bucket, index, len(buckets))
            key = bucket.share.key
            request = CompileBucket(
                recipe=bucket.share.recipe,
                key=key,
                data=self._dataset.facts(),
                topology=topology,
                image_bytes=int(self.target.image_bytes or 0),
                base=self._base,
                cache=cache or cache_folder("compiled"),
            )
            self._compiled[key.digest] = compile_bucket(request, on_program=on_program)

    def free_space(self) -> FreeSpace:
        """Free bytes on the disks that the study writes to."""
        out, cache = _existing(self._out), _existing(cache_folder("features"))
        return FreeSpace(
            out=shutil.disk_usage(out).free,
            cache=shutil.disk_usage(cache).free,
            same_disk=out.stat().st_dev == cache.stat().st_dev,
        )


def _threads(plan: StudyPlan) -> int:
    """Processors of a worker."""
    return threads_each(len(os.sched_getaffinity(0)), plan.worker_count)


def _splits(plan: StudyPlan, devices: int, per_chip: int) -> Iterator[StudyPlan]:
    """The plan with each division of the devices over workers that it allows."""
    if devices == 1:
        yield plan.with_workers(1, None, 1)
        return
    sizes = (1, 2, 4, 8) if plan.devices_per_worker is None else (plan.devices_per_worker,)
    for each in sizes:
        if devices % each == 0 and each % per_chip == 0:
            yield plan.with_workers(devices // each, each, devices)


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
            count=plan.devices_per_worker or 1,
            precision=precision,
            memory=usable_bytes() / plan.worker_count,
            cores=threads_each(host.cpu_count, plan.worker_count),
        )
    name = device_name(hardware)
    return target_of(
        recognise(name),
        kind=hardware.kind,
        backend=hardware.backend,
        device_kind=name,
        count=hardware.devices_of(plan.worker_count, plan.devices_per_worker),
        precision=precision,
    )


def target_named(plan: StudyPlan, device: str) -> Target:
    """The device that the user names, with JAX.

    Raises:
        TuneError: It is not in the table of accelerators, or has too few devices, or each worker
            would have a part of a chip.
    """
    accelerator, count = named(device)
    per_chip = devices_per_chip(accelerator.name)
    each = plan.devices_per_worker or (count if plan.worker_count == 1 else per_chip)
    if each % per_chip and count > 1:
        raise TuneError(
            f"devices_per_worker: {each} would divide a chip of {device}: JAX shows its {per_chip} "
            f"cores as devices, and one process owns the chip; use a multiple of {per_chip}."
        )
    if accelerator.kind == "tpu" and plan.worker_count * each > count:
        raise TuneError(
            f"workers: {plan.worker_count} with {pluralized(each, 'device')} each exceeds the "
            f"{pluralized(count, 'device')} of {device}.",
            hint=f"Plan for {accelerator.name}-{plan.worker_count * each}, or change the study "
            "file.",
        )
    return target_of(
        accelerator,
        kind=accelerator.kind,
        backend="jax",
        device_kind=accelerator.device_kind,
        count=each,
        precision=plan.recipe.precision,
    )


def final_of(plan: StudyPlan, target: Target) -> Target | None:
    """The target of a study; None where its trials are trained there.

    Args:
        plan: The study.
        target: The devices of a worker.
    """
    count = plan.target_devices
    if count is None or count == target.placement.device_count:
        return None
    placement = target.placement.model_copy(update={"device_count": count})
    return replace(target, placement=placement)


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    whole = folder.resolve()
    return next(one for one in (whole, *whole.parents) if one.exists())
