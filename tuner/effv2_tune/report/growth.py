"""Lists the growth of the Pareto front over the trials and the time of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.pareto import front_growth, outcome_of

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.report.input import ReportInput


class GrowthPoint(NamedTuple):
    """The front after one more trial.

    Attributes:
        trial: The trial that ended.
        ended: Number of trials that had ended by then, in any state.
        seconds: Wall time since the first trial began.
        share: Hypervolume so far, as a share of the last one; from 0 to 1.
        is_new_point: Whether the trial added a point to the front, by more than its noise.
    """

    trial: int
    ended: int
    seconds: float
    share: float
    is_new_point: bool


def growth_points(device: DeviceAnalysis, study: ReportInput) -> list[GrowthPoint]:
    """One point for each trial that ended on a device, in the order of their ends; no replicates.

    Empty while no trial is complete. The hypervolume is that of ``stop_when``, see
    :func:`effv2_tune.pareto.front_growth`.
    """
    ended = sorted(
        (trial.ended, trial.number, trial)
        for trial in device.trials
        if trial.ended is not None and trial.replicate_of is None
    )
    outcomes = [outcome_of(trial, study.quality, study.validation) for _, _, trial in ended]
    growth = front_growth(outcomes, study.objective)
    if growth.reference is None:
        return []
    starts = [trial.started for trial in device.trials if trial.started is not None]
    began = min([*starts, ended[0][0]])
    return [
        GrowthPoint(number, count, (end - began).total_seconds(), share, is_new)
        for count, ((end, number, _), share, is_new) in enumerate(
            zip(ended, growth.shares, growth.is_new_point, strict=True), start=1
        )
    ]
