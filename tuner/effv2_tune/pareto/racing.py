"""Races configs against each other: whose replicate would change the choice of a recipe most.

A user chooses the best recipe within a budget of time. So for the time of each candidate there is
one decision, the best candidate that is not slower, and a replicate is worth what it is expected
to improve these decisions by: the knowledge gradient (Frazier, Powell and Dayanik, "A
Knowledge-Gradient Policy for Sequential Information Collection", 2008), per second of training.
Everything here follows from its arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.estimates import Posterior, own_variance, seed_variance
from effv2_tune.pareto.objective import ACCURACY, Objective
from effv2_tune.pareto.picking import fastest, knee, most_accurate
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from effv2_tune.pareto.estimates import Candidate

    Array = NDArray[np.float64]

#: A replicate that is expected to gain less than this share of the difference that matters, in
#: every decision, is not trained.
LEAST_GAIN = 0.02
#: Deviations from an estimate that its certainty is integrated over, in standard errors.
_DEVIATIONS = np.linspace(-6, 6, 241)
#: An exact quality has a little, so that it can be divided by.
_LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class Pick:
    """A recipe that would be chosen, by the estimates.

    Attributes:
        name: ``fastest``, ``knee`` or ``most-accurate``.
        position: Of the candidate.
        certainty: The probability that no candidate that is at most as slow, and for the most
            accurate pick no candidate at all, is better by more than the difference that matters.
        needs_replicate: Whether it has a rival and was trained only once; running replicates count.
        limit: Training time that no rival exceeds: its own, and for the most accurate pick any.
    """

    name: str
    position: int
    certainty: float
    needs_replicate: bool
    limit: float

    def is_clear(self, level: float) -> bool:
        """Whether it is certain, and not by a single training.

        That of a single training assumes that its seed changes as much as seeds usually do. It can
        change far more, which the first replicate shows.

        Args:
            level: Least certainty.
        """
        return self.certainty >= level and not self.needs_replicate


@dataclass(frozen=True)
class Replicate:
    """The replicate that is worth most.

    Attributes:
        position: The candidate to train again.
        rival: The candidate that it is compared with.
        leads: Whether it is estimated to be better than its rival.
        probability: That the order of the two is the other way round.
    """

    position: int
    rival: int
    leads: bool
    probability: float


@dataclass(frozen=True)
class Race:
    """What is known of the candidates once their running replicates have ended as expected.

    Attributes:
        utilities: [n], the estimated qualities; more is better.
        errors: [n], their standard errors in comparisons with each other: without the part that all
            have in common, as they are judged on the same images.
        gains: [n], the standard deviation by which one more replicate changes each.
        seconds: [n], training time.
        trainings: [n], with different seeds; those that run are included.
        objective: Of the study.
    """

    utilities: Array
    errors: Array
    gains: Array
    seconds: Array
    trainings: Array
    objective: Objective

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        running: Sequence[int] = (),
        objective: Objective = ACCURACY,
    ) -> Race:
        """The race of some candidates.

        Args:
            candidates: [n], one for each config.
            running: [n], how many replicates of each are being trained; none if left out.
            objective: Of the study.
        """
        seeds = seed_variance(candidates).each

        def noise(further: Sequence[int]) -> Array:
            return np.array(
                [
                    own_variance(one, seed, len(one.qualities) + more)
                    for one, seed, more in zip(candidates, seeds, further, strict=True)
                ]
            )

        none = (np.zeros(0),) * 3
        utilities, posterior, _ = Posterior(candidates, objective).moments() if candidates else none
        waiting = running or [0] * len(candidates)
        now = noise([0] * len(candidates))
        before = _updated(posterior, now, noise(waiting))
        gained = before - _updated(posterior, now, noise([more + 1 for more in waiting]))
        return cls(
            utilities=utilities,
            errors=np.sqrt(before),
            gains=np.sqrt(np.maximum(gained, 0.0)),
            seconds=np.array([candidate.seconds for candidate in candidates]),
            trainings=np.array([len(one.qualities) for one in candidates]) + np.array(waiting),
            objective=objective,
        )

    def picks(self, difference: float) -> list[Pick]:
        """The recipes that would be chosen now.

        Args:
            difference: Of two qualities, below which it does not matter which one is better.
        """
        points = [
            Measurement(quality=self.objective.quality_cost(-utility), train_seconds=seconds)
            for utility, seconds in zip(self.utilities.tolist(), self.seconds.tolist(), strict=True)
        ]
        chosen = {
            "fastest": fastest(points, self.objective),
            "knee": knee(points, self.objective),
            "most-accurate": most_accurate(points, self.objective),
        }
        limits = {
            name: math.inf if name == "most-accurate" else float(self.seconds[position or 0])
            for name, position in chosen.items()
        }
        return [
            Pick(
                name,
                position,
                certainty=self._certainty(position, limits[name], difference),
                needs_replicate=self.trainings[position] <= 1 and self._has_rival(limits[name]),
                limit=limits[name],
            )
            for name, position in chosen.items()
            if position is not None
        ]

    def next_replicate(
        self,
        costs: Sequence[float],
        least_gain: float = 0.0,
        *,
        limits: Sequence[float] | None = None,
    ) -> Replicate | None:
        """The replicate that is worth most; None where none is expected to gain more than that.

        Args:
            costs: [n], seconds that one more replicate of each candidate takes; infinite where
                there can be none.
            least_gain: Of quality, in any one decision.
            limits: Training times of the decisions; None for that of each candidate.
        """
        values = np.zeros(len(self.utilities))
        largest: dict[int, tuple[float, int]] = {}
        for limit in np.unique(self.seconds if limits is None else limits):
            members = np.flatnonzero(self.seconds <= limit)
            for position in members.tolist() if len(members) > 1 else ():
                rival = self._best_of(members[members != position])
                gain = self._knowledge_gradient(position, rival)
                values[position] += gain / costs[position]
                largest[position] = max(largest.get(position, (0.0, rival)), (gain, rival))
        worth = [p for p, (gain, _) in largest.items() if gain > least_gain and values[p] > 0]
        if not worth:
            return None
        position = max(worth, key=lambda p: (values[p], -p))
        rival = largest[position][1]
        gap = self.utilities[position] - self.utilities[rival]
        spread = math.hypot(self.errors[position], self.errors[rival])
        probability = _normal_cdf(-abs(gap) / spread) if spread else 0.0
        return Replicate(position, rival, bool(gap >= 0), probability)

    def _has_rival(self, limit: float) -> bool:
        """Whether several candidates take no longer than that."""
        return int((self.seconds <= limit).sum()) > 1

    def _certainty(self, position: int, limit: float, difference: float) -> float:
        """The probability that no candidate up to that time is better by more than that."""
        members = np.flatnonzero(self.seconds <= limit)
        rivals = members[members != position]
        if not len(rivals):
            return 1.0
        weights = np.exp(-0.5 * _DEVIATIONS**2)
        mine = self.utilities[position] + self.errors[position] * _DEVIATIONS + difference
        errors = np.maximum(self.errors[rivals], _LEAST_ERROR)
        margins = (mine[:, np.newaxis] - self.utilities[rivals]) / errors
        return float(_normal_cdfs(margins).prod(axis=1) @ weights / weights.sum())

    def _best_of(self, positions: NDArray[np.intp]) -> int:
        return int(positions[np.argmax(self.utilities[positions])])

    def _knowledge_gradient(self, position: int, rival: int) -> float:
        """How much better the best of the two is expected to be chosen after one replicate."""
        deviation = float(self.gains[position])
        if deviation <= 0:
            return 0.0
        z = -abs(float(self.utilities[position] - self.utilities[rival])) / deviation
        density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return max(0.0, deviation * (density + z * _normal_cdf(z)))


def first_replicate(picks: Sequence[Pick], costs: Sequence[float]) -> int | None:
    """Position of the quickest pick that needs a replicate; None where none does.

    Args:
        picks: Of a race.
        costs: [n], as in `Race.next_replicate`.
    """
    once = [one.position for one in picks if one.needs_replicate]
    return min((p for p in once if costs[p] < math.inf), key=lambda p: costs[p], default=None)


def _updated(posterior: Array, now: Array, then: Array) -> Array:
    """The posterior variances [n] once those of the means have fallen from ``now`` to ``then``."""
    precision = 1 / np.maximum(posterior, 1e-18) - 1 / np.maximum(now, 1e-18)
    return 1 / (np.maximum(precision, 0.0) + 1 / np.maximum(then, 1e-18))


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


_normal_cdfs = np.vectorize(_normal_cdf, otypes=[float])
