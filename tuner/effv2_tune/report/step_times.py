"""Describes how certain training times are: intervals, their order, restated step times."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from effv2_tune.report.quantities import human_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import Trial


def interval_of(trial: Trial) -> tuple[float, float] | None:
    """The 90 % interval of the training seconds of a complete trial; None where it has none."""
    measured = trial.measurement
    if measured is None or measured.seconds_low is None or measured.seconds_high is None:
        return None
    return measured.seconds_low, measured.seconds_high


def seconds_text(trial: Trial) -> str:
    """The training time of a complete trial, with half of its interval: ``47 s ± 1.2 s``."""
    if trial.measurement is None:
        return ""
    text, interval = human_seconds(trial.measurement.train_seconds), interval_of(trial)
    if interval is None:
        return text
    return f"{text} \N{PLUS-MINUS SIGN} {human_seconds((interval[1] - interval[0]) / 2)}"


@dataclass(frozen=True)
class TimeOrder:
    """Whether the order of the training times on a front is certain.

    Attributes:
        uncertain: Pairs of neighbours on the front, by number, that may change places.
    """

    uncertain: tuple[tuple[int, int], ...]

    def sentence(self) -> str:
        """The pairs in words; empty without any."""
        if not self.uncertain:
            return ""
        pairs = ", ".join(f"{first} and {second}" for first, second in self.uncertain)
        return (
            "The order of the training times on the front is not certain: the 90 % intervals of "
            f"trials {pairs} overlap."
        )


def order_of_times(front: Sequence[Trial]) -> TimeOrder:
    """Compare the neighbours on a front.

    Trials of one bucket share the error of its step time, so their order is certain.

    Args:
        front: Fastest first.
    """
    return TimeOrder(
        tuple((one.number, two.number) for one, two in pairwise(front) if _overlap(one, two))
    )


def _overlap(faster: Trial, slower: Trial) -> bool:
    first, second = interval_of(faster), interval_of(slower)
    if first is None or second is None or faster.bucket == slower.bucket:
        return False
    return first[1] > second[0]
