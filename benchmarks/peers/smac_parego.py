"""Proposes configs by SMAC3: a random forest of ParEGO's scalarization.

SMAC 2.4 takes several objectives in each of its facades, as one scalar for its only model: by the
mean, or by ParEGO (Knowles, "ParEGO", 2006), whose weights are drawn anew for each model and whose
costs are scaled to [0, 1] by the range seen so far. Both peers use ParEGO and the ask-and-tell
interface, `ask` and `tell` of the facade:

* `full`: `HyperparameterOptimizationFacade`, every config trained completely. The authors of PriMO
  compare with it, too.
* `hyperband`: `MultiFidelityFacade`, where Hyperband's rungs keep the non-dominated configs. The
  fidelity, SMAC's budget, is the share of the epochs. The model knows only
  what was trained the longest.

Defaults, but for two that are meant for hundreds of cheap trials: the forest is trained anew for
each config, not for every eighth, and the random design of the beginning is a quarter of the median
full trainings of the budget, which is SMAC's largest share, not ten configs per parameter. The
objective is deterministic: no config is trained with a second seed. SMAC's space has the conditions
of ours. Configs that other workers train are not in the model.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ConfigSpace import (
    AndConjunction,
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from search_quality import BUDGET_TRAININGS
from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.multi_objective.parego import ParEGO
from smac.runhistory.dataclasses import TrialValue

from effv2_tune.study.space import ChoiceParameter, IntParameter, values_of
from peers.axes import decode, is_counted
from peers.base import ETA, LEAST_SHARE, Job

if TYPE_CHECKING:
    from effv2_tune.study.space import Dimension, Space
    from peers.base import Outcome

#: Configs before the first model.
RANDOM_CONFIGS = math.ceil(0.25 * BUDGET_TRAININGS)
#: More than any budget here has: SMAC's own limit does not end a simulation.
MOST_TRIALS = 100_000


def config_space(space: Space) -> ConfigurationSpace:
    """The search space in ConfigSpace's form, with its conditions."""
    found = ConfigurationSpace()
    axes = {dimension.name: dimension for dimension in space.dimensions()}
    numbered = {name: _hyperparameter(dimension) for name, dimension in axes.items()}
    found.add(list(numbered.values()))
    for name, dimension in axes.items():
        conditions = [
            InCondition(numbered[name], numbered[parent], allowed)
            for parent, allowed in _conditions(dimension, axes).items()
        ]
        if conditions:
            found.add(AndConjunction(*conditions) if len(conditions) > 1 else conditions[0])
    return found


def _hyperparameter(dimension: Dimension) -> Any:
    parameter, name = dimension.parameter, dimension.name
    if isinstance(parameter, ChoiceParameter):
        return CategoricalHyperparameter(name, list(range(len(parameter.values))))
    log = parameter.scale == "log"
    if not isinstance(parameter, IntParameter):
        return UniformFloatHyperparameter(name, parameter.low, parameter.high, log=log)
    if is_counted(parameter):
        steps = (parameter.high - parameter.low) // parameter.step
        return UniformIntegerHyperparameter(name, 0, steps)
    return UniformIntegerHyperparameter(name, parameter.low, parameter.high, log=log)


def _conditions(dimension: Dimension, axes: dict[str, Dimension]) -> dict[str, list[int]]:
    """The numbers of the values of each parent for which a dimension is active.

    A parent without an axis is fixed, and needs no condition.
    """
    parameter = dimension.parameter
    found: dict[str, list[int]] = {}
    for parent in parameter.conditions:
        if parent not in axes:
            continue
        other = axes[parent].parameter
        if isinstance(other, IntParameter):
            values: list[Any] = list(range(other.low, other.high + 1, other.step))
            numbers = range(len(values)) if is_counted(other) else values
        else:
            values = list(values_of(other))
            numbers = range(len(values))
        allowed = zip(numbers, values, strict=True)
        found[parent] = [number for number, value in allowed if parameter.allows(parent, value)]
    return found


class Smac:
    """SMAC3 with ParEGO.

    Args:
        space: The search space, with conditions.
        seed: Of SMAC.
        facade: The parts of SMAC and their defaults.
        least_share: Of the epochs that a config may be trained for; None where each is trained
            completely.
    """

    def __init__(
        self, space: Space, seed: int, facade: Any, least_share: float | None = None
    ) -> None:
        self._space = space
        # SMAC writes into a folder what it is made of.
        folder = Path(tempfile.mkdtemp(prefix="smac-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        scenario = Scenario(
            config_space(space),
            output_directory=folder,
            deterministic=True,
            objectives=["quality", "seconds"],
            n_trials=MOST_TRIALS,
            min_budget=least_share,
            max_budget=None if least_share is None else 1.0,
            seed=seed,
        )
        by_share = {} if least_share is None else {"eta": ETA}
        self._smac = facade(
            scenario,
            multi_objective_algorithm=ParEGO(scenario),
            initial_design=facade.get_initial_design(scenario, n_configs=RANDOM_CONFIGS),
            intensifier=facade.get_intensifier(scenario, **by_share),
            config_selector=facade.get_config_selector(scenario, retrain_after=1),
            logging_level=False,
            overwrite=True,
        )

    def ask(self) -> Job | None:
        """The next config, up to the share of the epochs that SMAC asks for."""
        try:
            trial = self._smac.ask()
        except StopIteration:
            return None
        share = 1.0 if trial.budget is None else float(trial.budget)
        return Job(decode(self._space, dict(trial.config)), share, trial)

    def tell(self, job: Job, outcome: Outcome) -> None:
        """See :class:`peers.base.Peer`."""
        value = TrialValue(cost=list(outcome.costs), time=outcome.seconds)
        self._smac.tell(job.key, value, save=False)


def full(space: Space, seed: int) -> Smac:
    """SMAC3 whose configs are all trained completely."""
    return Smac(space, seed, HyperparameterOptimizationFacade)


def hyperband(space: Space, seed: int) -> Smac:
    """SMAC3 with Hyperband over the share of the epochs."""
    return Smac(space, seed, MultiFidelityFacade, LEAST_SHARE)
