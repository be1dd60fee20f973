"""Measures the time of one optimizer step."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A window is long compared with the clock's resolution, and short enough to notice a NaN or a
#: signal soon.
WINDOW_SECONDS = 0.3
_BUDGET_SECONDS = 3.0
_MIN_WINDOWS = 3
_MAX_WINDOWS = 15


def measure_step(
    run: Callable[[int], None], *, now: Callable[[], float] = time.perf_counter
) -> float:
    """Measure the time of one step, in seconds: the median over windows of about 0.3 s.

    Args:
        run: Runs so many steps and returns when the device has finished them. It has been called
            before: compilation is over.
        now: The clock.

    Returns:
        Seconds per step. Windows at the start are discarded; the whole takes about three seconds,
        or three windows where a single step is longer.
    """

    def window(steps: int) -> float:
        before = now()
        run(steps)
        return (now() - before) / steps

    started = now()
    window(1)
    estimate = window(1)
    steps = max(1, math.ceil(WINDOW_SECONDS / max(estimate, 1e-6)))
    if steps > 1:
        window(steps)
    times = [window(steps) for _ in range(_MIN_WINDOWS)]
    while now() - started < _BUDGET_SECONDS and len(times) < _MAX_WINDOWS:
        times.append(window(steps))
    return statistics.median(times)
