"""Promotes random configs by MO-ASHA.

Schmucker et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639): asynchronous
successive halving by promotion (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
MLSys 2020, algorithm 2) whose rungs rank trials by non-dominated sorting and an epsilon net. There
is no guard, and a trial that was passed over is promoted when more trials have made it one of the
best third of its rung. The strategy `random+halving` is the variant that stops trials, as in Syne
Tune, with the rungs and the share of the default strategy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.ranking import rank_order
from effv2_tune.search.engines.unit_cube import UnitCube
from peers.base import ETA, RUNGS, Job

if TYPE_CHECKING:
    from effv2_tune.study.space import Config, Space
    from peers.base import Outcome


class MoAsha:
    """Random configs and MO-ASHA.

    Args:
        space: The search space, with conditions.
        seed: Of the configs.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._cube = UnitCube(space)
        self._rng = np.random.default_rng(seed)
        self._configs: list[Config] = []
        #: Of each rung below the end, the costs of the trials that have reached it, by number.
        self._rungs: list[dict[int, tuple[float, float]]] = [{} for _ in RUNGS]
        self._promoted: list[set[int]] = [set() for _ in RUNGS]

    def ask(self) -> Job:
        """The best trial that may be promoted from the highest rung that has one, or a new one."""
        for rung in reversed(range(len(RUNGS))):
            trial = self._promotable(rung)
            if trial is not None:
                self._promoted[rung].add(trial)
                return self._job(trial, rung + 1)
        self._configs.append(self._cube.config(self._rng.random(self._cube.dimensions)))
        return self._job(len(self._configs) - 1, 0)

    def tell(self, job: Job, outcome: Outcome) -> None:
        """See :class:`peers.base.Peer`."""
        trial, rung = job.key
        if rung < len(RUNGS):
            self._rungs[rung][trial] = outcome.costs

    def _promotable(self, rung: int) -> int | None:
        reached = self._rungs[rung]
        trials = list(reached)
        best = rank_order([reached[trial] for trial in trials])[: len(trials) // ETA]
        return next((trials[one] for one in best if trials[one] not in self._promoted[rung]), None)

    def _job(self, trial: int, rung: int) -> Job:
        share = (*RUNGS, 1.0)[rung]
        return Job(self._configs[trial], share, (trial, rung))
