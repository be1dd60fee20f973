"""The step time is the median of steady windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.training.step_timing import measure_step


class FakeDevice:
    """Its first steps are slow, one window stutters, and time passes only in steps."""

    def __init__(self, step_seconds: float, *, slow_steps: int, stutter: int = 0) -> None:
        self.time = 0.0
        self.windows: list[int] = []
        self._step_seconds = step_seconds
        self._slow_steps = slow_steps
        self._stutter = stutter

    def run(self, steps: int) -> None:
        self.windows.append(steps)
        slow = min(steps, self._slow_steps)
        self._slow_steps -= slow
        self.time += (steps + 99 * slow) * self._step_seconds
        if len(self.windows) == self._stutter:
            self.time += 1.0

    def now(self) -> float:
        return self.time


@given(st.floats(1e-4, 0.25), st.integers(0, 10).filter(lambda window: window != 2))
def test_the_step_time_is_the_median_of_steady_windows(step: float, stutter: int) -> None:
    device = FakeDevice(step, slow_steps=1, stutter=stutter)

    assert measure_step(device.run, now=device.now) == pytest.approx(step, rel=1e-3)


def test_a_measurement_takes_a_few_seconds_of_windows_of_a_third_of_a_second() -> None:
    device = FakeDevice(0.01, slow_steps=1)

    measure_step(device.run, now=device.now)

    assert device.time < 6
    assert device.windows[-1] == pytest.approx(30, abs=1)


def test_a_step_longer_than_all_the_budget_is_measured_in_three_windows() -> None:
    device = FakeDevice(10.0, slow_steps=0)

    assert measure_step(device.run, now=device.now) == pytest.approx(10.0)
    assert device.windows == [1, 1, 1, 1, 1]
