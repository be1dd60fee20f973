"""Keeps the learning curves of earlier studies, which say what to expect of configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.pareto import Objective
from effv2_tune.search.engines.action_costs import Costs
from effv2_tune.search.engines.curve_history import CurveReader
from effv2_tune.search.engines.unit_cube import UnitCube
from effv2_tune.search.freeze_thaw import History, Observation
from effv2_tune.search.freeze_thaw import Trial as ModelTrial
from effv2_tune.search.freeze_thaw.earlier import EarlierEnds
from effv2_tune.study.base import Value
from effv2_tune.study.space import FixedParameter

if TYPE_CHECKING:
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study.space import Config, Space
    from effv2_tune.study.trial import Trial


class EarlierCurve(Value):
    """A learning curve of an earlier study.

    Attributes:
        config: In the search space of the later one.
        measured: Share of the epochs, quality (higher is better) and its standard error.
    """

    config: dict[str, Any]
    measured: tuple[tuple[float, float, float], ...]


class EarlierStudy(Value):
    """What a later study keeps of an earlier one; it need not be there any more.

    Attributes:
        name: Of the earlier study.
        curves: In the order begun.
    """

    name: str
    curves: tuple[EarlierCurve, ...]

    @classmethod
    def of(cls, record: StudyRecord, space: Space) -> EarlierStudy:
        """The curves of the configs of ``record`` that are in ``space``.

        A parameter that the earlier study did not search has the value of its recipe.
        """
        trials = [
            trial.model_copy(update={"config": config})
            for trial in record.trials
            if (config := _config_in(space, trial)) is not None
        ]
        reader = CurveReader(
            space,
            cube=UnitCube(space),
            epochs=lambda trial: trial.recipe.epochs if trial.recipe is not None else 1,
            objective=Objective(record.plan.directions[0]),
            quality=record.plan.quality,
        )
        history = reader.history(trials, Costs(lambda configs: [1.0 for _ in configs]))
        measured: dict[int, list[tuple[float, float, float]]] = {}
        for one in history.observations:
            found = (one.share, one.quality, one.standard_error)
            measured.setdefault(one.trial, []).append(found)
        configs = {trial.number: trial.config for trial in trials}
        curves = [
            EarlierCurve(config=configs[number], measured=tuple(found))
            for number, found in sorted(measured.items())
        ]
        return cls(name=record.plan.name, curves=tuple(curves))

    def ends(self, space: Space, cube: UnitCube) -> EarlierEnds | None:
        """The expectation of configs; None where no curve is in the space any more."""
        curves = [one for one in self.curves if space.contains(one.config)]
        if not curves:
            return None
        trials = {
            number: ModelTrial(tuple(cube.point(one.config).tolist()), 1.0, "stopped")
            for number, one in enumerate(curves)
        }
        observations = [
            Observation(number, *found)
            for number, one in enumerate(curves)
            for found in one.measured
        ]
        return EarlierEnds.of(History(trials, observations))


def _config_in(space: Space, trial: Trial) -> Config | None:
    """The config of a trial of another study in a space; None where it is outside of it."""
    if trial.recipe is None:
        return None
    config: Config = {}
    for name in space.parents_first:
        parameter = space.parameters[name]
        if not parameter.is_active(config):
            continue
        if isinstance(parameter, FixedParameter):
            config[name] = parameter.value
        elif name in trial.config:
            config[name] = trial.config[name]
        else:
            config[name] = getattr(trial.recipe, name)
    return config if space.contains(config) else None
