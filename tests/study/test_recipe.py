"""The recipe: its bounds."""

from __future__ import annotations

import annotated_types
import pytest

from effv2_tune.optimizers.checks import RANGES
from effv2_tune.study.recipe import Settings

#: A moving average of the weights needs a decay below one; the optimizers of Keras allow one.
EXCEPT = {"ema_momentum"}


def bounds(name: str) -> tuple[float, bool, float, bool]:
    """Low bound, whether it is open, high bound, whether it is open."""
    low, open_low, high, open_high = -float("inf"), False, float("inf"), False
    for rule in Settings.model_fields[name].metadata:
        if isinstance(rule, annotated_types.Gt | annotated_types.Ge):
            open_low = isinstance(rule, annotated_types.Gt)
            low = float(rule.gt if isinstance(rule, annotated_types.Gt) else rule.ge)
        elif isinstance(rule, annotated_types.Lt | annotated_types.Le):
            open_high = isinstance(rule, annotated_types.Lt)
            high = float(rule.lt if isinstance(rule, annotated_types.Lt) else rule.le)
    return low, open_low, high, open_high


@pytest.mark.parametrize("name", sorted((set(RANGES) & set(Settings.model_fields)) - EXCEPT))
def test_a_recipe_allows_what_its_optimizer_allows(name: str) -> None:
    allowed = RANGES[name]
    low, open_low, high, open_high = bounds(name)

    if name == "maximal_learning_rate":  # a recipe whose rate is zero throughout trains nothing
        open_low = False
    assert (low, open_low) == (allowed.low, allowed.open_low)
    assert (high, open_high) == (allowed.high, allowed.open_high)
