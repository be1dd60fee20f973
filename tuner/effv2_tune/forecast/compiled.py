"""Predicts memory and FLOPs of a bucket from what its device's compiler made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.forecast.memory_estimate import feature_bytes, feature_rows, resident_bytes

if TYPE_CHECKING:
    from effv2_tune.forecast.memory_estimate import Tier
    from effv2_tune.forecast.target import Target
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
    """

    compilation: Compilation
    memory: float
    flops: float | None
    limit: float | None

    @property
    def fits(self) -> bool:
        """Whether the compiler accepts every program, and they fit together."""
        return self.compilation.fits and (self.limit is None or self.memory <= self.limit)

    @property
    def known_memory(self) -> float | None:
        """The memory; None if the compiler refuses the bucket without a figure."""
        return self.memory if self.compilation.largest.memory_bytes else None


def compiled_forecast(
    compilation: Compilation,
    *,
    key: BucketKey,
    work: Work,
    data: DataFacts,
    tier: Tier,
    target: Target,
) -> CompiledForecast:
    """Forecast a bucket from its compilation.

    Args:
        compilation: Of its programs.
        key: The bucket.
        work: Of the bucket.
        data: The images.
        tier: Where they are stored.
        target: The devices.
    """
    largest = compilation.largest
    others = sum(one.code_bytes for one in compilation.programs if one is not largest)
    memory = largest.memory_bytes + others + _other_splits(largest.split, work, data, target, tier)
    train = compilation.of_kind("train")
    flops = None if train is None else train.flops * key.device_count / key.batch
    return CompiledForecast(compilation, memory, flops or None, target.usable_memory)


def _other_splits(split: str, work: Work, data: DataFacts, target: Target, tier: Tier) -> float:
    """Bytes of the resident splits that a program does not run on, but shares the memory with."""
    if work.caches_features:
        whole = feature_bytes(work, data)
        features = feature_rows(work, data)
        return whole * (1 - features[split] / sum(features.values()))
    if tier != "resident":
        return 0.0
    rows = data.trained if split == "train" else data.validation
    images = data.trained + data.validation + data.test
    return resident_bytes(data, target) * (1 - rows / images)
