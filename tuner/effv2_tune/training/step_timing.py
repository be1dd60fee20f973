"""Measures the time of one optimizer step, on a machine that may not be quiet.

Short windows of steps alternate with a reference kernel, a fixed piece of work for the same device,
so that its clock divides out; on a CPU, whose other guests slow the kernel down by more than steps,
by half. Where windows without other processes are found within the limit, they are the step time,
even if they are few. Where none are, what counts on a CPU is not the wall time but the processor
time, which others change far less; the wall time of a quiet machine follows from the processors
that a step is assumed to keep busy when it has all. On an accelerator others slow down steps and
reference kernel alike. See docs/training.md and benchmarks/results/busy_buckets.md.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.pareto.estimates import Z90
from effv2_tune.study.step_time import StepTime, speed_error
from effv2_tune.training.machine_load import ProcessorTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A window of a trial is long compared with the clock's resolution, and short enough to notice a
#: NaN or a signal soon.
WINDOW_SECONDS = 0.3
#: One of a measurement is shorter: the speed of the machine changes less between it and the
#: reference kernel.
_WINDOW_SECONDS = 0.15
_BUDGET_SECONDS = 3.0
_MIN_WINDOWS = 3
#: How long a quiet moment is waited for, by measuring on: this share of the training of one trial,
#: and no longer than the limit.
_WAIT_SHARE = 0.25
LIMIT_SECONDS = 30.0
#: Time of the reference kernel in a window, relative to that of the steps.
_REFERENCE_SHARE = 1.0
_MIN_REFERENCE_RUNS = 2
#: Runs of it between the epochs of a trial.
_REFERENCE_RUNS = 5
#: Undisturbed: others use at most this share of the processors, and on an accelerator the reference
#: kernel takes at most this much longer than it can.
OTHERS_SHARE = 0.05
_REFERENCE_EXCESS = 0.1
#: Of the processors, that this process has at least.
_LEAST_SHARE = 0.01
#: Quantiles of disturbed windows: of the processor time of steps, and of the reference kernel.
_WORK_QUANTILE = 0.25
_LOW_QUANTILE = 0.1
#: The share of the processors that they have which steps use, where it was not seen: the rest is
#: spent waiting for each other. 0.76 to 0.93 on two cores of two hosts, by network; and half of the
#: 90 % interval of a time that depends on it.
_EFFICIENCY = 0.85
_EFFICIENCY_ERROR = 0.12
#: The power of the reference kernel's time with which step times change, as the host's other guests
#: come and go. In two studies of a quiet machine the kernel's time had changed by a factor of 0.99
#: to 1.52 between the same buckets. The ratios of step times then differ by up to 27 % if they are
#: divided by all of it, by 21 % if by none, and by 2.5 % if by its square root.
_CPU_POWER = 0.5
#: Standard error of the logarithm of that change where the kernel was timed a few times only, or on
#: a busy machine. In two studies of another quiet machine, the kernel's times of trials of half a
#: minute differed by -4 to 16 % and those of their steps by 4 to 11 %, without any relation.
_CPU_CHANGE_ERROR = 0.2
#: From the median absolute deviation of normal values to their standard deviation.
_DEVIATIONS = 1.4826
#: From the standard error of a mean of normal values to that of their median.
_MEDIAN_ERROR = 1.2533
#: What repeated measurements of a quiet machine differ by beyond the spread of their windows.
_QUIET_ERROR = 0.02
#: Half of the 90 % interval where others get as much of the device as this process.
_BUSY_ERROR = 0.1


@dataclass(frozen=True)
class _Window:
    """Some steps, and the reference kernel beside.

    Attributes:
        wall: Seconds of one step.
        work: Likewise, in processor time on a CPU.
        reference: Mean of one run of the reference kernel; on a CPU in processor time.
        others: The share of the processors that others used meanwhile.
    """

    wall: float
    work: float
    reference: float
    others: float


def measure_step(
    run: Callable[[int], None],
    reference: Callable[[], None],
    *,
    planned_steps: int,
    threads: int | None,
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
        threads: That steps run in, where the device is the processors; None for an accelerator.
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
    is_on_cpu = threads is not None
    take = _warm_up(run, reference, now, load, is_on_cpu=is_on_cpu)
    windows = [take() for _ in range(_MIN_WINDOWS)]
    while True:
        seconds = now() - started
        undisturbed = _undisturbed(windows, is_on_cpu=is_on_cpu)
        is_quiet = len(undisturbed) >= max(_MIN_WINDOWS, len(windows) // 4)
        if is_quiet and seconds >= _BUDGET_SECONDS:
            return _of_quiet_windows(undisturbed, scale, threads)
        wait = _WAIT_SHARE * planned_steps * min(window.wall for window in windows)
        limit = 0.0 if should_stop() else min(LIMIT_SECONDS, wait)
        if seconds >= max(_BUDGET_SECONDS, limit):
            return _of_busy_windows(windows, scale, threads)
        windows.append(take())


def reference_seconds(run: Callable[[], None], *, threads: int | None) -> float:
    """The time of the reference kernel now; on a CPU its least processor time.

    Beside a busy neighbour, the processor time of a few runs was one and a half times as long, and
    that of the steps around them no longer than before.

    Args:
        run: Runs it once, and waits for it.
        threads: As of :func:`measure_step`.
    """
    now = time.perf_counter if threads is None else time.process_time

    def timed() -> float:
        before = now()
        run()
        return now() - before

    run()
    runs = [timed() for _ in range(_REFERENCE_RUNS)]
    return statistics.fmean(runs) if threads is None else min(runs)


def relative_speed(
    seconds: float, scale: float, *, threads: int | None, is_certain: bool = True
) -> float:
    """How much faster steps are than where the reference kernel takes as long as ``scale``.

    Args:
        seconds: Time of the reference kernel now.
        scale: Its time in the study.
        threads: As of :func:`measure_step`.
        is_certain: Whether the kernel was timed for as long as the steps, undisturbed. Otherwise
            what is not more than chance on a CPU is left out (the positive-part estimator of James
            and Stein).
    """
    if threads is None:
        return scale / seconds
    change = math.log(scale / seconds)
    if not is_certain and change:
        change *= max(0.0, 1 - (_CPU_CHANGE_ERROR / change) ** 2)
    return math.exp(_CPU_POWER * change)


def _warm_up(
    run: Callable[[int], None],
    reference: Callable[[], None],
    now: Callable[[], float],
    load: Callable[[], ProcessorTimes],
    *,
    is_on_cpu: bool,
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
    steps = max(1, math.ceil(_WINDOW_SECONDS / max(seconds, 1e-6)))
    share = _REFERENCE_SHARE * steps * seconds
    runs = max(_MIN_REFERENCE_RUNS, math.ceil(share / max(kernel_seconds, 1e-6)))
    if steps > 1:
        run(steps)

    def repeat_reference() -> None:
        for _ in range(runs):
            reference()

    def window() -> _Window:
        start = load()
        wall = timed(lambda: run(steps))
        middle = load()
        kernels = timed(repeat_reference)
        end = load()
        work, kernel_work = middle.own - start.own, end.own - middle.own
        return _Window(
            wall=wall / steps,
            work=(work if is_on_cpu else wall) / steps,
            reference=(kernel_work if is_on_cpu else kernels) / runs,
            others=start.share_of_others(middle, wall),
        )

    return window


def _undisturbed(windows: Sequence[_Window], *, is_on_cpu: bool) -> list[_Window]:
    fastest = min(window.reference for window in windows)
    limit = math.inf if is_on_cpu else (1 + _REFERENCE_EXCESS) * fastest
    return [
        window for window in windows if window.others <= OTHERS_SHARE and window.reference <= limit
    ]


def _of_quiet_windows(
    windows: Sequence[_Window], scale: float | None, threads: int | None
) -> StepTime:
    reference = statistics.median(window.reference for window in windows)
    seconds, spread = _middle(
        [
            window.wall * relative_speed(window.reference, scale or reference, threads=threads)
            for window in windows
        ]
    )
    quiet = _QUIET_ERROR if threads is None else speed_error(_BUDGET_SECONDS)
    return _step_time(
        seconds,
        Z90 * math.hypot(spread, quiet),
        reference=reference,
        is_quiet=True,
    )


def _of_busy_windows(
    windows: Sequence[_Window], scale: float | None, threads: int | None
) -> StepTime:
    works, references = zip(*((window.work, window.reference) for window in windows), strict=True)
    reference = _quantile(references, _LOW_QUANTILE)
    assumed = 0.0
    if threads is None:
        seconds = statistics.fmean(works) * reference / statistics.fmean(references)
        lost = statistics.fmean(references) / reference - 1
    else:
        available, lost = _available_processors(windows)
        undisturbed = _undisturbed(windows, is_on_cpu=True)
        if undisturbed:
            seconds = statistics.median(window.wall for window in undisturbed)
        else:
            # Others change the processor time by emptying caches, and by threads that need not wait
            # for each other while they do not run.
            seconds = _quantile(works, _WORK_QUANTILE) / (_EFFICIENCY * min(available, threads))
            assumed = _EFFICIENCY_ERROR
    seconds *= relative_speed(reference, scale or reference, threads=threads, is_certain=False)
    error = math.hypot(_BUSY_ERROR, assumed) * max(1.0, lost)
    return _step_time(seconds, error, reference=reference, is_quiet=False)


def _available_processors(windows: Sequence[_Window]) -> tuple[float, float]:
    """The processors that steps would use if they had all, and how much more of them others had."""
    wall = sum(window.wall for window in windows)
    others = sum(window.others * window.wall for window in windows) / wall
    own = max(1 - others, _LEAST_SHARE)
    return sum(window.work for window in windows) / (wall * own), others / own


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """The median, and its relative standard error."""
    # Not from the standard deviation: one stutter is no reason to doubt all other windows.
    middle = statistics.median(values)
    deviation = _DEVIATIONS * statistics.median(abs(value - middle) for value in values)
    return middle, _MEDIAN_ERROR * deviation / middle / math.sqrt(len(values))


def _step_time(seconds: float, error: float, *, reference: float, is_quiet: bool) -> StepTime:
    """The result.

    Args:
        seconds: On the scale of the study.
        error: Half of the 90 % interval, relative.
        reference: Time of the reference kernel now.
        is_quiet: Whether it is from enough undisturbed windows.
    """
    return StepTime(
        seconds=seconds,
        low=seconds / (1 + error),
        high=seconds * (1 + error),
        is_quiet=is_quiet,
        reference_seconds=reference,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values is."""
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))]
