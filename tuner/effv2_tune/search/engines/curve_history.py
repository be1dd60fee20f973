"""Reads the history that freeze-thaw decides from out of the records of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.search.freeze_thaw import History, Observation
from effv2_tune.search.freeze_thaw import Trial as ModelTrial
from effv2_tune.search.storage.records import is_duplicate, is_replicate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from effv2_tune.pareto import Objective
    from effv2_tune.search.engines.action_costs import Costs
    from effv2_tune.search.engines.unit_cube import UnitCube
    from effv2_tune.study.recipe import Quality
    from effv2_tune.study.space import Space
    from effv2_tune.study.trial import Trial

    Epochs = Callable[[Trial], int]

#: States of the model by ours; all others are those of trials that have stopped.
_STATES = {"running": "running", "paused": "paused", "complete": "complete"}
#: Ends that say how good a config is: worse than all others.
_BAD = ("diverged", "infeasible")


class _Curve(NamedTuple):
    """What the model takes from a record, which does not change until the record does.

    Attributes:
        trial: The record.
        config: Its point of the unit cube.
        timed: Its observations, each with the order of its measurement.
    """

    trial: Trial
    config: tuple[float, ...]
    timed: tuple[tuple[tuple[str, int], Observation], ...]


class CurveReader:
    """Reads the history of a study; each record once, as long as it does not change.

    Args:
        space: The search space.
        cube: Of the search space.
        epochs: Of the whole training of a trial.
        objective: Of the study.
        quality: The score that the study optimizes.
    """

    def __init__(
        self,
        space: Space,
        *,
        cube: UnitCube,
        epochs: Epochs,
        objective: Objective,
        quality: Quality,
    ) -> None:
        self._space = space
        self._cube = cube
        self._epochs = epochs
        self._objective = objective
        self._quality = quality
        self._read: dict[int, tuple[Trial, _Curve | None]] = {}

    def history(self, known: Sequence[Trial], costs: Costs) -> History:
        """The history of a study.

        Args:
            known: All trials of the study.
            costs: Of actions.
        """
        curves = [one for trial in known if (one := self._curve(trial)) is not None]
        unknown = [t for t, *_ in curves if t.measurement is None and not t.rungs]
        computed = dict(
            zip(
                [trial.number for trial in unknown],
                costs.seconds([trial.config for trial in unknown]),
                strict=True,
            )
        )
        members = {
            trial.number: ModelTrial(
                config=config,
                seconds=_seconds(trial, computed),
                state=_STATES.get(trial.state, "stopped"),  # type: ignore[arg-type]
                continue_seconds=(
                    costs.continue_seconds(trial) if trial.state == "paused" else 0.0
                ),
            )
            for trial, config, _ in curves
        }
        return History(members, _observations(curves))

    def _curve(self, trial: Trial) -> _Curve | None:
        """The curve of a trial; None of one that the model does not know.

        It knows neither replicates nor duplicates, nor trials outside of the space.
        """
        before = self._read.get(trial.number)
        if before is None or before[0] is not trial:
            before = (trial, self._new_curve(trial))
            self._read[trial.number] = before
        return before[1]

    def _new_curve(self, trial: Trial) -> _Curve | None:
        is_extra = is_replicate(trial) or is_duplicate(trial)
        if is_extra or not trial.config or not self._space.contains(trial.config):
            return None
        timed = tuple(_timed(trial, self._epochs, self._objective, self._quality))
        return _Curve(trial, tuple(self._cube.point(trial.config).tolist()), timed)


def _seconds(trial: Trial, computed: Mapping[int, float]) -> float:
    if trial.measurement is not None:
        return trial.measurement.train_seconds
    return trial.rungs[-1].projected_seconds if trial.rungs else computed[trial.number]


def _observations(curves: Sequence[_Curve]) -> list[Observation]:
    """In the order measured; trials that diverged or did not fit are as bad as the worst one."""
    timed = [pair for curve in curves for pair in curve.timed]
    worst = min((one.quality for _, one in timed), default=0.0)
    timed += [
        ((str(trial.ended), trial.number), Observation(trial.number, 1.0, worst))
        for trial, *_ in curves
        if trial.state in _BAD and timed
    ]
    return [one for _, one in sorted(timed, key=lambda pair: (pair[0], pair[1].share))]


def _timed(
    trial: Trial, epochs: Epochs, objective: Objective, quality: Quality
) -> Iterator[tuple[tuple[str, int], Observation]]:
    """The observations of a trial, with the order of their measurement."""
    if trial.state in _BAD:
        return
    # The last rung of a pruned trial has no time, nor have those of earlier versions.
    untimed = len(trial.rungs) - len(trial.rung_times)
    for result, moment in zip(
        trial.rungs, (*trial.rung_times, *[trial.ended] * untimed), strict=True
    ):
        yield (
            _order(moment, trial),
            Observation(
                trial.number,
                result.epoch / epochs(trial),
                -objective.quality_cost(result.quality),
                _error_at(trial, result.epoch, quality),
            ),
        )
    if trial.measurement is not None:
        errors = trial.standard_errors
        yield (
            _order(trial.ended, trial),
            Observation(
                trial.number,
                1.0,
                -objective.quality_cost(trial.measurement.quality),
                0.0 if errors is None else errors.value_of(quality),
            ),
        )


def _order(moment: datetime | None, trial: Trial) -> tuple[str, int]:
    return ("" if moment is None else moment.isoformat(), trial.number)


def _error_at(trial: Trial, epoch: int, quality: Quality) -> float:
    """The standard error of the quality after an epoch; 0 where it is not recorded."""
    for one in trial.curve:
        if one.epoch == epoch and one.standard_errors is not None:
            return one.standard_errors.value_of(quality)
    return 0.0
