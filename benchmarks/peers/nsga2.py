"""Proposes configs by NSGA-II: Optuna's NSGAIISampler, as Optuna's users have it.

One sampler and one study per simulation, through `study.ask` and `study.tell`: the generations are
those of the published algorithm (Deb et al., "A fast and elitist multiobjective genetic algorithm:
NSGA-II", 2002). Nothing is stopped early, as Optuna prunes no trial that has two objectives.

The first generation is random. Optuna's population of 50 is more than a budget of 30 median
trainings has trials, or hardly less, so the default hardly differs from random search there; hence
a second strategy with a population of 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from effv2_tune.search.engines.distributions import suggest_config
from peers.base import Job

if TYPE_CHECKING:
    from effv2_tune.study.space import Space
    from peers.base import Outcome

#: Optuna's default, and one for small budgets.
POPULATION, SMALL_POPULATION = 50, 10


class Nsga2:
    """NSGA-II.

    Args:
        space: The search space, with conditions.
        seed: Of the sampler.
        population: The number of trials of a generation.
    """

    def __init__(self, space: Space, seed: int, population: int = POPULATION) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._study = optuna.create_study(
            directions=("minimize", "minimize"),
            sampler=optuna.samplers.NSGAIISampler(seed=seed, population_size=population),
        )

    def ask(self) -> Job:
        """A new config, to be trained completely."""
        trial = self._study.ask()
        return Job(suggest_config(trial, self._space), key=trial)

    def tell(self, job: Job, outcome: Outcome) -> None:
        """See :class:`peers.base.Peer`."""
        self._study.tell(job.key, outcome.costs)


def nsga2(space: Space, seed: int) -> Nsga2:
    """With Optuna's default population."""
    return Nsga2(space, seed)


def nsga2_small(space: Space, seed: int) -> Nsga2:
    """With a population for budgets of tens of trainings."""
    return Nsga2(space, seed, SMALL_POPULATION)
