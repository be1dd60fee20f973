"""How much the front covers after each trial: hypervolume over the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from effv2_tune.pareto import hypervolume, pareto_front, reference_point
from effv2_tune.report.analysis import measurement_of

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.study.trial import Measurement


class GrowthPoint(NamedTuple):
    """The front after one more trial.

    Attributes:
        trial: The trial that ended.
        ended: How many trials had ended by then, in whatever state.
        seconds: Wall time since the first trial began.
        share: Hypervolume so far, as a share of the last one; from 0 to 1.
    """

    trial: int
    ended: int
    seconds: float
    share: float


def front_growth(
    device: DeviceAnalysis, direction: Literal["maximize", "minimize"]
) -> list[GrowthPoint]:
    """One point for each trial that ended on a device, in the order of their ends.

    The reference point is that of all its complete trials, the same for every point of the curve.
    """
    complete = [trial.measurement for trial in device.complete if trial.measurement is not None]
    if not complete or all(trial.ended is None for trial in device.trials):
        return []
    reference = reference_point(complete, quality_direction=direction)
    final = hypervolume(complete, reference, quality_direction=direction)
    over = sorted(
        (trial.ended, trial.number, measurement_of(trial))
        for trial in device.trials
        if trial.ended is not None
    )
    starts = [trial.started for trial in device.trials if trial.started is not None]
    began = min([*starts, *(ended for ended, _, _ in over)])
    points: list[GrowthPoint] = []
    front: list[Measurement] = []
    covered = 0.0
    for count, (ended, number, measurement) in enumerate(over, start=1):
        if measurement is not None:
            candidates = [*front, measurement]
            marks = pareto_front(candidates, quality_direction=direction)
            front = [one for one, keep in zip(candidates, marks, strict=True) if keep]
            covered = hypervolume(front, reference, quality_direction=direction)
        share = covered / final if final else 0.0
        points.append(GrowthPoint(number, count, (ended - began).total_seconds(), share))
    return points
