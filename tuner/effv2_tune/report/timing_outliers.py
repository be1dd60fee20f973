"""Trials and machines whose steps took other times than their buckets' that count."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.report.quantities import pluralized
from effv2_tune.study.trial import STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Trial

#: Trials from which on a median says something about a machine.
_FEWEST_TRIALS = 3
#: Trials that are named in a sentence.
_MOST_NUMBERS = 12


@dataclass(frozen=True)
class TimingOutliers:
    """What strays by more than a tenth.

    Attributes:
        trials: Numbers of trials.
        machines: The median share by which the steps of a machine's trials took longer (or, below
            zero, shorter), by the machine's name; machines with too few trials are left out.
    """

    trials: tuple[int, ...]
    machines: dict[str, float]

    def sentences(self) -> list[str]:
        """What to know of it; empty where all is well."""
        said = [
            f"On {host}, steps took {format_share(share)} than was measured, in the median of "
            "its trials: it is another machine than the one that was measured, or a busier one."
            for host, share in self.machines.items()
        ]
        if self.trials:
            numbers = ", ".join(map(str, self.trials[:_MOST_NUMBERS]))
            numbers += ", ..." if len(self.trials) > _MOST_NUMBERS else ""
            said.append(
                f"The steps of {pluralized(len(self.trials), 'trial')} ({numbers}) took over "
                f"{STEP_TIME_TOLERANCE:.0%} more or less than their bucket's; training times use "
                "the bucket's."
            )
        return said


def find_timing_outliers(trials: Sequence[Trial]) -> TimingOutliers:
    """Look at the step times of trials in any state; those without any are passed over."""
    timed = [trial for trial in trials if trial.times.step_median and trial.times.step_bucket]
    by_machine: dict[str, list[float]] = {}
    for trial in timed:
        if trial.environment is not None:
            by_machine.setdefault(trial.environment.host, []).append(trial.times.step_excess)
    medians = {
        host: statistics.median(shares)
        for host, shares in by_machine.items()
        if len(shares) >= _FEWEST_TRIALS
    }
    return TimingOutliers(
        trials=tuple(trial.number for trial in timed if trial.times.is_timing_outlier),
        machines={
            host: share for host, share in medians.items() if abs(share) > STEP_TIME_TOLERANCE
        },
    )


def format_share(share: float) -> str:
    """``30% more``, ``12% less``."""
    return f"{abs(share):.0%} {'more' if share > 0 else 'less'}"
