"""Predicts memory and FLOPs of a bucket from what its device's compiler made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.memory_estimate import feature_bytes, image_bytes

if TYPE_CHECKING:
    from effv2_tune.forecast.memory_estimate import MemoryForecast, Tier
    from effv2_tune.forecast.work import Work
    from effv2_tune.study.bucket import BucketKey, DataFacts
    from effv2_tune.workers.compilations import Compilation


@dataclass(frozen=True)
class CompiledForecast:
    """A bucket after its compilation for the device.

    Attributes:
        compilation: Of its programs.
        memory: Bytes of one device: of the program that needs most, of the splits that it does not
            run on where they are resident, and of the other programs.
        flops: Of one image's training step, after optimization; None if it was not compiled.
        limit: Bytes available; None if unknown.
        fitting_batch: If it does not fit, a batch that is predicted to; None if none is.
    """

    compilation: Compilation
    memory: float
    flops: float | None
    limit: float | None
    fitting_batch: int | None = None

    @property
    def fits(self) -> bool:
        """Whether the compiler accepts every program, and they fit together."""
        return self.compilation.fits and (self.limit is None or self.memory <= self.limit)


def compiled_forecast(
    compilation: Compilation,
    *,
    key: BucketKey,
    work: Work,
    data: DataFacts,
    tier: Tier,
    predicted: MemoryForecast,
) -> CompiledForecast:
    """Forecast a bucket from its compilation.

    Args:
        compilation: Of its programs.
        key: The bucket.
        work: Of the bucket.
        data: The images.
        tier: Where they are stored.
        predicted: Its memory without a compiler: weights and images do not depend on the batch.
    """
    largest = compilation.largest
    others = sum(one.code_bytes for one in compilation.programs if one is not largest)
    memory = largest.memory_bytes + others + _other_splits(largest.split, work, data, tier)
    train = compilation.of_kind("train")
    flops = None if train is None else train.flops * key.device_count / key.batch
    forecast = CompiledForecast(compilation, memory, flops or None, predicted.limit)
    if forecast.fits:
        return forecast
    fixed = predicted.weights + predicted.images
    batch = _fitting_batch(memory, fixed, key, predicted.limit)
    return CompiledForecast(compilation, memory, flops or None, predicted.limit, batch)


def _other_splits(split: str, work: Work, data: DataFacts, tier: Tier) -> float:
    """Bytes of the resident splits that a program does not run on, but shares the memory with."""
    if work.caches_features:
        whole = feature_bytes(work, data)
        rows = work.feature_views * data.trained if split == "train" else data.validation
        return whole * (
            1 - rows / (work.feature_views * data.trained + data.validation + data.test)
        )
    if tier != "resident":
        return 0.0
    rows = data.trained if split == "train" else data.validation
    return image_bytes(data) * (1 - rows / (data.trained + data.validation + data.test))


def _fitting_batch(memory: float, fixed: float, key: BucketKey, limit: float | None) -> int | None:
    """The largest half, quarter, ... of the batch whose share of the memory is small enough."""
    if limit is None or not memory > fixed or fixed >= limit:
        return None
    halvings = max(1, math.ceil(math.log2((memory - fixed) / (limit - fixed))))
    batch = key.batch >> halvings
    return batch if batch >= key.device_count else None
