"""Finds timing outliers: trials and hosts whose steps deviate from the benchmark of the bucket."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.plurals import pluralized
from effv2_tune.study.trial import LEAST_STEP_SHARE, STEP_TIME_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Trial

#: Trials from which on the median of a host is meaningful.
_FEWEST_TRIALS = 3
#: Trials listed by number in a message.
_MOST_NUMBERS = 12


@dataclass(frozen=True)
class TimingOutliers:
    """Deviations by more than ``STEP_TIME_TOLERANCE``.

    Attributes:
        trials: Numbers of trials.
        machines: Median share by which the steps of a host's trials took longer (below zero:
            shorter), by host name; hosts with too few trials are left out.
        hosts: Number of hosts that trained trials.
    """

    trials: tuple[int, ...]
    machines: dict[str, float]
    hosts: int

    def sentences(self) -> list[str]:
        """The outliers in words; empty without any."""
        sentences = [self._of_machine(host, share) for host, share in self.machines.items()]
        if self.trials:
            numbers = ", ".join(map(str, self.trials[:_MOST_NUMBERS]))
            numbers += ", ..." if len(self.trials) > _MOST_NUMBERS else ""
            sentences.append(
                f"The step time of {pluralized(len(self.trials), 'trial')} ({numbers}) deviates by "
                f"more than {STEP_TIME_TOLERANCE:.0%} from the one benchmarked; training times use "
                "the step time benchmarked for the bucket."
            )
        return sentences

    def _of_machine(self, host: str, share: float) -> str:
        cause = (
            "the host is under load"
            if share > 0
            else "the host was under load when the bucket was benchmarked"
        )
        other = ", or another host was benchmarked" if self.hosts > 1 else ""
        return (
            f"On {host}, steps took {abs(share):.0%} {'more' if share > 0 else 'less'} time than "
            f"benchmarked (median of its trials): {cause}{other}."
        )


def find_timing_outliers(trials: Sequence[Trial]) -> TimingOutliers:
    """Compare the step times of trials in any state with those of their buckets.

    Trials without a step time are ignored, and so are those whose training time is nearly all
    feature extraction.
    """
    timed = [
        trial
        for trial in trials
        if trial.times.step_median and trial.times.step_bucket and not _is_extraction(trial)
    ]
    by_host: dict[str, list[float]] = {}
    for trial in timed:
        if trial.environment is not None:
            by_host.setdefault(trial.environment.host, []).append(trial.times.step_excess)
    medians = {
        host: statistics.median(shares)
        for host, shares in by_host.items()
        if len(shares) >= _FEWEST_TRIALS
    }
    return TimingOutliers(
        trials=tuple(trial.number for trial in timed if trial.times.is_timing_outlier),
        machines={
            host: share for host, share in medians.items() if abs(share) > STEP_TIME_TOLERANCE
        },
        hosts=len(by_host),
    )


def _is_extraction(trial: Trial) -> bool:
    """Whether a frozen backbone's extraction is nearly all of the trial's training time."""
    if trial.recipe is None or trial.recipe.backbone != "frozen" or not trial.curve:
        return False
    stepping = trial.times.train * trial.recipe.epochs / len(trial.curve)
    if trial.measurement is not None:
        return stepping < LEAST_STEP_SHARE * trial.measurement.train_seconds
    return bool(trial.rungs) and stepping < LEAST_STEP_SHARE * trial.rungs[-1].projected_seconds
