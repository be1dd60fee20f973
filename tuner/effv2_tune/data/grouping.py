"""Splits a dataset without separating the images of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.data.dataset import Labels
    from effv2_tune.data.pool import Indices


def cut_groups(
    indices: Indices, count: float, *, groups: Indices, strata: Labels | None, seed: int, name: str
) -> tuple[Indices, Indices]:
    """Cut about ``count`` images off, whole groups at a time.

    The groups are visited once, in a seeded order; one is selected if that brings the part nearer
    to the target: to its number of images or, with ``strata``, to its number of images of each
    class (least squares). Without ``strata`` the part therefore misses ``count`` by at
    most the larger half of the largest group, unless it has to be one whole group.
    scikit-learn's ``GroupShuffleSplit`` counts groups instead, so that a few large ones make a
    split of any size.

    Args:
        indices: [count] positions to divide.
        count: Images wanted in the part that is cut off.
        groups: [count] group of each position.
        strata: [count] class of each position, or None.
        seed: Of the order in which the groups are visited.
        name: The split, for the message.

    Returns:
        The rest and the part, each in the order of ``indices``.

    Raises:
        TuneError: If there is only one group.
    """
    names, member_of = np.unique(groups, return_inverse=True)
    if len(names) == 1:
        raise TuneError(
            f"All images that could go into the {name} split belong to one group.",
            hint="A group never straddles a split: use a finer 'group' column, or none.",
        )
    stratum = np.zeros(len(indices), np.int64) if strata is None else strata.astype(np.int64)
    sizes = np.zeros((len(names), int(stratum.max()) + 1))
    np.add.at(sizes, (member_of, stratum), 1)
    selected = _nearest_to(sizes, sizes.sum(axis=0) * count / len(indices), seed)
    part = selected[member_of]
    return indices[~part], indices[part]


def _nearest_to(sizes: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Which rows of ``sizes`` [groups, classes] to select so that their sum is near ``wanted``."""
    selected = np.zeros(len(sizes), bool)
    missing = wanted.copy()
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        after = missing - sizes[group]
        if np.square(after).sum() < np.square(missing).sum() and selected.sum() < len(sizes) - 1:
            selected[group] = True
            missing = after
    if not selected.any():  # every group is more than twice the target: select the smallest one
        selected[sizes.sum(axis=1).argmin()] = True
    return selected
