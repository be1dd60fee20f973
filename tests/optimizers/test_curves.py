"""Learning rates as plain functions: peaks, cycles, and no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.optimizers import (
    ScheduleSettings,
    learning_rate_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Products of smaller rates are subnormal in float32, and XLA takes subnormal numbers for 0.
rates = st.just(0.0) | st.floats(2.0**-100, 10, width=32)


@settings(deadline=None)
@given(rates, rates, st.integers(1, 5000), st.integers(1, 12))
def test_peaks_halve(one: float, other: float, step_size: int, cycle: int) -> None:
    low, high = sorted([one, other])
    hyperparameters = {
        "initial_learning_rate": low,
        "maximal_learning_rate": high,
        "step_size": float(step_size),
    }
    peaks = step_size * (2 * np.asarray([cycle, cycle + 1]) - 1)
    first, second = learning_rate_at(ScheduleSettings("triangular2", hyperparameters), peaks)

    assert first - low == pytest.approx((high - low) / 2 ** (cycle - 1), rel=1e-6, abs=1e-12)
    assert second - low == pytest.approx((first - low) / 2, rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(rates, rates, st.integers(1, 5000), st.integers(0, 12))
def test_every_cycle_begins_at_the_lower_bound(
    one: float, other: float, step_size: int, cycles: int
) -> None:
    low, high = sorted([one, other])
    hyperparameters = {
        "initial_learning_rate": low,
        "maximal_learning_rate": high,
        "step_size": float(step_size),
    }

    for kind in ("triangular", "triangular2"):
        found = learning_rate_at(ScheduleSettings(kind, hyperparameters), 2 * step_size * cycles)
        assert found == pytest.approx(low)


def test_the_plain_function_loads_no_framework(run_python: Callable[..., str]) -> None:
    code = """
import sys
from effv2_tune.optimizers import ScheduleSettings, StaticConfig, learning_rate_at
numbers = {"initial_learning_rate": 0.1, "maximal_learning_rate": 1.0, "step_size": 30.0}
print(learning_rate_at(ScheduleSettings("triangular2", numbers), [0, 30, 90]).tolist())
print([name for name in ("keras", "tensorflow", "jax") if name in sys.modules])
"""
    assert run_python(code).splitlines() == ["[0.1, 1.0, 0.55]", "[]"]
