"""Places the trials of a study against each hyperparameter: quality above, training time below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from effv2_tune.report.analysis import seconds_of
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.parallel import Axis, number_axis, parameter_axis, time_axis
from effv2_tune.report.quantities import label_of
from effv2_tune.report.tables.trials import parameter_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial

#: How a trial is marked; ``none`` has no result.
Kind = Literal["front", "complete", "pruned", "paused", "none"]
_WITHOUT_RESULT = ("failed", "diverged", "infeasible")


class Slices(NamedTuple):
    """The trials on one kind of device, on axes that all figures of the section share.

    Attributes:
        axes: Of the hyperparameters that differ between the trials, the most important ones for
            the quality first, with the positions of the trials [n].
        objectives: Quality and training time, likewise; None stands for a trial below the axis.
        trials: Their numbers [n].
        kinds: How each is marked [n].
        worst: The lower end of the quality's axis in words, where trials are below it; else empty.
    """

    axes: Sequence[Axis]
    objectives: tuple[Axis, Axis]
    trials: Sequence[int]
    kinds: Sequence[Kind]
    worst: str


def slices_of(analysis: Analysis, device: DeviceAnalysis) -> Slices:
    """The complete, pruned and paused trials of a device, and those without a result.

    Pruned and paused trials are at their last rung and their projected time. The axis of the
    quality is that of *Near the front*, where there is one.
    """
    trials = [trial for trial in device.trials if _is_shown(trial)]
    ranks = {one.parameter: place for place, one in enumerate(device.importances["quality"])}
    names = sorted(parameter_names(trials), key=lambda name: ranks.get(name, len(ranks)))
    axes = [
        parameter_axis(label_of(name), [trial.config.get(name) for trial in trials])
        for name in names
    ]
    qualities = [_quality(trial, device) for trial in trials]
    quality = number_axis(
        f"validation {label_of(analysis.study.quality)}",
        _in_bounds(qualities, quality_bounds(device, analysis.study.objective)),
        lambda value: f"{value:.4g}",
    )
    is_cut = any(
        value is not None and place is None
        for value, place in zip(qualities, quality.positions, strict=True)
    )
    return Slices(
        [
            axis
            for axis in axes
            if len({place for place in axis.positions if place is not None}) > 1
        ],
        (quality, time_axis([_seconds(trial) for trial in trials])),
        [trial.number for trial in trials],
        [_kind(trial, analysis) for trial in trials],
        f"{quality.low:.4g}" if is_cut else "",
    )


def _is_shown(trial: Trial) -> bool:
    is_at_rung = trial.state in ("pruned", "paused") and bool(trial.rungs)
    is_complete = trial.state == "complete" and trial.measurement is not None
    return is_complete or is_at_rung or (trial.state in _WITHOUT_RESULT and not trial.is_outside)


def _quality(trial: Trial, device: DeviceAnalysis) -> float | None:
    if trial.state in _WITHOUT_RESULT:
        return None
    return trial.rungs[-1].quality if trial.state != "complete" else device.qualities[trial.number]


def _seconds(trial: Trial) -> float | None:
    if trial.state in _WITHOUT_RESULT:
        return None
    return trial.rungs[-1].projected_seconds if trial.state != "complete" else seconds_of(trial)


def _in_bounds(
    values: Sequence[float | None], bounds: tuple[float, float] | None
) -> list[float | None]:
    """The values within the bounds, None for the others."""
    if bounds is None:
        return list(values)
    low, high = bounds
    return [value if value is not None and low <= value <= high else None for value in values]


def _kind(trial: Trial, analysis: Analysis) -> Kind:
    match trial.state:
        case "complete":
            return "front" if trial.number in analysis.front else "complete"
        case "pruned" | "paused":
            return trial.state
        case _:
            return "none"
