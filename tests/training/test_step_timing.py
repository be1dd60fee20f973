"""The step time is that of a quiet machine, whoever else uses this one."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.training.machine_load import ProcessorTimes
from effv2_tune.training.step_timing import (
    LIMIT_SECONDS,
    measure_step,
    reference_seconds,
    relative_speed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.study.step_time import StepTime

KERNEL = 0.002
NEIGHBOURS_TAKE = 1.5
#: Of two processors, steps use 1.7.
EFFICIENCY = 0.85


class FakeDevice:
    """Its first steps are slow, one window stutters, and time passes only in work.

    While neighbours are busy, each slice of work waits for them in seven of ten cases.
    """

    def __init__(
        self,
        step_seconds: float,
        *,
        slow_steps: int = 0,
        stutter: int = 0,
        is_busy: Callable[[float], bool] = lambda _: False,
        speed: float = 1.0,
        kernel: float = 1.0,
        threads: int | None = 2,
        processors: float = 2 * EFFICIENCY,
        seed: int = 0,
    ) -> None:
        self.time = self.own = self.busy = 0.0
        self.windows: list[int] = []
        self.planned_steps = 100_000
        self._step_seconds = step_seconds
        self._slow_steps = slow_steps
        self._stutter = stutter
        self._is_busy = is_busy
        self._speed = speed
        self._kernel = kernel * KERNEL
        self._threads = threads
        self._processors = processors
        self._chance = random.Random(seed)  # noqa: S311 - not for cryptography

    def _work(self, seconds: float) -> None:
        while seconds > 0:
            piece = min(seconds, KERNEL)
            seconds -= piece
            own, waited = self._processors * piece / self._speed, 0.0
            is_busy = self._is_busy(self.time)
            if is_busy and self._chance.random() < 0.7:
                waited = NEIGHBOURS_TAKE * piece
            self.time += piece / self._speed + waited
            self.own += own
            # While neighbours are busy, they use what is left.
            self.busy += 2 * (piece / self._speed + waited) if is_busy else own

    def run(self, steps: int) -> None:
        self.windows.append(steps)
        slow = min(steps, self._slow_steps)
        self._slow_steps -= slow
        for _ in range(steps):
            self._work(self._step_seconds)
        self.time += 99 * slow * self._step_seconds
        if len(self.windows) == self._stutter:
            self.time += 1.0

    def kernel(self) -> None:
        self._work(self._kernel)

    def load(self) -> ProcessorTimes:
        return ProcessorTimes(busy=self.busy, own=self.own, processors=2)

    def measure(self, scale: float | None = None, *, stops: bool = False) -> StepTime:
        return measure_step(
            self.run,
            self.kernel,
            planned_steps=self.planned_steps,
            threads=self._threads,
            scale=scale,
            should_stop=lambda: stops,
            now=lambda: self.time,
            load=self.load,
        )


@given(st.floats(1e-4, 0.25), st.integers(0, 10).filter(lambda window: window != 2))
def test_the_step_time_is_that_of_steady_windows(step: float, stutter: int) -> None:
    time = FakeDevice(step, slow_steps=1, stutter=stutter).measure()

    assert time.seconds == pytest.approx(step, rel=1e-3)
    assert time.low < step < time.high < 2 * time.low
    assert time.is_quiet


def test_a_measurement_takes_a_few_seconds_of_windows_of_a_seventh_of_a_second() -> None:
    device = FakeDevice(0.01, slow_steps=1)

    device.measure()

    assert device.time < 6
    assert device.windows[-1] == pytest.approx(15, abs=1)


def test_a_step_longer_than_all_the_budget_is_measured_in_three_windows() -> None:
    device = FakeDevice(10.0, slow_steps=0)

    assert device.measure().seconds == pytest.approx(10.0)
    assert device.windows == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_windows_between_those_of_busy_neighbours_are_found(seed: int) -> None:
    device = FakeDevice(0.05, is_busy=lambda time: int(time / 2) % 2 == seed % 2, seed=seed)

    time = device.measure()

    assert time.seconds == pytest.approx(0.05, rel=0.02)
    assert time.is_quiet


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [0.003, 0.05, 0.8])
def test_on_a_cpu_the_processor_time_counts_where_neighbours_are_always_busy(
    step: float, seed: int
) -> None:
    device = FakeDevice(step, is_busy=lambda _: True, seed=seed)

    time = device.measure()

    assert time.seconds == pytest.approx(step, rel=0.03)
    assert time.low < step < time.high
    assert not time.is_quiet
    assert LIMIT_SECONDS <= device.time < LIMIT_SECONDS + 6


@pytest.mark.parametrize("processors", [1.55, 1.86])
def test_the_interval_holds_networks_that_keep_other_shares_of_the_processors_busy(
    processors: float,
) -> None:
    time = FakeDevice(0.05, processors=processors, is_busy=lambda _: True).measure()

    assert time.low < 0.05 < time.high


def test_a_single_quiet_moment_is_the_step_time_whatever_processors_steps_keep_busy() -> None:
    busy = FakeDevice(0.05, processors=1.5, is_busy=lambda time: not 5.0 < time < 5.4)

    time = busy.measure()

    assert not time.is_quiet
    assert time.seconds == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_on_an_accelerator_neighbours_slow_down_steps_and_reference_kernel_alike(
    seed: int,
) -> None:
    quiet = FakeDevice(0.05, threads=None).measure()
    device = FakeDevice(0.05, is_busy=lambda _: True, threads=None, seed=seed)

    time = device.measure(quiet.reference_seconds)

    assert time.seconds == pytest.approx(0.05, rel=0.1)
    assert time.low < 0.05 < time.high


def test_a_quiet_moment_is_not_waited_for_when_the_study_stops() -> None:
    device = FakeDevice(0.05, is_busy=lambda _: True)

    time = device.measure(stops=True)

    assert device.time < 6
    assert time.low < 0.05 < time.high


def test_a_quiet_moment_is_waited_for_up_to_a_quarter_of_the_training() -> None:
    device = FakeDevice(0.05, is_busy=lambda _: True)
    device.planned_steps = 600

    device.measure()

    assert 7.5 <= device.time < 30


def test_an_accelerator_of_half_the_speed_measures_on_the_scale_of_the_study() -> None:
    study = FakeDevice(0.05, threads=None).measure()

    again = FakeDevice(0.05, speed=0.5, threads=None).measure(study.reference_seconds)

    assert again.seconds == pytest.approx(study.seconds, rel=1e-3)
    assert again.is_quiet
    assert again.reference_seconds == pytest.approx(2 * study.reference_seconds)


@pytest.mark.parametrize("is_busy", [False, True])
def test_on_a_cpu_steps_slow_down_by_the_square_root_of_what_the_reference_kernel_does(
    *,
    is_busy: bool,
) -> None:
    study = FakeDevice(0.05).measure()

    # Of four times the kernel's time, steps would take twice as long.
    slow = FakeDevice(0.1, kernel=4.0, is_busy=lambda _: is_busy)
    again = slow.measure(study.reference_seconds)

    assert again.seconds == pytest.approx(study.seconds, rel=0.03)
    assert again.is_quiet is not is_busy
    assert again.reference_seconds == pytest.approx(4 * study.reference_seconds)
    speed = relative_speed(again.reference_seconds, study.reference_seconds, threads=2)
    assert speed == pytest.approx(0.5)


@given(st.floats(0.002, 0.2))
def test_a_kernel_that_was_timed_a_few_times_tells_gross_changes_of_a_cpu_only(
    seconds: float,
) -> None:
    certain = relative_speed(seconds, 0.02, threads=2)
    speed = relative_speed(seconds, 0.02, threads=2, is_certain=False)

    assert min(1.0, certain) <= speed <= max(1.0, certain)
    if 0.017 < seconds < 0.024:
        assert speed == 1.0
    if seconds > 0.1:
        assert speed == pytest.approx(certain, rel=0.03)
    assert relative_speed(seconds, 0.02, threads=None, is_certain=False) == 0.02 / seconds


def test_the_time_of_the_kernel_on_a_cpu_is_that_of_its_least_disturbed_run() -> None:
    def time_of(now: Callable[[], float], threads: int | None) -> float:
        seconds = iter((0.0, 0.1, 0.1, 0.005, 0.1, 0.1))

        def run() -> None:
            end = now() + next(seconds)
            while now() < end:
                pass

        return reference_seconds(run, threads=threads)

    assert 0.005 <= time_of(time.process_time, 2) < 0.05
    assert time_of(time.perf_counter, None) > 0.08


def test_the_share_of_others_is_that_of_the_busy_processors_which_this_process_did_not_use() -> (
    None
):
    before = ProcessorTimes(busy=10.0, own=1.0, processors=2)

    assert before.share_of_others(ProcessorTimes(13.0, 3.0, 2), 2.0) == pytest.approx(0.25)
    assert before.share_of_others(ProcessorTimes(None, 3.0, 2), 2.0) == 0.0
    assert ProcessorTimes.read().processors >= 1
