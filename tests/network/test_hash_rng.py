"""Hashed random numbers are uniform, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from effv2_tune.network import hash_rng


def test_hashed_noise_is_uniform_and_the_same_inside_xla() -> None:
    import tensorflow as tf

    def draw(step: Any) -> tuple[Any, Any]:
        # One for each pair of a row and a column; 1,310,720 over eight steps.
        return (
            hash_rng.uniform((128 * 1280,), 7, step),
            hash_rng.dropout_mask(128, 1280, tf.constant(0.1), 7, step),
        )

    inside = tf.function(draw, jit_compile=True, autograph=False)
    hyperparameters, tables = [], []
    for step in range(8):
        plain, compiled = draw(tf.constant(step)), inside(tf.constant(step))
        assert all(np.array_equal(a, b) for a, b in zip(plain, compiled, strict=True))
        hyperparameters.append(np.asarray(plain[0]))
        tables.append(~np.asarray(plain[1]))
    uniform, dropped = np.stack(hyperparameters), np.stack(tables).astype(float)

    assert uniform.min() >= 0
    assert uniform.max() < 1
    # The standard error of a tenth's share is 0.00026.
    shares = np.histogram(uniform, 10, (0, 1))[0] / uniform.size
    assert shares == pytest.approx(0.1, abs=0.0015)
    assert dropped.mean() == pytest.approx(0.1, abs=0.0015)
    # Rows, columns and steps are not alike: correlations as small as chance leaves them.
    scaled = (dropped - 0.1) / 0.3
    for other in (scaled[:, 1:] * scaled[:, :-1], scaled[:, :, 1:] * scaled[:, :, :-1]):
        assert abs(other.mean()) < 5 / np.sqrt(other.size)
    assert abs((scaled[1:] * scaled[:-1]).mean()) < 5 / np.sqrt(scaled[1:].size)
    # Nor is any row like any other, or any column. How often a pair drops together is binomial,
    # and no pair lies further out than one in ten thousand such tables would have by chance.
    for rows in (dropped[0], dropped[0].T):
        count, length = rows.shape
        pairs = np.triu_indices(count, 1)
        together = (rows @ rows.T)[pairs]
        tail = 1e-4 / len(together)
        fewest, most = binom.ppf(tail, length, 0.01), binom.isf(tail, length, 0.01)
        assert fewest <= together.min()
        assert together.max() <= most
        likeness = ((rows - 0.1) @ (rows - 0.1).T)[pairs] / 0.09 / length
        assert np.std(likeness) == pytest.approx(1 / np.sqrt(length), rel=0.1)


def test_no_rate_keeps_everything_and_each_rate_its_share() -> None:
    assert np.asarray(hash_rng.dropout_mask(64, 640, 0.0, 3)).all()
    for rate in (0.01, 0.5, 0.9):
        kept = np.asarray(hash_rng.dropout_mask(128, 1280, rate, 3)).mean()
        assert kept == pytest.approx(1 - rate, abs=0.008)
