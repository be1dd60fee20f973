"""Measures the time of one optimizer step, on a machine that may not be quiet.

Short windows of steps alternate with a reference kernel, a fixed piece of work for the same device.
Windows in which other processes used the processors, or the reference kernel was slow, are
disturbed. Where enough others are found within the limit, a low quantile of them is the step time.
Where none are, other processes slow steps and reference kernel down alike, and the ratio of the two
times is what remains: see docs/training.md and benchmarks/results/busy_machine.md.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.study.step_time import StepTime
from effv2_tune.training.machine_load import ProcessorTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A window of a trial is long compared with the clock's resolution, and short enough to notice a
#: NaN or a signal soon.
WINDOW_SECONDS = 0.3
_BUDGET_SECONDS = 3.0
_MIN_WINDOWS = 3
#: How long a quiet moment is waited for, by measuring on: this share of the training of one trial,
#: and no longer than the limit.
_WAIT_SHARE = 0.25
LIMIT_SECONDS = 30.0
#: Time of the reference kernel in a window, relative to that of the steps.
_REFERENCE_SHARE = 0.25
_MIN_REFERENCE_RUNS = 3
#: Undisturbed: others use at most this share of the processors, and the reference kernel takes at
#: most this much longer than it can.
_OTHERS_SHARE = 0.05
_REFERENCE_EXCESS = 0.1
#: Quantile of the undisturbed windows, and of all runs of the reference kernel.
_LOW_QUANTILE = 0.25
_FASTEST_QUANTILE = 0.05
#: From the standard error to half of a 90 % interval.
_NORMAL_90 = 1.645
#: From the median absolute deviation of normal values to their standard deviation.
_DEVIATIONS = 1.4826
#: What repeated quiet measurements differ by beyond the spread of their windows, relative.
_QUIET_ERROR = 0.01
#: Error of the ratio where the reference kernel takes twice as long as it can; relative.
_RATIO_ERROR = 0.1


@dataclass(frozen=True)
class _Window:
    """Seconds of one step, and of one run of the reference kernel beside; who disturbed them."""

    step: float
    reference: tuple[float, ...]
    others: float

    @property
    def mean_reference(self) -> float:
        return statistics.fmean(self.reference)


def measure_step(
    run: Callable[[int], None],
    reference: Callable[[], None],
    *,
    planned_steps: int,
    scale: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.perf_counter,
    load: Callable[[], ProcessorTimes] = ProcessorTimes.read,
) -> StepTime:
    """Measure the time of one step.

    Args:
        run: Runs so many steps and returns when the device has finished them. It has been called
            before: compilation is over.
        reference: Runs the reference kernel once, likewise.
        planned_steps: Of a whole trial.
        scale: Seconds of the reference kernel that the result is to be comparable with: those of
            the study's first quiet measurement.
        should_stop: Ends the wait for a quiet moment.
        now: The clock.
        load: The processor times.

    Returns:
        Its time, from about three seconds of windows, or three windows where a single step is
        longer; from up to ``LIMIT_SECONDS`` of them on a busy machine, if trials are so long.
    """
    started = now()
    take = _warm_up(run, reference, now, load)
    windows = [take() for _ in range(_MIN_WINDOWS)]
    while True:
        seconds = now() - started
        undisturbed = _undisturbed(windows)
        is_quiet = len(undisturbed) >= max(_MIN_WINDOWS, len(windows) // 4)
        if is_quiet and seconds >= _BUDGET_SECONDS:
            return _of_quiet_windows(undisturbed, _fastest_reference(windows), scale)
        wait = _WAIT_SHARE * planned_steps * min(window.step for window in windows)
        limit = 0.0 if should_stop() else min(LIMIT_SECONDS, wait)
        if seconds >= max(_BUDGET_SECONDS, limit):
            return _of_ratio(windows, _fastest_reference(windows), scale)
        windows.append(take())


def _warm_up(
    run: Callable[[int], None],
    reference: Callable[[], None],
    now: Callable[[], float],
    load: Callable[[], ProcessorTimes],
) -> Callable[[], _Window]:
    """Run the first, slow steps; returns what measures a window."""

    def timed(work: Callable[[], None]) -> float:
        before = now()
        work()
        return now() - before

    timed(lambda: run(1))
    timed(reference)
    seconds = timed(lambda: run(1))
    kernel_seconds = timed(reference)
    steps = max(1, math.ceil(WINDOW_SECONDS / max(seconds, 1e-6)))
    share = _REFERENCE_SHARE * steps * seconds
    runs = max(_MIN_REFERENCE_RUNS, math.ceil(share / max(kernel_seconds, 1e-6)))
    if steps > 1:
        run(steps)

    def window() -> _Window:
        before, times_before = now(), load()
        step = timed(lambda: run(steps)) / steps
        kernels = tuple(timed(reference) for _ in range(runs))
        others = times_before.share_of_others(load(), now() - before)
        return _Window(step, kernels, others)

    return window


def _fastest_reference(windows: Sequence[_Window]) -> float:
    """Time of the reference kernel where nothing disturbs it: it is short enough for that."""
    return _quantile([t for window in windows for t in window.reference], _FASTEST_QUANTILE)


def _undisturbed(windows: Sequence[_Window]) -> list[_Window]:
    limit = (1 + _REFERENCE_EXCESS) * _fastest_reference(windows)
    return [
        window
        for window in windows
        if window.others <= _OTHERS_SHARE and statistics.median(window.reference) <= limit
    ]


def _of_quiet_windows(windows: Sequence[_Window], fastest: float, scale: float | None) -> StepTime:
    steps = [window.step for window in windows]
    seconds = _quantile(steps, _LOW_QUANTILE)
    # Not the standard deviation: one stutter is no reason to doubt all other windows.
    middle = statistics.median(steps)
    deviation = _DEVIATIONS * statistics.median(abs(step - middle) for step in steps)
    spread = deviation / seconds / math.sqrt(len(steps))
    error = _NORMAL_90 * math.hypot(spread, _QUIET_ERROR)
    return _step_time(seconds, error, fastest=fastest, scale=scale, is_quiet=True)


def _of_ratio(windows: Sequence[_Window], fastest: float, scale: float | None) -> StepTime:
    """From the ratio of all steps to all reference kernels beside them."""
    steps = [window.step for window in windows]
    kernels = [window.mean_reference for window in windows]
    ratio = statistics.fmean(steps) / statistics.fmean(kernels)
    residuals = [step - ratio * kernel for step, kernel in zip(steps, kernels, strict=True)]
    spread = statistics.stdev(residuals) / statistics.fmean(steps) / math.sqrt(len(steps))
    slowdown = statistics.fmean(kernels) / fastest - 1
    error = math.hypot(_NORMAL_90 * math.hypot(spread, _QUIET_ERROR), _RATIO_ERROR * slowdown)
    return _step_time(ratio * fastest, error, fastest=fastest, scale=scale, is_quiet=False)


def _step_time(
    seconds: float, error: float, *, fastest: float, scale: float | None, is_quiet: bool
) -> StepTime:
    """The result on the scale of the study.

    Args:
        seconds: On the scale of now.
        error: Half of the 90 % interval, relative.
        fastest: Of the reference kernel, now.
        scale: Of the reference kernel, in the study.
        is_quiet: Whether it is from undisturbed windows.
    """
    scaled = seconds if scale is None else seconds * scale / fastest
    return StepTime(
        seconds=scaled,
        low=scaled / (1 + error),
        high=scaled * (1 + error),
        is_quiet=is_quiet,
        reference_seconds=fastest,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values is."""
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))]
