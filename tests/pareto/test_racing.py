"""Racing: which config is trained again, and when a pick is clear."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.pareto import Objective
from effv2_tune.pareto.estimates import COMMON_SHARE, SEED_SHARE, Candidate
from effv2_tune.pareto.racing import Race, first_replicate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

ERROR = 0.01


def candidate(*qualities: float, seconds: float = 10.0, error: float = ERROR) -> Candidate:
    return Candidate(qualities, error, seconds, seconds, seconds)


def chosen(candidates: Sequence[Candidate], running: Sequence[int] = ()) -> int | None:
    found = Race.of(candidates, running).next_replicate([one.seconds for one in candidates])
    return None if found is None else found.position


def test_rivals_are_trained_again_and_the_hopeless_are_not() -> None:
    field = [candidate(0.5), candidate(0.95), candidate(0.7), candidate(0.949), candidate(0.6)]

    found = Race.of(field).next_replicate([10.0] * 5)

    assert found is not None
    assert {found.position, found.rival} == {1, 3}
    assert 0.4 < found.probability < 0.5


def test_of_two_rivals_the_one_that_is_known_less_is_trained_again() -> None:
    known = candidate(*[0.95] * 6)
    field = [known, candidate(0.949), candidate(0.5), candidate(0.6), candidate(0.7)]

    assert chosen(field) == 1


def test_a_slow_rival_is_worth_less_than_a_quick_one() -> None:
    field = [candidate(0.95, seconds=10), candidate(0.95, seconds=20), candidate(0.5, seconds=5)]

    assert chosen(field) == 0
    found = Race.of(field).next_replicate([20.0, 10.0, 5.0])
    assert found is not None
    assert found.position == 1


def test_a_decision_without_a_limit_is_between_the_best_alone() -> None:
    quick = [candidate(0.7, seconds=5), candidate(0.7, seconds=5)]
    field = [*quick, candidate(0.95, seconds=20), candidate(0.945, seconds=20)]
    race = Race.of(field)
    costs = [one.seconds for one in field]

    everywhere, unlimited = (
        race.next_replicate(costs),
        race.next_replicate(costs, limits=[math.inf]),
    )

    assert everywhere is not None
    assert everywhere.position in {0, 1}
    assert unlimited is not None
    assert unlimited.position in {2, 3}


def test_a_running_replicate_counts_as_if_it_had_the_expected_result() -> None:
    field = [candidate(0.95), candidate(0.95), candidate(0.5), candidate(0.6), candidate(0.7)]

    first = chosen(field)
    second = chosen(field, [int(position == first) for position in range(5)])

    assert {first, second} == {0, 1}


def test_a_candidate_that_may_not_be_trained_again_is_not() -> None:
    field = [candidate(0.95), candidate(0.949), candidate(0.7)]

    found = Race.of(field).next_replicate([math.inf, 10.0, math.inf])

    assert found is not None
    assert found.position == 1


def test_only_candidates_that_are_not_slower_are_rivals() -> None:
    field = [
        candidate(0.80, seconds=10),
        candidate(0.801, seconds=9),
        candidate(0.95, seconds=40),
        candidate(0.7, seconds=5),
    ]

    found = Race.of(field).next_replicate([10.0] * 4)

    assert found is not None
    assert {found.position, found.rival} == {0, 1}


def test_a_lone_candidate_is_clear_and_has_no_rival() -> None:
    race = Race.of([candidate(0.9)])

    assert [pick.certainty for pick in race.picks(0.0)] == [1.0] * 3
    assert race.next_replicate([1.0]) is None


def test_a_pick_that_was_trained_once_is_not_clear_however_certain() -> None:
    field = [candidate(0.95, seconds=20), candidate(0.6, seconds=10), candidate(0.5, seconds=15)]
    race = Race.of(field)

    picks = {pick.name: pick for pick in race.picks(0.0)}

    assert picks["most-accurate"].certainty > 0.999
    assert not picks["most-accurate"].is_clear(0.9)
    assert picks["fastest"].is_clear(0.9)
    assert first_replicate(list(picks.values()), [20.0, 10.0, 15.0]) == 0
    assert first_replicate(list(picks.values()), [math.inf, 10.0, 15.0]) is None


def test_a_replicate_that_runs_is_not_begun_again() -> None:
    field = [candidate(0.95, seconds=20), candidate(0.6, seconds=10)]
    race = Race.of(field, running=[1, 0])

    assert first_replicate(race.picks(0.0), [20.0, 10.0]) is None


def test_nothing_is_worth_a_replicate_that_gains_less_than_asked_for() -> None:
    field = [candidate(0.95), candidate(0.949)]

    assert Race.of(field).next_replicate([1.0, 1.0], least_gain=1.0) is None


def test_the_most_accurate_pick_is_compared_with_slower_ones_and_the_fastest_is_not() -> None:
    field = [candidate(0.95, seconds=10), candidate(0.949, seconds=20), candidate(0.5, seconds=5)]

    picks = {pick.name: pick for pick in Race.of(field).picks(0.0)}

    assert picks["fastest"].position == 2
    assert picks["fastest"].certainty == 1.0
    assert picks["most-accurate"].position == 0
    assert 0.4 < picks["most-accurate"].certainty < 0.7


def test_a_difference_that_does_not_matter_makes_a_pick_clearer() -> None:
    race = Race.of([candidate(0.95, seconds=10), candidate(0.949, seconds=5)])

    exact, tolerant = (race.picks(difference)[-1].certainty for difference in (0.0, 0.02))

    assert exact < 0.6 < tolerant


def test_the_same_race_of_a_loss() -> None:
    field = [candidate(0.30), candidate(0.301), candidate(0.9)]
    loss = Objective("minimize")

    race = Race.of(field, (), loss)
    found = race.next_replicate([1.0] * 3)

    assert race.picks(0.0)[-1].position == 0
    assert found is not None
    assert {found.position, found.rival} == {0, 1}


fields = st.lists(
    st.builds(
        candidate,
        st.floats(0.85, 0.95),
        seconds=st.integers(1, 50).map(float),
        error=st.just(ERROR),
    ),
    min_size=2,
    max_size=8,
    unique_by=(lambda one: one.seconds, lambda one: round(one.qualities[0], 3)),
)


@given(fields, st.randoms(use_true_random=False))
def test_decisions_depend_on_the_record_and_not_on_its_order(
    field: list[Candidate], chance: st.DataObject
) -> None:
    shuffled = list(field)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    def decision(candidates: list[Candidate]) -> Candidate | None:
        position = chosen(candidates)
        return None if position is None else candidates[position]

    assert decision(field) == decision(shuffled) == decision(list(field))


# Simulated studies: configs whose true quality is known.


def truth(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True qualities and seconds of 10 configs: a few nearly tie, most are no rivals."""
    seconds = random.uniform(10, 100, size=10)
    rivals = random.normal(0, 0.005, size=4)
    return 0.9 + np.append(rivals, -random.uniform(0.02, 0.08, size=6)), seconds


