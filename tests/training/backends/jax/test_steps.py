"""The training steps on JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ON_SOME_DEVICES = """
from dataclasses import replace
from pathlib import Path
import jax
from effv2_tune.data import load_dataset
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.backends.jax.mesh import device_mesh
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer

data = DataSpec(train=128, validation=101, test=100)
recipe = Recipe(variant="tiny", resolution=32, batch_size=64, epsilon=1e-7, data=data)
device = open_device("jax", hardware="cpu")
mesh = device_mesh(jax.devices()[2:])
trainer = Trainer(
    load_dataset(data, base=Path()), replace(device, backend=replace(device.backend, mesh=mesh))
)
bucket = trainer.bucket(recipe)
bucket.start_first_epoch(recipe)
bucket.steps.run(0, 2)
assert bucket.steps.evaluate("validation").images == 101
used = {shard.device.id for array in jax.tree.leaves(bucket.steps._state)
        for shard in array.addressable_shards}
print(sorted(used))
"""


@pytest.mark.slow
def test_steps_run_on_the_devices_of_their_mesh_alone(run_python: Callable[..., str]) -> None:
    printed = run_python(ON_SOME_DEVICES, KERAS_BACKEND="jax", JAX_NUM_CPU_DEVICES="4")

    assert printed.strip() == "[2, 3]"
