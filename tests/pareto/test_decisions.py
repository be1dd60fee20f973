"""Dominance, fronts, hypervolume, picks, ranks, rungs and halving: by hand, then their laws."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.pareto import (
    cycle_epochs,
    decide,
    dominates,
    expected_outcome,
    fastest,
    hypervolume,
    knee,
    most_accurate,
    nondominated_ranks,
    optimistic_gain,
    pareto_front,
    place_rungs,
    project_seconds,
    rank_order,
    reference_point,
    rung_epochs,
    standard_reference,
    training_seconds,
    within,
)
from effv2_tune.study.plan import HalvingSpec
from effv2_tune.study.recipe import Settings
from effv2_tune.study.trial import Measurement, RungResult

if TYPE_CHECKING:
    from random import Random

DIRECTIONS = st.sampled_from(["maximize", "minimize"])


def point(quality: float, seconds: float) -> Measurement:
    return Measurement(quality=quality, train_seconds=seconds)


# Few distinct numbers, so that ties are common.
QUALITIES = st.integers(0, 8).map(lambda n: n / 8)
SECONDS = st.integers(0, 8).map(float)
MEASUREMENTS = st.lists(st.builds(point, QUALITIES, SECONDS), max_size=20)


def test_slower_and_worse_is_off_the_front() -> None:
    fast, accurate, beaten = point(0.90, 100), point(0.95, 300), point(0.89, 200)

    assert pareto_front([fast, accurate, beaten]) == [True, True, False]


def test_ties_all_stay() -> None:
    assert pareto_front([point(0.9, 100), point(0.9, 100)]) == [True, True]


def test_a_loss_is_better_when_it_is_lower() -> None:
    assert pareto_front([point(0.3, 10), point(0.5, 10)], quality_direction="minimize") == [
        True,
        False,
    ]


@given(MEASUREMENTS, DIRECTIONS)
def test_the_front_is_what_nothing_dominates(ms: list[Measurement], direction: str) -> None:
    by_definition = [
        not any(dominates(other, one, quality_direction=direction) for other in ms) for one in ms
    ]

    assert pareto_front(ms, quality_direction=direction) == by_definition


@given(MEASUREMENTS)
def test_a_front_is_its_own_front(ms: list[Measurement]) -> None:
    front = [m for m, keep in zip(ms, pareto_front(ms), strict=True) if keep]

    assert all(pareto_front(front))


@given(MEASUREMENTS, st.randoms())
def test_the_front_does_not_depend_on_the_order(ms: list[Measurement], chance: Random) -> None:
    shuffled = list(ms)
    chance.shuffle(shuffled)

    def front(of: list[Measurement]) -> list[tuple[float, float]]:
        kept = [m for m, keep in zip(of, pareto_front(of), strict=True) if keep]
        return sorted((m.quality, m.train_seconds) for m in kept)

    assert front(shuffled) == front(ms)


def test_hypervolume_of_two_steps_by_hand() -> None:
    corner = point(0.0, math.e**3)
    steps = [point(0.5, math.e**1), point(0.8, math.e**2)]

    assert hypervolume(steps, corner) == pytest.approx(2 * 0.5 + 1 * 0.3)


@given(MEASUREMENTS, DIRECTIONS)
def test_hypervolume_is_the_area_of_a_union_of_boxes(ms: list[Measurement], direction: str) -> None:
    corner = point(0.25 if direction == "maximize" else 0.75, 6.0)
    sign = 1 if direction == "maximize" else -1
    edges_q = sorted({sign * m.quality for m in ms} | {sign * corner.quality})
    edges_t = sorted({math.log(max(m.train_seconds, 1e-9)) for m in ms} | {math.log(6.0)})
    area = 0.0
    for (q0, q1), (t0, t1) in itertools.product(
        itertools.pairwise(edges_q), itertools.pairwise(edges_t)
    ):
        covered = any(
            sign * m.quality >= q1 and math.log(max(m.train_seconds, 1e-9)) <= t0 for m in ms
        )
        if covered and q0 >= sign * corner.quality and t1 <= math.log(6.0):
            area += (q1 - q0) * (t1 - t0)

    assert hypervolume(ms, corner, quality_direction=direction) == pytest.approx(area, abs=1e-9)


@given(MEASUREMENTS, st.builds(point, QUALITIES, SECONDS))
def test_one_more_trial_never_shrinks_the_hypervolume(
    ms: list[Measurement], more: Measurement
) -> None:
    corner = standard_reference()

    assert hypervolume([*ms, more], corner) >= hypervolume(ms, corner) - 1e-12


@given(MEASUREMENTS.filter(bool), DIRECTIONS)
def test_every_point_of_the_front_lies_inside_its_reference(
    ms: list[Measurement], direction: str
) -> None:
    corner = reference_point(ms, quality_direction=direction)

    assert all(hypervolume([one], corner, quality_direction=direction) > 0 for one in ms)


def test_the_knee_is_where_the_front_bends() -> None:
    ms = [point(0.50, 10), point(0.90, 20), point(0.92, 160), point(0.40, 100)]

    assert knee(ms) == 1
    assert most_accurate(ms) == 2
    assert fastest(ms) == 0


def test_the_knee_of_two_is_the_better_one() -> None:
    assert knee([point(0.5, 10), point(0.9, 100)]) == 1


def test_there_is_nothing_to_pick_from_nothing() -> None:
    assert (knee([]), most_accurate([]), fastest([])) == (None, None, None)


@given(MEASUREMENTS.filter(bool), DIRECTIONS)
def test_every_pick_lies_on_the_front(ms: list[Measurement], direction: str) -> None:
    front = pareto_front(ms, quality_direction=direction)

    for pick in (knee, most_accurate, fastest):
        position = pick(ms, quality_direction=direction)
        assert position is not None
        assert front[position]


def test_budgets_keep_what_is_within_them() -> None:
    ms = [point(0.5, 10), point(0.9, 100), point(0.8, 50)]

    assert within(ms, max_seconds=50) == [0, 2]
    assert within(ms, min_quality=0.8) == [1, 2]
    assert within(ms, min_quality=0.8, quality_direction="minimize") == [0, 2]


POINTS = st.lists(st.tuples(QUALITIES, SECONDS), max_size=16)


@given(POINTS)
def test_each_rank_is_the_front_of_what_the_ranks_before_leave(
    points: list[tuple[float, float]],
) -> None:
    ranks = nondominated_ranks(points)

    for rank in set(ranks):
        left = [p for p, its in zip(points, ranks, strict=True) if its >= rank]
        marks = pareto_front([point(q, t) for q, t in left])
        front = sorted(p for p, keep in zip(left, marks, strict=True) if keep)
        assert front == sorted(p for p, its in zip(points, ranks, strict=True) if its == rank)


@given(POINTS)
def test_the_order_holds_each_once_and_never_puts_a_worse_rank_first(
    points: list[tuple[float, float]],
) -> None:
    order, ranks = rank_order(points), nondominated_ranks(points)

    assert sorted(order) == list(range(len(points)))
    assert [ranks[position] for position in order] == sorted(ranks)


def test_an_epsilon_net_takes_the_ends_of_a_front_before_its_middle() -> None:
    # The best, then the farthest from it, then what is farthest from both.
    assert rank_order([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (2.1, 2.1)]) == [2, 0, 1, 3]


EPOCHS = st.integers(1, 200)
FRACTIONS = st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted).map(tuple)
CYCLES = st.none() | st.floats(0.5, 50)


@given(EPOCHS, FRACTIONS, CYCLES)
def test_rungs_ascend_and_none_lies_at_the_last_epoch(
    epochs: int, fractions: tuple[float, ...], cycle: float | None
) -> None:
    placed = rung_epochs(epochs, fractions, cycle=cycle)

    assert list(placed) == sorted(set(placed))
    assert all(1 <= epoch < epochs for epoch in placed)


@given(EPOCHS, FRACTIONS, CYCLES)
def test_a_rung_keeps_the_index_of_its_fraction(
    epochs: int, fractions: tuple[float, ...], cycle: float | None
) -> None:
    placed = place_rungs(epochs, fractions, cycle=cycle)

    assert list(placed) == sorted(placed)
    assert all(0 <= rung < len(fractions) for rung in placed)


@given(EPOCHS, FRACTIONS, st.integers(1, 25))
def test_rungs_of_a_cycling_schedule_lie_in_its_valleys(
    epochs: int, fractions: tuple[float, ...], half_cycle: int
) -> None:
    cycle = 2.0 * half_cycle

    assert all(epoch % cycle == 0 for epoch in rung_epochs(epochs, fractions, cycle=cycle))


def test_rungs_of_the_default_fractions() -> None:
    assert rung_epochs(50, (0.1, 0.22, 0.4)) == (5, 11, 20)
    assert rung_epochs(25, (0.1, 0.22, 0.4), cycle=4.0) == (4, 8)
    assert place_rungs(25, (0.1, 0.22, 0.4), cycle=4.0) == {0: 4, 2: 8}


def test_only_a_cycling_schedule_without_averaged_weights_has_valleys() -> None:
    assert cycle_epochs(Settings(schedule="triangular2", step_size_epochs=3.0)) == 6.0
    assert cycle_epochs(Settings(schedule="cosine")) is None
    assert cycle_epochs(Settings(schedule="triangular2", ema=True)) is None


def test_seconds_are_steps_times_step_time_plus_extraction() -> None:
    assert training_seconds(1000, 0.02) == 20.0
    assert training_seconds(1000, 0.02, extraction_seconds=5.0) == 25.0
    assert project_seconds(30.0, epoch=3, epochs=10) == 100.0


def at_rung(quality: float, seconds: float) -> RungResult:
    return RungResult(rung=0, epoch=5, quality=quality, projected_seconds=seconds)


SPEC = HalvingSpec(keep=0.25, guard_after=3, quantile=1.0)


def test_the_first_at_a_rung_goes_on() -> None:
    assert decide(at_rung(0.1, 10), [], completed=[], gains=[], spec=SPEC).go_on


def test_halving_alone_stops_what_more_than_a_quarter_beats() -> None:
    better = [at_rung(0.5, 10), at_rung(0.6, 10), at_rung(0.2, 30), at_rung(0.1, 40)]

    decision = decide(at_rung(0.4, 10), better, completed=[], gains=[], spec=SPEC)

    assert (decision.go_on, decision.better, decision.seen) == (False, 2, 5)


def test_an_outlook_that_nothing_completed_dominates_keeps_a_trial() -> None:
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
    assert optimistic_gain([-0.3, -0.1, 0.1], 1.0, quality_direction="minimize") == -0.3
    assert optimistic_gain([-0.3, -0.1, 0.1], 1.0) == 0.1


def test_a_stopped_trial_is_expected_to_go_the_way_of_the_median_curve() -> None:
    full = [
        (at_rung(0.5, 100), point(0.6, 90)),
        (at_rung(0.5, 100), point(0.8, 80)),
        (at_rung(0.4, 100), point(0.6, 50)),
    ]

    outcome = expected_outcome(at_rung(0.3, 10), full)

    assert outcome.quality == pytest.approx(0.5)
    assert outcome.train_seconds == pytest.approx(8.0)
    assert expected_outcome(at_rung(0.3, 10), []) == point(0.3, 10)


RUNG_RESULTS = st.builds(at_rung, QUALITIES, st.integers(1, 8).map(float))


@settings(max_examples=200)
@given(
    RUNG_RESULTS,
    st.lists(RUNG_RESULTS, max_size=12),
    st.lists(st.builds(point, QUALITIES, st.integers(1, 8).map(float)), max_size=8),
    st.lists(st.floats(-1, 1), max_size=8),
    DIRECTIONS,
)
def test_with_enough_full_curves_every_stop_has_a_dominated_outlook(
    mine: RungResult,
    others: list[RungResult],
    completed: list[Measurement],
    gains: list[float],
    direction: str,
) -> None:
    decision = decide(
        mine,
        others,
        completed=completed,
        gains=gains,
        spec=SPEC,
        quality_direction=direction,  # type: ignore[arg-type]
    )

    assert (decision.optimistic is not None) == (len(gains) >= SPEC.guard_after)
    if not decision.go_on and decision.optimistic is not None:
        assert any(
            dominates(one, decision.optimistic, quality_direction=direction)  # type: ignore[arg-type]
            for one in completed
        )


@given(st.sets(st.tuples(QUALITIES, st.integers(1, 8)), min_size=1, max_size=12))
def test_the_trial_that_ranks_first_goes_on(results: set[tuple[float, int]]) -> None:
    seen = [at_rung(quality, float(seconds)) for quality, seconds in sorted(results)]
    best = rank_order([(r.quality, math.log(r.projected_seconds)) for r in seen])[0]
    others = seen[:best] + seen[best + 1 :]

    assert decide(seen[best], others, completed=[], gains=[], spec=SPEC).better == 0
