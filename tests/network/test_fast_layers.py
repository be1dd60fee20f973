"""Layers that compute faster in training give what Keras' own give, on both backends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

COMPARE = """
import itertools, json, sys
from contextlib import nullcontext
import keras, numpy as np
from keras import ops
from effv2_tune.network.layers import LayerKinds, LayerMaker
from effv2_tune.network.fast_layers import FastBatchNormalization, FastDepthwiseConv2D
from effv2_tune.catalog import find_variant

QUICK = LayerKinds(FastDepthwiseConv2D, FastBatchNormalization)
rng = np.random.default_rng(0)

def outputs(layer, images, upstream, training):
    '''Result, gradients of images and weights, moving statistics.'''
    said = {} if training is None else {"training": training}
    if keras.backend.backend() == "jax":
        import jax
        state = [v.value for v in layer.trainable_variables], [
            v.value for v in layer.non_trainable_variables]
        def run(images, trained):
            return layer.stateless_call(trained, state[1], images, **said)
        (result, moved), back = jax.vjp(run, images, state[0])
        nothing = jax.tree.map(jax.numpy.zeros_like, moved)
        of_images, of_weights = back((upstream.astype(result.dtype), nothing))
    else:
        import tensorflow as tf
        @tf.function(autograph=False)
        def run(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                result = layer(images, **said)
            weights = [v.value for v in layer.trainable_variables]
            return result, tape.gradient(
                result, [images, *weights], tf.cast(upstream, result.dtype))
        result, (of_images, *of_weights) = run(tf.constant(images))
        moved = [v.value for v in layer.non_trainable_variables]
    every = (result, of_images, *of_weights, *moved)
    return [np.asarray(ops.cast(one, "float64")) for one in every]

def difference(kind, side, stride, variant, dtype, platform=None):
    layers = []
    # The stock gradient of a single pixel in bfloat16 is no measure: TensorFlow's may be anything.
    for kinds, precision in ((LayerKinds(), "float32"), (QUICK, dtype)):
        make = LayerMaker(find_variant(variant), dtype=precision, batch_norm_momentum=0.9,
                          batch_norm_epsilon=1e-3, kinds=kinds)
        layers.append(make.depthwise("one", 24, stride=stride) if kind == "depthwise"
                      else make.batch_norm("one", 24))
    weights = [rng.uniform(0.5, 2, v.shape) for v in layers[0].variables]
    images = rng.normal(1, 2, (5, side, side, 24)).astype("float32")
    for layer in layers:
        layer.set_weights(weights)
    shape = layers[0](images).shape
    upstream = rng.normal(size=shape).astype("float32")
    training = None if kind == "depthwise" else kind == "batch_norm"
    theirs = outputs(layers[0], images, upstream, training)
    with traced_for(platform) if platform else nullcontext():
        mine = outputs(layers[1], images, upstream, training)
    assert len(theirs) == len(mine) > (3 if training is not None else 2)
    return max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(theirs, mine))

on_jax = keras.backend.backend() == "jax"
if on_jax:
    from effv2_tune.network.jax_operations import traced_for
worst = {}
for dtype in ("float32", "mixed_bfloat16"):
    for kind, side, stride, variant in [
        *(("depthwise", side, stride, "b0") for side in (1, 2, 3, 6, 7) for stride in (1, 2)),
        *(("depthwise", side, 2, "t") for side in (3, 4, 9)),
        *(("batch_norm", side, 1, "b0") for side in (1, 5)),
        ("inference", 5, 1, "b0"),
    ]:
        worst[f"{kind} {side} {stride} {variant} {dtype}"] = float(
            difference(kind, side, stride, variant, dtype))
    for side in (1, 5) if on_jax else ():
        worst[f"one_pass {side} {dtype}"] = float(
            difference("batch_norm", side, 1, "b0", dtype, "tpu"))
print(json.dumps({"worst": worst, "tensorflow": "tensorflow" in sys.modules}))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_results_gradients_and_statistics_are_those_of_the_stock_layers(
    backend: str, run_python: Callable[..., str]
) -> None:
    said = json.loads(run_python(COMPARE, KERAS_BACKEND=backend).splitlines()[-1])

    bound = {"float32": 2e-6, "mixed_bfloat16": 2e-2}  # 1/128 is the step of bfloat16 at 1
    assert {n: w for n, w in said["worst"].items() if w > bound[n.split()[-1]]} == {}
    assert len(said["worst"]) == (36 if backend == "jax" else 32)
    assert said["tensorflow"] == (backend == "tensorflow")
