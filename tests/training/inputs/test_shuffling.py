"""The order of images: every image once, from seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.errors import TuneError
from effv2_tune.study.batches import steps_per_epoch
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.inputs.shuffling import (
    alternating_flips,
    epoch_inputs,
    epoch_order,
    evaluation_order,
)


@given(
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 10_000),
    images=st.integers(1, 300),
    batch=st.integers(1, 300),
)
def test_an_epoch_has_full_batches_and_no_image_twice(
    seed: int, epoch: int, images: int, batch: int
) -> None:
    if batch > images:
        with pytest.raises(TuneError, match="exceeds the"):
            steps_per_epoch(images, batch)
        return
    order = epoch_order(seed, epoch, images=images, batch=batch)

    assert order.shape == (images // batch, batch)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < images


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(epoch_order(seed, epoch, images=100, batch=10).flat)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert order(1, 2) != order(2, 1)


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 10_000), images=st.integers(1, 300))
def test_alternating_flips_show_each_image_both_ways_in_any_two_consecutive_epochs(
    seed: int, epoch: int, images: int
) -> None:
    now, then = (alternating_flips(seed, at, images=images) for at in (epoch, epoch + 1))

    assert now.shape == then.shape == (images,)
    assert np.array_equal(now, ~then)


def test_the_first_side_of_each_image_is_drawn_by_the_seed() -> None:
    first = alternating_flips(7, 0, images=10_000)

    assert abs(first.mean() - 0.5) < 0.02
    assert np.array_equal(first, alternating_flips(7, 4, images=10_000))
    assert abs((first == alternating_flips(8, 0, images=10_000)).mean() - 0.5) < 0.02


def test_an_image_keeps_its_side_wherever_the_order_puts_it() -> None:
    recipe = Recipe(flip="alternating", seed=3)
    sides = alternating_flips(3, 5, images=50)

    inputs = epoch_inputs(recipe, 5, images=50, batch=8)

    assert np.array_equal(inputs.mirrored, sides[inputs.order])
    for flip in (False, True):
        plain = epoch_inputs(recipe.with_settings(flip=flip), 5, images=50, batch=8)
        assert plain.mirrored is None
        assert np.array_equal(plain.order, inputs.order)


@given(images=st.integers(1, 500), batch=st.integers(1, 130))
def test_an_evaluation_counts_every_image_once(images: int, batch: int) -> None:
    positions, counts = evaluation_order(images, batch)

    assert positions.shape == counts.shape == (-(-images // batch), batch)
    assert sorted(positions[counts == 1]) == list(range(images))
