"""Sorts points into non-dominated ranks, and spreads the points of each rank evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def nondominated_ranks(costs: Sequence[Sequence[float]]) -> list[int]:
    """The rank of each point: 0 on the front, 1 on the front of the rest, and so on.

    Args:
        costs: [n, objectives]; less is better.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002),
    section III.A.
    """
    if not costs:
        return []
    points = np.asarray(costs, float)
    # [n, n]: whether the row dominates the column.
    dominates = np.logical_and(
        np.all(points[:, None] <= points[None], axis=2),
        np.any(points[:, None] < points[None], axis=2),
    )
    ranks = np.full(len(points), -1)
    rank = 0
    while (ranks < 0).any():
        left = ranks < 0
        dominated = dominates[left].any(axis=0)
        ranks[left & ~dominated] = rank
        rank += 1
    return [int(rank) for rank in ranks]


def rank_order(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of pairs of costs [n] from best to worst.

    By non-dominated rank; within a rank by an epsilon net: the pair with the least first cost, then
    each time the pair farthest from all before it, so that any first part of a rank covers all of
    it. Ties go to the earlier position.

    Source: Schmucker et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639),
    section 3.2; Salinas et al., "A Multi-Objective Perspective on Jointly Tuning Hardware and
    Hyperparameters" (arXiv 2106.05680), section 3.
    """
    ranks = nondominated_ranks(costs)
    order: list[int] = []
    for rank in range(max(ranks, default=-1) + 1):
        members = [position for position, its in enumerate(ranks) if its == rank]
        net = _epsilon_net(np.array([costs[position] for position in members], float))
        order += [members[position] for position in net]
    return order


def _epsilon_net(points: np.ndarray) -> list[int]:
    """Rows of ``points`` [n, 2]: that of least first cost, then always the farthest from those."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    net = [int(np.argmin(points[:, 0]))]
    distance = np.linalg.norm(scaled - scaled[net[0]], axis=1)
    distance[net[0]] = -1.0
    while len(net) < len(points):
        farthest = int(np.argmax(distance))
        net.append(farthest)
        closer = np.linalg.norm(scaled - scaled[farthest], axis=1)
        distance = np.where(distance < 0, distance, np.minimum(distance, closer))
        distance[farthest] = -1.0
    return net
