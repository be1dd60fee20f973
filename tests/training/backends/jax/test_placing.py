"""Images and features on the devices of a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

IN_BLOCKS = """
import jax
import numpy as np
from effv2_tune.data.dataset import Split
from effv2_tune.training.backends.jax.mesh import device_mesh, replicated
from effv2_tune.training.backends.jax.placing import place_in_blocks
from effv2_tune.training.features.feature_set import FeatureSource
from effv2_tune.training.inputs.packing import PackedImages
from effv2_tune.training.inputs.pipeline import ImageSource

rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 103).astype(np.int32)
images = rng.integers(0, 256, (103, 9, 9, 3), np.uint8)
views = (rng.random((103, 32), np.float32), rng.random((103, 32), np.float32))
sharding = replicated(device_mesh(jax.devices()))
packed = PackedImages(ImageSource(Split(images, labels)), (9, 9, 3))
for source in (packed, FeatureSource(views, labels)):
    row = source.nbytes // len(labels)
    for block_bytes in (10 * row, 60 * row, 103 * row, 1):
        rows, classes = place_in_blocks(sharding, source, block_bytes=block_bytes)
        assert rows.sharding == sharding
        np.testing.assert_array_equal(rows, source.whole())
        np.testing.assert_array_equal(classes, labels)
print(len(rows.addressable_shards))
"""


def test_rows_placed_in_blocks_of_any_size_are_the_rows_of_the_source(
    run_python: Callable[..., str],
) -> None:
    printed = run_python(IN_BLOCKS, KERAS_BACKEND="jax", JAX_NUM_CPU_DEVICES="2")

    assert printed.strip() == "2"
