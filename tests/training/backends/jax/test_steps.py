"""The training steps on JAX."""

from __future__ import annotations

import json
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


IN_BOTH_FORMS = """
import json
from dataclasses import replace
from pathlib import Path
import jax
import numpy as np
from effv2_tune.data import load_dataset
from effv2_tune.network import training_network
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.backends.base import StepPlan
from effv2_tune.training.backends.jax import extraction, steps
from effv2_tune.training.devices import open_device
from effv2_tune.training.inputs.pipeline import image_sources
from effv2_tune.training.trainer import Trainer

steps.EVALUATION_WINDOW = extraction.EXTRACTION_WINDOW = 3
data = DataSpec(train=160, validation=101, test=100)
recipe = Recipe(variant="tiny", resolution=32, batch_size=16, epsilon=1e-7, flip=True,
                crop_padding=1, ema=True, data=data)
dataset = load_dataset(data, base=Path())
device = open_device("jax", hardware="cpu")
order = np.random.default_rng(0).integers(0, 101, (7, 16)).astype(np.int32)
some = np.arange(0, 160, 3, dtype=np.int32)

def counts(evaluated):
    return [evaluated.support.tolist(), evaluated.predicted.tolist(), evaluated.correct.tolist(),
            evaluated.in_top5], [evaluated.loss_sum, evaluated.loss_squares]

def results(platform, **limit):
    backend = replace(device.backend, platform=platform)
    trainer = Trainer(dataset, replace(device, backend=backend), **limit)
    bucket = trainer.bucket(recipe)
    bucket.start_first_epoch(recipe)
    before = [counts(bucket.validate()), counts(bucket.steps.evaluate("train", some))]
    sums = bucket.steps.run(2, 4)
    weights = bucket.steps.evaluated_weights()
    plan = StepPlan(batch=16, classes=0, image_shape=dataset.train.images.shape[1:], resolution=32,
                    interpolation="bilinear", scaling="tf", augmentations=(), averaged=False)
    backbone = training_network("tiny", classes=None, resolution=32, seed=3)
    images = backend.place(image_sources(dataset), limit.get("resident_bytes", 10**9))
    extractor = backend.make_extractor(backbone, plan, images)
    features = [extractor.run("validation", order[:batches], mirrored=batches == 1)
                for batches in (7, 1)]
    stored = getattr(images["train"], "pixels", None)
    return {
        "stored": None if stored is None else list(stored.shape),
        "traces": bucket.steps.traces,
        "counts": [one[0] for one in before],
        "losses": [*before[0][1], *before[1][1], sums.loss],
    }, weights, features

first, weights, features = results("cpu")
found = [first]
limits = [{}] if len(jax.devices()) > 1 else [{}, {"resident_bytes": 1000}]
for limit in limits:
    other, other_weights, other_features = results("tpu", **limit)
    other["weights apart"] = max(float(np.abs(weights[name] - array).max())
                                 for name, array in other_weights.items()
                                 if array.dtype.kind == "f")
    other["features apart"] = max(float(np.abs(one - two).max())
                                  for one, two in zip(features, other_features, strict=True))
    other["same shapes"] = [f.shape for f in features] == [f.shape for f in other_features]
    found.append(other)
print(json.dumps({"devices": len(jax.devices()), "found": found}))
"""


