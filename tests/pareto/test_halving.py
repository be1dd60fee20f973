"""Decisions at a rung: by hand, then their laws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, LOSS, QUALITIES, at_rung, point

from effv2_tune.pareto import Objective, decide, dominates, optimistic_gain, rank_order
from effv2_tune.study.plan import HalvingSpec

if TYPE_CHECKING:
    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement, RungResult

SPEC = HalvingSpec(keep=0.25, guard_after=3, quantile=1.0)


def test_the_first_at_a_rung_continues() -> None:
    assert decide(at_rung(0.1, 10), [], completed=[], gains=[], spec=SPEC).go_on


def test_halving_alone_prunes_when_more_than_a_quarter_rank_better() -> None:
    better = [at_rung(0.5, 10), at_rung(0.6, 10), at_rung(0.2, 30), at_rung(0.1, 40)]

    decision = decide(at_rung(0.4, 10), better, completed=[], gains=[], spec=SPEC)

    assert (decision.go_on, decision.better, decision.seen) == (False, 2, 5)


def test_an_optimistic_outcome_that_no_completed_trial_dominates_keeps_a_trial() -> None:
    others = [at_rung(0.5, 10), at_rung(0.6, 10)]
    completed = [point(0.7, 10), point(0.8, 20), point(0.75, 30)]

    kept = decide(at_rung(0.4, 10), others, completed=completed, gains=[0.1, 0.2, 0.4], spec=SPEC)
    stopped = decide(
        at_rung(0.4, 10), others, completed=completed, gains=[0.1, 0.2, 0.2], spec=SPEC
    )

    assert (kept.go_on, kept.guarded) == (True, True)
    assert (stopped.go_on, stopped.guarded) == (False, False)
    assert stopped.optimistic is not None
    assert stopped.optimistic.quality == pytest.approx(0.6)
    assert stopped.optimistic.train_seconds == 10.0


def test_the_optimistic_gain_of_a_loss_is_a_fall() -> None:
    assert optimistic_gain([-0.3, -0.1, 0.1], 1.0, LOSS) == -0.3
    assert optimistic_gain([-0.3, -0.1, 0.1], 1.0) == 0.1


RUNG_RESULTS = st.builds(at_rung, QUALITIES, st.integers(1, 8).map(float))


@settings(max_examples=200)
@given(
    RUNG_RESULTS,
    st.lists(RUNG_RESULTS, max_size=12),
    st.lists(st.builds(point, QUALITIES, st.integers(1, 8).map(float)), max_size=8),
    st.lists(st.floats(-1, 1), max_size=8),
    DIRECTIONS,
)
def test_with_enough_full_curves_every_stop_has_a_dominated_optimistic_outcome(
    mine: RungResult,
    others: list[RungResult],
    completed: list[Measurement],
    gains: list[float],
    direction: QualityDirection,
) -> None:
    decision = decide(
        mine,
        others,
        completed=completed,
        gains=gains,
        spec=SPEC,
        objective=Objective(direction),
    )

    assert (decision.optimistic is not None) == (len(gains) >= SPEC.guard_after)
    if not decision.go_on and decision.optimistic is not None:
        assert any(dominates(one, decision.optimistic, Objective(direction)) for one in completed)


@given(st.sets(st.tuples(QUALITIES, st.integers(1, 8)), min_size=1, max_size=12))
def test_the_trial_that_ranks_first_continues(results: set[tuple[float, int]]) -> None:
    seen = [at_rung(quality, float(seconds)) for quality, seconds in sorted(results)]
    best = rank_order([(-r.quality, math.log(r.projected_seconds)) for r in seen])[0]
    others = seen[:best] + seen[best + 1 :]

    assert decide(seen[best], others, completed=[], gains=[], spec=SPEC).better == 0
