"""Hyperparameters read as the decimals that were written."""

from __future__ import annotations

from effv2_tune.optimizers import (
    AdaBelief,
)


def test_a_number_reads_as_it_was_written() -> None:
    assert AdaBelief(0.1, weight_decay=1e-5).hyperparameters == {
        "learning_rate": 0.1,
        "weight_decay": 1e-5,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-14,
        "sma_threshold": 5.0,
    }
