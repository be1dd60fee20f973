"""The expected outcome of a pruned trial."""

from __future__ import annotations

import pytest
from tests.pareto.strategies import at_rung, point

from effv2_tune.pareto import expected_outcome


def test_a_pruned_trial_is_expected_to_gain_the_median_of_the_full_curves() -> None:
    full = [
        (at_rung(0.5, 100), point(0.6, 90)),
        (at_rung(0.5, 100), point(0.8, 80)),
        (at_rung(0.4, 100), point(0.6, 50)),
    ]

    outcome = expected_outcome(at_rung(0.3, 10), full)

    assert outcome.quality == pytest.approx(0.5)
    assert outcome.train_seconds == pytest.approx(8.0)
    assert expected_outcome(at_rung(0.3, 10), []) == point(0.3, 10)