PRODUCTS = """
import collections, json
from dataclasses import replace
from pathlib import Path
import jax, numpy as np
from effv2_tune.data import load_dataset
from effv2_tune.network import classifier
from effv2_tune.network.jax_operations import traced_for
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer

PRECISIONS = {None: "default", "HIGHEST HIGHEST": "exact", "HIGH DEFAULT": "16 bits by 8"}

def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from equations(inner)

def facts(traced):
    '''Products by dtype of their factors and by precision; most rows that are gathered.'''
    products, gathered = collections.Counter(), 0
    for equation in equations(traced.jaxpr):
        name = equation.primitive.name
        if name in ("dot_general", "conv_general_dilated"):
            dtypes = sorted({str(factor.aval.dtype) for factor in equation.invars})
            asked = equation.params["precision"]
            precision = PRECISIONS[asked and " ".join(one.name for one in asked)]
            products[" ".join([*dtypes, precision])] += 1
        if name == "gather":
            gathered = max(gathered, int(np.prod(equation.invars[1].aval.shape[:-1])))
    return products | {"gathered": gathered}

def step(platform, precision):
    recipe = Recipe(variant="tiny", resolution=32, batch_size=64, epsilon=1e-7, flip=True,
                    random_crop=0.5, hue=0.1, rand_augment=9.0, precision=precision,
                    data=DataSpec(train=128, validation=101, test=100))
    device = open_device("jax", hardware="cpu")
    device = replace(device, backend=replace(device.backend, platform=platform))
    trainer = Trainer(load_dataset(recipe.data, base=Path()), device)
    bucket = trainer.bucket(recipe)
    bucket.start_first_epoch(recipe)
    steps = bucket.steps
    arguments = steps._state, steps._inputs, steps._images_of(0), steps._order, np.int32([0, 1])
    return facts(jax.make_jaxpr(steps._train_many)(*arguments))

def head(platform):
    network = classifier("tiny", classes=3, dropout=0.25)
    trained = [v.value for v in network.trainable_variables]
    others = [v.value for v in network.non_trainable_variables]
    def loss(trained, features, training):
        with traced_for(platform):
            return network.stateless_call(trained, others, features, training=training)[0].sum()
    def both(trained, features):
        return jax.grad(loss, (0, 1))(trained, features, True), loss(trained, features, False)
    return facts(jax.make_jaxpr(both)(trained, np.zeros((8, 32), np.float32)))

print(json.dumps(
    {f"{platform} {precision}": step(platform, precision)
     for platform in ("cpu", "tpu") for precision in ("float32", "mixed_bfloat16")}
    | {f"{platform} classifier": head(platform) for platform in ("cpu", "tpu")}
))
"""


@pytest.mark.slow
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.long), 8])
def test_the_form_of_accelerators_trains_evaluates_and_extracts_like_that_of_the_cpu(
    run_python: Callable[..., str], devices: int
) -> None:
    """Images in rows, and loops on the device; on a CPU they are slow, and only here."""
    printed = run_python(
        IN_BOTH_FORMS,
        KERAS_BACKEND="jax",
        JAX_NUM_CPU_DEVICES=str(devices),
        JAX_CPU_ENABLE_ASYNC_DISPATCH="false",
        NPROC="32",
    )
    result = json.loads(printed)
    on_cpu, *others = result["found"]
    stored = [[160, 2, 128], None] if devices == 1 else [[160, 2, 128]]  # resident, streamed

    assert result["devices"] == devices
    assert on_cpu["stored"] == [160, 8, 8, 3]
    assert [one["stored"] for one in others] == stored
    for one in others:
        assert one["traces"] == 1
        assert one["counts"] == on_cpu["counts"]
        assert one["losses"] == pytest.approx(on_cpu["losses"], rel=1e-5)
        assert one["weights apart"] < 1e-4
        assert one["features apart"] < 1e-4
        assert one["same shapes"]


@pytest.mark.slow
def test_products_in_float32_are_exact_on_a_tpu_and_no_pixels_are_gathered(
    run_python: Callable[..., str],
) -> None:
    traced = json.loads(run_python(PRODUCTS, KERAS_BACKEND="jax").splitlines()[-1])

    # Two of a random crop, three of the hue, and those of the classifier.
    exact, pixels = 2 + 3 + 3, 64 * 32 * 32
    cpu, cpu_mixed = traced["cpu float32"], traced["cpu mixed_bfloat16"]
    assert cpu.keys() == {"float32 default", "gathered"}
    assert cpu_mixed.keys() == {"bfloat16 default", "float32 default", "gathered"}
    assert cpu_mixed["float32 default"] == exact
    assert cpu["gathered"] == cpu_mixed["gathered"] == pixels
    tpu, tpu_mixed = traced["tpu float32"], traced["tpu mixed_bfloat16"]
    assert tpu.keys() == {"float32 exact", "float32 16 bits by 8", "gathered"}
    assert tpu_mixed.keys() == {"bfloat16 default", *tpu}
    assert tpu_mixed["float32 exact"] == exact
    assert tpu["float32 16 bits by 8"] == tpu_mixed["float32 16 bits by 8"] == 2
    # Positions in the batch: no pixel is gathered.
    assert tpu["gathered"] == tpu_mixed["gathered"] == 64
    assert traced["cpu classifier"] == {"float32 default": 4, "gathered": 0}
    assert traced["tpu classifier"] == {"float32 exact": 4, "gathered": 0}
