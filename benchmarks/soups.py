"""Averages the weights of several trainings: model soups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from effv2_tune.training.trial_state import Weights


def averaged(ingredients: Sequence[Weights]) -> Weights:
    """The mean of several trainings' weights, moving statistics included.

    What is no floating-point number, the state of dropout, is that of the first.
    """
    first = ingredients[0]
    return {
        name: np.mean([one[name] for one in ingredients], axis=0, dtype=array.dtype)
        if np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in first.items()
    }


def greedy_soup(candidates: Sequence[Weights], accuracy: Callable[[Weights], float]) -> list[int]:
    """The positions of the trainings whose average is used.

    Wortsman et al., https://arxiv.org/abs/2203.05482, recipe 1: each is added unless the average's
    accuracy on the validation images becomes less.

    Args:
        candidates: The most accurate first.
        accuracy: On the validation images.
    """
    chosen, best = [0], accuracy(candidates[0])
    for position in range(1, len(candidates)):
        tried = [*chosen, position]
        reached = accuracy(averaged([candidates[one] for one in tried]))
        if reached >= best:
            chosen, best = tried, reached
    return chosen
