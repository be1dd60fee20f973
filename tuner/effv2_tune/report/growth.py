"""Computes the growth of the Pareto front: its hypervolume after each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.pareto import front_of, hypervolume, reference_point
from effv2_tune.report.analysis import measured

if TYPE_CHECKING:
    from effv2_tune.pareto import Objective
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.study.trial import Trial


class GrowthPoint(NamedTuple):
    """The front after one more trial.

    Attributes:
        trial: The trial that ended.
        ended: Number of trials that had ended by then, in any state.
        seconds: Wall time since the first trial began.
        share: Hypervolume so far, as a share of the last one; from 0 to 1.
    """

    trial: int
    ended: int
    seconds: float
    share: float


def front_growth(device: DeviceAnalysis, objective: Objective) -> list[GrowthPoint]:
    """One point for each trial that ended on a device, in the order of their ends.

    The reference point is that of all its complete trials, the same for every point of the curve.
    """
    ended = sorted(
        (trial.ended, trial.number, trial) for trial in device.trials if trial.ended is not None
    )
    if not device.complete or not ended:
        return []
    reference = reference_point(measured(device.complete), objective)
    final = hypervolume(measured(device.complete), reference, objective)
    starts = [trial.started for trial in device.trials if trial.started is not None]
    began = min([*starts, ended[0][0]])
    points: list[GrowthPoint] = []
    front: list[Trial] = []
    covered = 0.0
    for count, (end, number, trial) in enumerate(ended, start=1):
        if trial.state == "complete" and trial.measurement is not None:
            front = front_of([*front, trial], objective)
            covered = hypervolume(measured(front), reference, objective)
        share = covered / final if final else 0.0
        points.append(GrowthPoint(number, count, (end - began).total_seconds(), share))
    return points
