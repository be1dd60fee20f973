"""Trials and machines whose steps took other times than their buckets' that count."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.report.quantities import counted
from effv2_tune.study.trial import STRAYING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Trial

#: Trials from which on a median says something about a machine.
_FEWEST_TRIALS = 3
#: Trials that are named in a sentence.
_MOST_NUMBERS = 12


@dataclass(frozen=True)
class Straying:
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
            f"On {host}, steps took {share_in_words(share)} than was measured, in the median of "
            "its trials: it is another machine than the one that was measured, or a busier one."
            for host, share in self.machines.items()
        ]
        if self.trials:
            numbers = ", ".join(map(str, self.trials[:_MOST_NUMBERS]))
            numbers += ", ..." if len(self.trials) > _MOST_NUMBERS else ""
            said.append(
                f"The steps of {counted(len(self.trials), 'trial')} ({numbers}) took over "
                f"{STRAYING:.0%} more or less than their bucket's; training times are told with "
                "the bucket's."
            )
        return said


def find_straying(trials: Sequence[Trial]) -> Straying:
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
    return Straying(
        trials=tuple(trial.number for trial in timed if trial.times.strays),
        machines={host: share for host, share in medians.items() if abs(share) > STRAYING},
    )


def share_in_words(share: float) -> str:
    """``30% more``, ``12% less``."""
    return f"{abs(share):.0%} {'more' if share > 0 else 'less'}"
