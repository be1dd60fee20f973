"""Prunes trials of a two-objective Optuna study by non-dominated successive halving.

Optuna's own pruners have one objective: `Trial.report` and `Trial.should_prune` raise in a study
with several. This one keeps what it compares in user attributes, and needs nothing but Optuna and
NumPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

__all__ = ["ParetoHalvingPruner"]

_PREFIX = "pareto_halving:"


class _Point(NamedTuple):
    """A quality, of which less is better, and the log of a cost."""

    loss: float
    log_cost: float


class ParetoHalvingPruner:
    """Compares trials at a few rungs on a quality measured there and a cost that is known.

    The study has two objectives: a quality, which improves while a trial runs, and its cost
    (training time, size, FLOPs, ...), which is known or predicted at the rung and minimized.

    At a rung, all trials that have reached it are ranked by non-dominated sorting over (quality at
    the rung, log of the cost), ties within a front by an epsilon net. A trial is pruned if more
    than a share `keep` of them ranks better. Once `guard_after` trials are complete, it is pruned
    only if a complete trial also dominates its optimistic outcome: its quality plus a quantile of
    the gains of complete trials between this rung and the end. The quantile is `quantile` for the
    worst share (1 - keep) * strictness of the trials, and the largest gain for others; strictness
    rises from 0 to 1 as the rank correlation of the rung with the end rises from .5 to .8.

    Args:
        study: Its directions are those of the quality and "minimize" for the cost.
        keep: Share of the trials that survive a rung.
        guard_after: Complete trials from which on the optimistic outcome counts.
        quantile: Of the gains that is optimistic.

    Raises:
        ValueError: The study does not have two objectives, the second of them minimized.
    """

    def __init__(
        self, study: Study, *, keep: float = 0.25, guard_after: int = 8, quantile: float = 0.9
    ) -> None:
        directions = study.directions
        if len(directions) != 2 or directions[1] != StudyDirection.MINIMIZE:  # noqa: PLR2004
            raise ValueError("The study needs a quality and a cost, and the cost is minimized.")
        self._study = study
        self._sign = 1.0 if directions[0] == StudyDirection.MINIMIZE else -1.0
        self._keep = keep
        self._guard_after = guard_after
        self._quantile = quantile

    def should_prune(self, trial: Trial, *, rung: int, quality: float, cost: float) -> bool:
        """Whether a trial is pruned at a rung; raise `optuna.TrialPruned` then.

        Args:
            trial: The running trial.
            rung: Index of the rung; the same for all trials after the same share of their steps.
            quality: Of the trial there.
            cost: Of the whole trial, above 0, in any unit.
        """
        trial.set_user_attr(f"{_PREFIX}{rung}", [quality, cost])
        mine = self._point(quality, cost)
        others = [
            one for one in self._study.get_trials(deepcopy=False) if one.number != trial.number
        ]
        at_rung = {
            one.number: point for one in others if (point := self._at(one, rung)) is not None
        }
        points = [*at_rung.values(), mine]
        better = _rank_order(points).index(len(points) - 1)
        if better <= self._keep * len(points):
            return False
        complete = {one.number: self._end(one) for one in others if _is_complete(one)}
        curves = [(at_rung[n].loss, end.loss) for n, end in complete.items() if n in at_rung]
        if len(curves) < self._guard_after:
            return True
        earned = _strictness(curves, [point.loss for point in points])
        is_trusted = better > (1 - earned * (1 - self._keep)) * len(points)
        gains = [early - end for early, end in curves]
        gain = float(np.quantile(gains, self._quantile if is_trusted else 1.0))
        hopeful = _Point(mine.loss - gain, mine.log_cost)
        return any(_dominates(end, hopeful) for end in complete.values())

    def _at(self, trial: FrozenTrial, rung: int) -> _Point | None:
        values = trial.user_attrs.get(f"{_PREFIX}{rung}")
        return None if values is None else self._point(*values)

    def _end(self, trial: FrozenTrial) -> _Point:
        return self._point(*trial.values)

    def _point(self, quality: float, cost: float) -> _Point:
        return _Point(self._sign * quality, math.log(max(cost, 1e-9)))


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def _dominates(one: _Point, other: _Point) -> bool:
    return one != other and one.loss <= other.loss and one.log_cost <= other.log_cost


def _rank_order(points: Sequence[_Point]) -> list[int]:
    """The places of points from best to worst."""
    order: list[int] = []
    left = list(range(len(points)))
    while left:
        front = [
            place
            for place in left
            if not any(_dominates(points[other], points[place]) for other in left)
        ]
        order += _epsilon_net(points, front)
        left = [place for place in left if place not in front]
    return order


def _epsilon_net(points: Sequence[_Point], front: list[int]) -> list[int]:
    """The places of a front: the least loss first, then always the farthest from those before."""
    found = np.array([points[place] for place in front])
    low, high = found.min(axis=0), found.max(axis=0)
    scaled = (found - low) / np.where(high > low, high - low, 1.0)
    net = [int(np.argmin(found[:, 0]))]
    while len(net) < len(front):
        gaps = np.linalg.norm(scaled[:, None] - scaled[None, net], axis=2).min(axis=1)
        gaps[net] = -1.0
        net.append(int(np.argmax(gaps)))
    return [front[place] for place in net]


def _strictness(curves: Sequence[tuple[float, float]], seen: Sequence[float]) -> float:
    """From 0 to 1, by the rank correlation of the rung with the end.

    It is corrected for the selection of complete trials at the rung (Thorndike's case 2).
    """
    early, end = (np.array(column) for column in zip(*curves, strict=True))
    everyone = np.array(seen)
    ranks_early, ranks_end = _ranks(early, early), _ranks(end, end)
    deviation = float(np.std(_ranks(early, everyone)))
    if deviation == 0 or np.std(ranks_end) == 0:
        return 0.0
    r = float(np.corrcoef(ranks_early, ranks_end)[0, 1])
    u = max(float(np.std(_ranks(everyone, everyone))) / deviation, 1.0)
    corrected = r * u / math.sqrt(max(1 - r * r, 0.0) + (r * u) ** 2) if r else 0.0
    return min(max((corrected - 0.5) / 0.3, 0.0), 1.0)


def _ranks(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    below = (among[None] < values[:, None]).sum(axis=1)
    return below + (among[None] == values[:, None]).sum(axis=1) / 2
