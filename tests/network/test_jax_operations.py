"""The operations that JAX computes faster than those that Keras calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.network.jax_operations import (
    batch_norm_in_training,
    exact_products,
    gathers_slowly,
    has_fast_batch_norm,
    has_fast_depthwise,
    on_accelerator,
    traced_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.host import Kind

IMAGES = np.zeros((1, 8, 8, 4), np.float32)
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(6, 9, 9, 8))
SCALE, OFFSET = RNG.uniform(0.5, 2, (2, 8))
UPSTREAM = RNG.normal(size=NOISE.shape)
EPSILON = 1e-3


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_operations_are_chosen_for_the_device_that_is_traced_for(platform: Kind) -> None:
    with traced_for(platform):
        assert on_accelerator()
        assert has_fast_batch_norm()
        assert not has_fast_depthwise(IMAGES, 1)
        assert gathers_slowly() == (platform == "tpu")


def test_the_default_device_counts_again_after_the_trace() -> None:
    with pytest.raises(ValueError, match="no such shape"), traced_for("tpu"):
        raise ValueError("no such shape")

    assert not on_accelerator()
    assert not has_fast_batch_norm()
    assert has_fast_depthwise(IMAGES, 1)
    assert not gathers_slowly()


@pytest.mark.parametrize(("platform", "precise"), [("cpu", False), ("gpu", True), ("tpu", True)])
def test_products_are_exact_where_the_device_would_round_them(
    platform: Kind, *, precise: bool
) -> None:
    def product(factor: Any) -> Any:
        with traced_for(platform), exact_products():
            return factor @ factor

    (traced,) = jax.make_jaxpr(product)(np.zeros((2, 2), np.float32)).eqns

    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert traced.params["precision"] == (highest if precise else None)


def _two_passes(images: Any, scale: Any, offset: Any) -> Any:
    mean, variance = jnp.mean(images, (0, 1, 2)), jnp.var(images, (0, 1, 2))
    normed = (images - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + offset
    return normed, mean, variance


def _results(images: Any, moving_mean: Any = None) -> list[np.ndarray]:
    """Images, mean, variance and the gradients; in two passes without a moving mean."""

    def normed(images: Any, scale: Any, offset: Any) -> Any:
        if moving_mean is None:
            result, *statistics = _two_passes(images, scale, offset)
        else:
            result, *statistics = batch_norm_in_training(
                images, scale, offset, moving_mean=moving_mean, epsilon=EPSILON
            )
        return result, statistics

    given_dtype = images.dtype
    arguments = (images, SCALE.astype(given_dtype), OFFSET.astype(given_dtype))
    result, back, statistics = jax.vjp(normed, *arguments, has_aux=True)
    return [np.asarray(one) for one in (result, *statistics, *back(UPSTREAM.astype(given_dtype)))]


@given(
    mean=st.floats(-100, 100),
    deviation=st.floats(0.5, 10),
    off=st.floats(-3, 3),
)
def test_one_pass_gives_what_two_passes_give_however_large_the_mean_is(
    mean: float, deviation: float, off: float
) -> None:
    """The moving mean is off by a few standard deviations, as it is early in training."""
    images = (mean + deviation * NOISE).astype(np.float32)
    near = np.full(8, mean + off * deviation, np.float32)
    with jax.enable_x64(True):
        expected = _results(jnp.asarray(images, jnp.float64))

    found = _results(jnp.asarray(images), near)

    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


def test_a_moving_mean_far_from_the_mean_is_no_worse_than_none() -> None:
    images = (2 + NOISE).astype(np.float32)

    found, plain = (_results(jnp.asarray(images), np.full(8, at, np.float32)) for at in (1, 0))

    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_images_without_variance_are_normed_to_the_offset() -> None:
    flat = jnp.full(NOISE.shape, 1000.1, jnp.float32)

    normed, *_ = batch_norm_in_training(
        flat, SCALE, OFFSET, moving_mean=np.zeros(8, np.float32), epsilon=EPSILON
    )

    assert np.isfinite(normed).all()


WHOLE_NETWORK = """
import json
import jax, numpy as np
from effv2_tune.network import training_network
from effv2_tune.network.jax_operations import traced_for

network = training_network(
    "b0", classes=10, resolution=32, dropout=0.0, stochastic_depth=0.0, seed=0)
images = np.random.default_rng(0).normal(size=(32, 32, 32, 3)).astype("float32")
trained = [variable.value for variable in network.trainable_variables]
others = [variable.value for variable in network.non_trainable_variables]

def results(platform):
    def loss(trained):
        with traced_for(platform):
            logits, _ = network.stateless_call(trained, others, images, training=True)
        return jax.nn.log_softmax(logits)[:, 0].mean(), logits
    (_, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
    return np.ravel(logits), np.concatenate([np.ravel(one) for one in gradients])

off = [float(np.linalg.norm(one - two) / np.linalg.norm(two))
       for one, two in zip(results("gpu"), results("cpu"))]
print(json.dumps(off))
"""


@pytest.mark.slow
def test_logits_and_gradients_of_b0_are_those_of_two_passes(run_python: Callable[..., str]) -> None:
    fast = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}

    off = json.loads(run_python(WHOLE_NETWORK, KERAS_BACKEND="jax", **fast).splitlines()[-1])

    assert max(off) < 1e-4
