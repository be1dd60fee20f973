"""Predicts what would fit in place of a bucket that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from effv2_tune.forecast.memory_estimate import predict_memory
from effv2_tune.forecast.target import target_of
from effv2_tune.forecast.work import work_of
from effv2_tune.workers.accelerators import named
from effv2_tune.workers.topology import TOPOLOGIES, devices_per_chip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.forecast.memory_estimate import MemoryForecast, Tier
    from effv2_tune.forecast.target import Target
    from effv2_tune.study.bucket import BucketKey, DataFacts

#: Resolutions are multiples of the stride of the network.
_STRIDE = 32
#: Batches on a device are multiples of the rows of a TPU's tile, or smaller than that.
_SUBLANES = 8
#: Devices of a worker (`devices_per_worker:`).
_DEVICES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Alternatives:
    """What is predicted to fit in place of a bucket; each is a change of one thing alone.

    These are estimates: nothing of it was compiled or trained.

    Attributes:
        batch: The largest batch over all devices of a worker; None if not even the smallest fits.
        resolution: The largest resolution, in pixels, a multiple of 32; likewise.
        devices_per_worker: The fewest devices of a worker on the same machine; likewise.
        hosts: Other TPU hosts, by the names that ``--device`` takes.
    """

    batch: int | None = None
    resolution: int | None = None
    devices_per_worker: int | None = None
    hosts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """All of them in one line; what to try otherwise if there are none."""
        parts = [
            f"batch {self.batch}" if self.batch else "",
            f"{self.resolution} px" if self.resolution else "",
            f"{self.devices_per_worker} devices per worker" if self.devices_per_worker else "",
            f"device {' or '.join(self.hosts)}" if self.hosts else "",
        ]
        found = "; ".join(part for part in parts if part)
        return f"estimated to fit: {found}" if found else "a smaller network may fit"


@dataclass(frozen=True)
class Misfit:
    """A bucket that does not fit.

    Attributes:
        key: The bucket.
        target: The devices of a worker.
        data: The images.
        tier: Where they are stored.
        machine: Devices of the whole machine.
        divisor: What batches have to be a multiple of: devices of a worker, or of the target.
        known: Bytes of one device that it needs, if its compiler or a worker found that out; else
            they are predicted.
    """

    key: BucketKey
    target: Target
    data: DataFacts
    tier: Tier
    machine: int
    divisor: int
    known: float | None = None

    def alternatives(self) -> Alternatives:
        """What would fit."""
        batches, resolutions = self._smaller_batches(), self._smaller_resolutions()
        return Alternatives(
            batch=next((key.batch for key in batches if self._fits(key, self.target)), None),
            resolution=next(
                (key.resolution for key in resolutions if self._fits(key, self.target)), None
            ),
            devices_per_worker=next(
                (count for count in _DEVICES if self._fits_devices(count)),
                None,
            ),
            hosts=tuple(self._hosts()),
        )

    def _smaller_batches(self) -> Iterator[BucketKey]:
        """The largest first."""
        for each in range(self.key.batch // self.divisor - 1, 0, -1):
            if each < _SUBLANES or each % _SUBLANES == 0:
                yield self.key.model_copy(update={"batch": each * self.divisor})

    def _smaller_resolutions(self) -> Iterator[BucketKey]:
        """The largest first."""
        highest = (self.key.resolution - 1) // _STRIDE * _STRIDE
        for pixels in range(highest, 0, -_STRIDE):
            yield self.key.model_copy(update={"resolution": pixels})

    def _fits_devices(self, count: int) -> bool:
        here = self.target.placement
        if not here.device_count < count <= self.machine or self.key.batch % count:
            return False
        placement = here.model_copy(update={"device_count": count})
        key = self.key.model_copy(update={"device_count": count})
        return self._fits(key, replace(self.target, placement=placement))

    def _hosts(self) -> Iterator[str]:
        here = self.target
        if here.kind != "tpu" or here.accelerator is None:
            return
        shares_machine = here.placement.device_count < self.machine
        for host in TOPOLOGIES.values():
            accelerator, devices = named(host.name)
            count = here.placement.device_count if shares_machine else devices
            if (accelerator, devices) == (here.accelerator, self.machine):
                continue
            if (shares_machine and devices < self.machine) or self.key.batch % count:
                continue
            if count % devices_per_chip(accelerator.name):
                continue
            there = target_of(
                accelerator,
                kind="tpu",
                backend="jax",
                device_kind=accelerator.device_kind,
                count=count,
                precision=self.key.precision,
            )
            moved = {"device_count": count, "device_kind": accelerator.device_kind}
            if self._fits(self.key.model_copy(update=moved), there):
                yield host.name

    def _fits(self, key: BucketKey, target: Target) -> bool:
        predicted = self._predict(key, target)
        return replace(predicted, activations=self._correction * predicted.activations).fits

    @cached_property
    def _correction(self) -> float:
        """Activations of the bucket over those that are predicted.

        As it does not fit, they take at least what everything else leaves of the memory.
        """
        predicted = self._predict(self.key, self.target)
        found = predicted.activations
        if self.known is not None:
            found = self.known - predicted.weights - predicted.images
        if predicted.limit is not None:
            found = max(found, predicted.limit - (predicted.total - predicted.activations))
        return found / predicted.activations

    def _predict(self, key: BucketKey, target: Target) -> MemoryForecast:
        return predict_memory(work_of(key), key, target, self.data, tier=self.tier)
