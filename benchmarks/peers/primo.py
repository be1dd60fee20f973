"""Proposes configs by PriMO of NePS: MO-ASHA at first, then a Gaussian process.

Of what NePS 0.17 has, `random_search`, `moasha`, `mo_hyperband` and `primo` take several
objectives, and all of these but the first a fidelity; `bayesian_optimization`, `priorband`, `ifbo`
and the others take one objective. So this is `primo`, the Prior-Informed Multi-Objective Optimizer
(arXiv 2511.08371), through `neps.AskAndTell`: the runtime of NePS, which keeps its trials in files,
would train on a clock of its own.

It has no priors here, as no other strategy has any: MO-ASHA on random configs until the trials have
taken as many epochs as five full trainings, then a Gaussian process on the full trainings, of a sum
of both costs with random weights. Reduction factor and length of the first part are those of the
authors' experiments. The fidelity is the share of the epochs.

The code of NePS draws the weights once for a search, and so looks for one point of the front; its
documentation says that they are drawn again and again. `as_released` is the first, `resampled` the
second.

Four things are not as NePS has them. It adds the costs up as they are, and advises to scale them:
before each decision they are scaled to [0, 1] by the range seen so far, as in ParEGO. With several
workers, it proposes two trials of the same name after MO-ASHA: the second one is renamed. A rung
all of whose trials are running ends it with an error; here that rung promotes none. And its search
space has no conditions: inactive parameters get a value as well, which is ignored.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import neps
import numpy as np
import torch
from neps.optimizers.utils.brackets import Rung

from effv2_tune.study.space import ChoiceParameter, IntParameter
from peers.axes import decode, is_counted
from peers.base import ETA, LEAST_SHARE, Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.study.space import Space
    from peers.base import Outcome

#: Full trainings that MO-ASHA takes as many epochs as, in the authors' experiments (mo_mf_priors,
#: baselines/neps_optimizers.py).
FIRST_TRAININGS = 5
SHARE = "share_of_epochs"


def neps_space(space: Space) -> neps.SearchSpace:
    """The search space in NePS' form, with the share of the epochs as its fidelity."""
    elements: dict[str, Any] = {
        dimension.name: _element(dimension.parameter) for dimension in space.dimensions()
    }
    elements[SHARE] = neps.HPOFloat(LEAST_SHARE, 1.0, is_fidelity=True)
    return neps.SearchSpace(elements)


def _element(parameter: Any) -> Any:
    if isinstance(parameter, ChoiceParameter):
        choices = list(range(len(parameter.values)))
        return neps.HPOCategorical(choices) if len(choices) > 1 else neps.HPOConstant(0)
    log = parameter.scale == "log"
    if not isinstance(parameter, IntParameter):
        return neps.HPOFloat(parameter.low, parameter.high, log=log)
    if is_counted(parameter):
        return neps.HPOInteger(0, (parameter.high - parameter.low) // parameter.step)
    return neps.HPOInteger(parameter.low, parameter.high, log=log)


class UniqueNames:
    """An optimizer of NePS whose trials have different names.

    Args:
        optimizer: NePS names the next full training after those that have ended.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def __call__(self, trials: Mapping[str, Any], budget_info: Any, n: int | None = None) -> Any:
        """The next trial."""
        sampled = self._optimizer(trials, budget_info, n)
        if sampled.id not in trials:
            return sampled
        last = max(int(name.split("_")[0]) for name in trials)
        return neps.SampledConfig(id=str(last + 1), config=sampled.config)


class PriMO:
    """PriMO without priors.

    Args:
        space: The search space; NePS ignores its conditions.
        seed: Of the generators of Python, NumPy and PyTorch, which NePS takes as they are.
        resample: Whether the weights of the costs are drawn for each trial, not once.
    """

    def __init__(self, space: Space, seed: int, *, resample: bool) -> None:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - NePS has no other seed
        torch.manual_seed(seed)
        promote_none_while_all_run()
        self._space = space
        self._resample = resample
        self._optimizer = neps.algorithms.primo(
            neps_space(space), prior_centers={}, eta=ETA, initial_design_size=FIRST_TRAININGS
        )
        self._neps = neps.AskAndTell(UniqueNames(self._optimizer))
        self._costs: dict[str, tuple[float, float]] = {}

    def ask(self) -> Job:
        """The next trial, up to the share of the epochs that NePS asks for."""
        self._rescale()
        if self._resample:
            self._optimizer.scalarization_weights = None
        trial = self._neps.ask()
        numbers = dict(trial.config)
        share = float(numbers.pop(SHARE))
        return Job(decode(self._space, numbers), share, trial.id)

    def tell(self, job: Job, outcome: Outcome) -> None:
        """See :class:`peers.base.Peer`."""
        self._costs[job.key] = outcome.costs
        self._neps.tell(job.key, list(outcome.costs))

    def _rescale(self) -> None:
        """Scale the costs of all trials to [0, 1]."""
        if not self._costs:
            return
        costs = np.array(list(self._costs.values()))
        low, high = costs.min(axis=0), costs.max(axis=0)
        scaled = (costs - low) / np.where(high > low, high - low, 1.0)
        for name, row in zip(self._costs, scaled.tolist(), strict=True):
            report = self._neps.trials[name].report
            if report is None:
                raise AssertionError(f"trial {name} has costs and no report")
            report.objective_to_minimize = row


def promote_none_while_all_run() -> None:
    """Let a rung of NePS 0.17 promote no trial while all of them are running.

    It ranks the finished ones and fails with a ValueError where there is none, which several
    workers meet at their first trials already.
    """
    if hasattr(Rung, "ranks_finished_only"):
        return
    select = Rung.epsnet_selector

    def epsnet_selector(self: Any, *, k: int, contenders: Any) -> Any:
        if contenders["perf"].isna().all():
            return contenders.iloc[:0]
        return select(self, k=k, contenders=contenders)

    Rung.epsnet_selector = epsnet_selector
    Rung.ranks_finished_only = True


def as_released(space: Space, seed: int) -> PriMO:
    """PriMO as its code is: with the same weights for a whole search."""
    return PriMO(space, seed, resample=False)


def resampled(space: Space, seed: int) -> PriMO:
    """PriMO as its documentation is: with weights of their own for each trial."""
    return PriMO(space, seed, resample=True)
