"""Non-dominated ranks of any number of objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def nondominated_ranks(losses: Sequence[Sequence[float]]) -> list[int]:
    """The rank of each point: 0 on the front, 1 on the front of the rest, and so on.

    Args:
        losses: For each point the same number of values, less being better.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002),
    section III.A.
    """
    if not losses:
        return []
    points = np.asarray(losses, float)
    # [n, n]: whether the row dominates the column.
    dominates = np.logical_and(
        np.all(points[:, None] <= points[None], axis=2),
        np.any(points[:, None] < points[None], axis=2),
    )
    ranks = np.full(len(points), -1)
    rank = 0
    while (ranks < 0).any():
        left = ranks < 0
        beaten = dominates[left].any(axis=0)
        ranks[left & ~beaten] = rank
        rank += 1
    return [int(rank) for rank in ranks]