def regret(race: Race, true: NDArray[np.float64]) -> float:
    """How much worse the choice is than the best one, on average over all budgets of time."""
    lost = []
    for limit in race.seconds:
        members = np.flatnonzero(race.seconds <= limit)
        lost.append(true[members].max() - true[members[np.argmax(race.utilities[members])]])
    return float(np.mean(lost))


def simulated_regret(
    choose: Callable[[Callable[[], Race], list[list[float]]], int], *, seed: int
) -> float:
    """The regret after replicates that take as long as the search has taken."""
    random = np.random.default_rng(seed)
    true, seconds = truth(random)
    results = random.normal(0, ERROR * math.sqrt(SEED_SHARE), size=(10, 60))
    results += random.normal(0, ERROR * math.sqrt(COMMON_SHARE))
    own = math.sqrt(1 - SEED_SHARE - COMMON_SHARE)
    results += (true + random.normal(0, ERROR * own, size=10))[:, np.newaxis]
    qualities = [[float(row[0])] for row in results]

    def race() -> Race:
        return Race.of(
            [candidate(*q, seconds=s) for q, s in zip(qualities, seconds.tolist(), strict=True)]
        )

    left = float(seconds.sum())
    while left > 0:
        position = choose(race, qualities)
        left -= float(seconds[position])
        qualities[position].append(float(results[position, len(qualities[position])]))
    return regret(race(), true)


def raced(race: Callable[[], Race], _: list[list[float]]) -> int:
    now = race()
    found = now.next_replicate(now.seconds.tolist())
    assert found is not None
    return found.position


def in_turn(_: Callable[[], Race], qualities: list[list[float]]) -> int:
    counts = [len(each) for each in qualities]
    return counts.index(min(counts))


@pytest.mark.slow
def test_racing_chooses_better_recipes_than_equal_allocation_at_the_same_cost() -> None:
    seeds = range(16)

    racing = np.mean([simulated_regret(raced, seed=seed) for seed in seeds])
    equal = np.mean([simulated_regret(in_turn, seed=seed) for seed in seeds])

    assert racing < 0.8 * equal
