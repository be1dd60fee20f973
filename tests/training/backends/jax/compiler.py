"""Compilations for TPUs that are not attached, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import Recipe
from effv2_tune.workers.accelerators import named
from effv2_tune.workers.compilations import CompileBucket
from effv2_tune.workers.topology import find_topology

if TYPE_CHECKING:
    from pathlib import Path

#: So many images that no other array of the networks in tests is as large as all of them.
DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=20_000, validation=2_000, test=2_000, digest="none"
)


def tiny(**changes: Any) -> Recipe:
    """A recipe of the smallest network, with averaged weights and augmentation."""
    settings: dict[str, Any] = {
        "variant": "tiny",
        "resolution": 32,
        "batch_size": 64,
        "epsilon": 1e-7,
        "ema": True,
        "flip": True,
        "crop_padding": 4,
    }
    return Recipe(**settings | changes)


def request(
    recipe: Recipe, device: str, *, cache: Path | None = None, **changes: Any
) -> CompileBucket:
    """A request for the bucket of a recipe on a TPU host."""
    accelerator, count = named(device)
    placement = Placement(
        backend="jax",
        device_kind=accelerator.device_kind,
        device_count=count,
        precision="mixed_bfloat16",
    )
    return CompileBucket(
        recipe=recipe,
        key=bucket_key(recipe, DATA, placement),
        data=DATA,
        topology=find_topology(device),
        image_bytes=int(accelerator.memory / 4),
        cache=cache,
        **changes,
    )
