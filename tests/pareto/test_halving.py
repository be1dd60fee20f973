"""Decisions at a rung: by hand, then their laws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pareto.strategies import DIRECTIONS, LOSS, QUALITIES, at_rung, point

from effv2_tune.pareto import (
    FullCurve,
    Objective,
    decide,
    dominates,
    optimistic_gain,
    rank_order,
)
from effv2_tune.study.plan import HalvingSpec

if TYPE_CHECKING:
    from effv2_tune.pareto import QualityDirection
    from effv2_tune.study.trial import Measurement, RungResult

SPEC = HalvingSpec(keep=0.25, guard_after=3, quantile=1.0)


def gaining(*gains: float) -> list[FullCurve]:
    """Full curves that gain so much between the rung and the end."""
    return [FullCurve(0.5, 0.5 + gain) for gain in gains]


def test_the_first_at_a_rung_continues() -> None:
    assert decide(at_rung(0.1, 10), [], completed=[], full=[], spec=SPEC).go_on


def test_halving_alone_prunes_when_more_than_a_quarter_rank_better() -> None:
    better = [at_rung(0.5, 10), at_rung(0.6, 10), at_rung(0.2, 30), at_rung(0.1, 40)]

    decision = decide(at_rung(0.4, 10), better, completed=[], full=[], spec=SPEC)

    assert (decision.go_on, decision.better, decision.seen) == (False, 2, 5)


def test_an_optimistic_outcome_that_no_completed_trial_dominates_keeps_a_trial() -> None:
    others = [at_rung(0.5, 10), at_rung(0.6, 10)]
    completed = [point(0.7, 10), point(0.8, 20), point(0.75, 30)]

    kept = decide(
        at_rung(0.4, 10), others, completed=completed, full=gaining(0.1, 0.2, 0.4), spec=SPEC
    )
    stopped = decide(
        at_rung(0.4, 10), others, completed=completed, full=gaining(0.1, 0.2, 0.2), spec=SPEC
    )

    assert (kept.go_on, kept.guarded) == (True, True)
    assert (stopped.go_on, stopped.guarded) == (False, False)
    assert stopped.optimistic is not None
    assert stopped.optimistic.quality == pytest.approx(0.6)
    assert stopped.optimistic.train_seconds == 10.0


RISING = [FullCurve(0.1 * k, 0.1 * k + (0.3 if k == 1 else 0.2)) for k in range(1, 6)]
FALLING = [FullCurve(0.1 * k, 0.9 - 0.1 * k) for k in range(1, 6)]
MEDIAN_GAIN = HalvingSpec(keep=0.25, guard_after=3, quantile=0.5, earned=True)


def test_a_rung_that_predicts_the_end_stops_by_the_quantile_of_gains() -> None:
    others = [at_rung(0.1 * k, 10) for k in range(1, 6)]
    completed = [point(curve.at_end, 10) for curve in RISING]

    decision = decide(at_rung(0.45, 10), others, completed=completed, full=RISING, spec=MEDIAN_GAIN)
    last = decide(at_rung(0.05, 10), others, completed=completed, full=RISING, spec=MEDIAN_GAIN)

    assert decision.strictness == last.strictness == 1.0
    assert last.optimistic is not None
    assert last.optimistic.quality == pytest.approx(0.25)
    assert not last.go_on


def test_where_a_rung_predicts_nothing_only_the_largest_gain_counts() -> None:
    others = [at_rung(0.1 * k, 10) for k in range(1, 6)]
    completed = [point(0.83, 10), point(0.6, 10)]
    largest = max(curve.at_end - curve.at_rung for curve in FALLING)

    kept = decide(at_rung(0.15, 10), others, completed=completed, full=FALLING, spec=MEDIAN_GAIN)
    stopped = decide(at_rung(0.05, 10), others, completed=completed, full=FALLING, spec=MEDIAN_GAIN)

    assert kept.strictness == stopped.strictness == 0.0
    assert kept.optimistic is not None
    assert kept.optimistic.quality == pytest.approx(0.15 + largest)
    assert (kept.go_on, kept.guarded) == (True, True)
    assert not stopped.go_on


def test_where_strictness_need_not_be_earned_the_quantile_counts_everywhere() -> None:
    spec = MEDIAN_GAIN.model_copy(update={"earned": False})
    others = [at_rung(0.1 * k, 10) for k in range(1, 6)]

    decision = decide(at_rung(0.15, 10), others, completed=[], full=FALLING, spec=spec)

    assert decision.strictness is None
    assert decision.optimistic is not None
    assert decision.optimistic.quality == pytest.approx(0.15 + 0.3)


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
        full=gaining(*gains),
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

    assert decide(seen[best], others, completed=[], full=[], spec=SPEC).better == 0
