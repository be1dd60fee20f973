"""The order of images: every image once, from seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.errors import TuneError
from effv2_tune.study.steps import steps_per_epoch
from effv2_tune.training.inputs.shuffling import epoch_order, evaluation_order


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


@given(images=st.integers(1, 500), batch=st.integers(1, 130))
def test_an_evaluation_counts_every_image_once(images: int, batch: int) -> None:
    positions, counts = evaluation_order(images, batch)

    assert positions.shape == counts.shape == (-(-images // batch), batch)
    assert sorted(positions[counts == 1]) == list(range(images))
