"""Non-dominated ranks, and an order inside each rank that keeps the front spread out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.pareto.front import mark_front

if TYPE_CHECKING:
    from collections.abc import Sequence


def nondominated_ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """The rank of each (merit, cost) pair: 0 on the front, 1 on the front of the rest, and so on.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002),
    section III.A.
    """
    ranks = [0] * len(points)
    left = list(range(len(points)))
    rank = 0
    while left:
        marks = mark_front([points[position] for position in left])
        for position, on_front in zip(left, marks, strict=True):
            if on_front:
                ranks[position] = rank
        left = [p for p, on_front in zip(left, marks, strict=True) if not on_front]
        rank += 1
    return ranks


def rank_order(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of (merit, cost) pairs from best to worst.

    By non-dominated rank; within a rank by an epsilon net: the pair of most merit first, then each
    time the pair that lies farthest from all that stand before it, so that any first part of
    a rank covers all of it. Ties go to the earlier position.

    Source: Schmucker et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639),
    section 3.2; Salinas et al., "A Multi-Objective Perspective on Jointly Tuning Hardware and
    Hyperparameters" (arXiv 2106.05680), section 3.
    """
    ranks = nondominated_ranks(points)
    order: list[int] = []
    for rank in range(max(ranks, default=-1) + 1):
        members = [position for position, its in enumerate(ranks) if its == rank]
        net = _epsilon_net(np.array([points[position] for position in members], float))
        order += [members[place] for place in net]
    return order


def _epsilon_net(points: np.ndarray) -> list[int]:
    """Rows of ``points`` [n, 2]: that of most merit, then always the farthest from those taken."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    taken = [int(np.argmax(points[:, 0]))]
    distance = np.linalg.norm(scaled - scaled[taken[0]], axis=1)
    distance[taken[0]] = -1.0
    while len(taken) < len(points):
        farthest = int(np.argmax(distance))
        taken.append(farthest)
        closer = np.linalg.norm(scaled - scaled[farthest], axis=1)
        distance = np.where(distance < 0, distance, np.minimum(distance, closer))
        distance[farthest] = -1.0
    return taken
