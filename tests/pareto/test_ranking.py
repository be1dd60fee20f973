"""Non-dominated ranks and the order within them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pareto.strategies import POINTS, point

from effv2_tune.pareto import nondominated_ranks, pareto_front, rank_order


@given(POINTS)
def test_each_rank_is_the_front_of_what_the_ranks_before_leave(
    points: list[tuple[float, float]],
) -> None:
    ranks = nondominated_ranks(points)

    for rank in set(ranks):
        left = [p for p, its in zip(points, ranks, strict=True) if its >= rank]
        marks = pareto_front([point(-q, t) for q, t in left])
        front = sorted(p for p, keep in zip(left, marks, strict=True) if keep)
        assert front == sorted(p for p, its in zip(points, ranks, strict=True) if its == rank)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12))
def test_a_rank_is_one_more_than_the_worst_that_dominates(points: list[tuple[int, ...]]) -> None:
    ranks = nondominated_ranks(points)

    for one, rank in zip(points, ranks, strict=True):
        above = [
            its
            for other, its in zip(points, ranks, strict=True)
            if other != one and all(a <= b for a, b in zip(other, one, strict=True))
        ]
        assert rank == (max(above) + 1 if above else 0)


@given(POINTS)
def test_the_order_holds_each_once_and_never_puts_a_worse_rank_first(
    points: list[tuple[float, float]],
) -> None:
    order, ranks = rank_order(points), nondominated_ranks(points)

    assert sorted(order) == list(range(len(points)))
    assert [ranks[position] for position in order] == sorted(ranks)


def test_an_epsilon_net_takes_the_ends_of_a_front_before_its_middle() -> None:
    # The best, then the farthest from it, then what is farthest from both.
    assert rank_order([(-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0), (-2.1, 2.1)]) == [2, 0, 1, 3]
