from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.search.freeze_thaw.curves_of_a_family import (
    PROBLEM,
    end_of,
    history_of,
    quality_of,
    seconds_of,
)

from effv2_tune.search.freeze_thaw import (
    Begin,
    Continue,
    FreezeThaw,
    History,
    Observation,
    Screen,
    Screening,
    Settings,
    Trial,
)
from effv2_tune.search.freeze_thaw.curves import curve_data
from effv2_tune.search.freeze_thaw.earlier import EarlierEnds
from effv2_tune.search.freeze_thaw.fitting import fit
from effv2_tune.search.freeze_thaw.screening import (
    TEST_PAIRS,
    Pair,
    fidelity_correlation,
    is_shown,
    next_test,
    pairs_of,
    rank_correlation,
    screening_gain,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.search.freeze_thaw import Action

    Quality = Callable[[np.ndarray], np.ndarray]

SMALL = Settings(candidates=20)
SCREENED = replace(PROBLEM, images=0.1)


def like_the_end(configs: np.ndarray) -> np.ndarray:
    """A subset that ranks configs as all images do, 0.2 lower."""
    return end_of(configs) - 0.2


def unlike_the_end(configs: np.ndarray) -> np.ndarray:
    """A subset that ranks configs the other way round."""
    return 0.5 - end_of(configs)


def with_screenings(history: History, places: list[int], quality: Quality) -> History:
    """The history, with screenings of the configs of these trials."""
    screenings = {100 + place: Screening(history.trials[place].config) for place in places}
    found = [
        Observation(number, 1.0, float(quality(np.array([one.config]))[0]))
        for number, one in screenings.items()
    ]
    return History(history.trials, [*history.observations, *found], screenings)


def complete_history(seed: int = 0, complete: int = 6, others: int = 8) -> History:
    configs = np.random.default_rng(seed).random((complete + others, 2))
    return history_of(configs, [4] * complete + [1] * others)


def apply(history: History, action: Action, quality: Quality) -> History:
    """Train one action, with one worker."""
    trials, screenings = dict(history.trials), dict(history.screenings or {})
    number = len(trials) + len(screenings)
    if isinstance(action, Screen):
        screenings[number] = Screening(action.config)
        found = Observation(number, 1.0, float(quality(np.array([action.config]))[0]))
        return History(trials, [*history.observations, found], screenings)
    if isinstance(action, Begin):
        seconds = float(seconds_of(np.array([action.config]))[0])
        trials[number] = Trial(action.config, seconds, "running")
    else:
        number = action.trial
    share = PROBLEM.next_share(history.last_shares().get(number, 0.0))
    found = Observation(
        number, share, float(quality_of(np.array([trials[number].config]), share)[0])
    )
    trials[number] = replace(trials[number], state="complete" if share == 1 else "paused")
    return History(trials, [*history.observations, found], screenings)


def search_with(
    make: Callable[[], FreezeThaw], decisions: int, quality: Quality
) -> tuple[list[Action], History]:
    """The decisions of a search, by the engine that ``make`` returns each time."""
    history, actions = History({}, [], {}), []
    for number in range(decisions):
        action = make().propose(history, number=number)
        assert action is not None
        actions.append(action)
        history = apply(history, action, quality)
    return actions, history


# --- the model ------------------------------------------------------------------------------------


def test_without_screenings_the_model_has_the_coordinates_of_the_config_alone() -> None:
    history = complete_history()

    data = curve_data(history.trials, history.observations, 200)

    assert data.points.configs.shape[1] == PROBLEM.dimensions


def test_a_screening_is_one_more_observation_with_another_fidelity() -> None:
    history = with_screenings(complete_history(), [0, 1, 2], like_the_end)

    data = curve_data(history.trials, history.observations, 200, history.screenings)

    fidelity = data.points.configs[:, -1]
    assert data.points.configs.shape == (len(history.observations), PROBLEM.dimensions + 1)
    assert fidelity.tolist() == [0.0] * (len(fidelity) - 3) + [0.5] * 3
    assert set(data.ends) == set(history.trials)


def test_the_gain_of_all_images_is_the_median_over_the_pairs() -> None:
    history = with_screenings(complete_history(), [0, 1, 2], like_the_end)
    ends = dict.fromkeys(history.trials, 0.5)

    gain = screening_gain(history.trials, history.observations, history.screenings or {}, ends)

    assert gain == pytest.approx(0.2)


def test_without_pairs_the_gain_is_the_difference_of_the_medians() -> None:
    history = with_screenings(complete_history(complete=0), [0, 1, 2], like_the_end)
    screened = [one.quality for one in history.observations if one.trial >= 100]
    ends = dict.fromkeys(history.trials, 0.5)

    gain = screening_gain(history.trials, history.observations, history.screenings or {}, ends)

    assert gain == pytest.approx(0.5 - np.median(screened))


@pytest.mark.parametrize(
    ("quality", "low", "high"), [(like_the_end, 0.9, 1.0), (unlike_the_end, 0.0, 0.8)]
)
def test_the_kernel_learns_how_much_a_subset_tells(
    quality: Quality, low: float, high: float
) -> None:
    history = with_screenings(complete_history(complete=12, others=0), [*range(12)], quality)
    data = curve_data(history.trials, history.observations, 200, history.screenings)

    hyper = fit(data.points, data.values, data.noise, seed=0)

    assert low <= fidelity_correlation(hyper) <= high


def test_no_more_than_half_of_the_observations_are_screenings() -> None:
    history = with_screenings(complete_history(complete=14, others=0), [*range(14)], like_the_end)

    data = curve_data(history.trials, history.observations, 10, history.screenings)

    assert (data.points.configs[:, -1] > 0).sum() == 5
    assert len(data.values) == 10


def test_an_earlier_study_ignores_the_fidelity() -> None:
    configs = np.random.default_rng(0).random((5, 2))
    earlier = EarlierEnds.of(complete_history())

    with_fidelity = earlier.at(np.column_stack([configs, np.ones(5)]))

    assert with_fidelity.tolist() == earlier.at(configs).tolist()


# --- the switch -----------------------------------------------------------------------------------


def test_a_pair_is_a_config_that_has_ended_both_ways() -> None:
    history = with_screenings(complete_history(complete=2), [0, 1, 5], like_the_end)

    pairs = pairs_of(history.trials, history.observations, history.screenings or {})

    assert [one.whole - one.screened for one in pairs] == pytest.approx([0.2, 0.2])


def test_the_rank_correlation_has_ties_at_their_mean_rank() -> None:
    rising = [Pair(1, 1), Pair(2, 5), Pair(3, 6)]

    assert rank_correlation(rising) == pytest.approx(1)
    assert rank_correlation([Pair(-a, b) for a, b in rising]) == pytest.approx(-1)
    assert rank_correlation([Pair(0, b) for _, b in rising]) == 0
    assert rank_correlation([Pair(1, 1), Pair(1, 2), Pair(2, 3)]) == pytest.approx(0.866, abs=1e-3)


def test_complete_trials_are_screened_first_to_test_the_correlation() -> None:
    history = replace(complete_history(), screenings={})

    action = FreezeThaw(SCREENED, 0, SMALL).propose(history, number=40)

    assert action == Screen(history.trials[0].config)


@pytest.mark.parametrize("complete", range(TEST_PAIRS))
def test_nothing_is_screened_before_enough_trials_are_complete(complete: int) -> None:
    assert next_test(replace(complete_history(complete=complete), screenings={})) is None


def test_the_test_ends_when_enough_screenings_have_begun() -> None:
    history = complete_history(complete=10)
    begun = {100 + place: Screening(history.trials[place].config) for place in range(TEST_PAIRS)}

    assert next_test(replace(history, screenings=begun)) is None


def test_screenings_are_shown_to_tell_enough_by_enough_pairs_that_rank_alike() -> None:
    history = complete_history()
    few, enough = ([*range(count)] for count in (TEST_PAIRS - 1, TEST_PAIRS))

    assert not is_shown(history)
    assert not is_shown(with_screenings(history, few, like_the_end))
    assert is_shown(with_screenings(history, enough, like_the_end))
    assert not is_shown(with_screenings(history, enough, unlike_the_end))


# --- the decisions --------------------------------------------------------------------------------


def test_without_screenings_the_decisions_are_those_of_before_there_were_any() -> None:
    engine, history, actions = FreezeThaw(PROBLEM, 0, SMALL), History({}, []), []
    for number in range(40):
        action = engine.propose(history, number=number)
        assert action is not None
        actions.append(action)
        history = replace(apply(history, action, like_the_end), screenings=None)

    kinds = " ".join(str(one.trial) if isinstance(one, Continue) else "b" for one in actions)
    begun = [one.config for one in actions if isinstance(one, Begin)]
    # Recorded with the version before; the same on that machine to the last bit.
    assert kinds == (
        "b b b b b b 1 1 1 b 6 6 6 b 7 7 7 b 8 8 8 b 9 9 9 b 10 b 11 11 b 10 10 b b b 15 15 15 b"
    )
    assert begun[5] == pytest.approx((0.776952, 0.36244), abs=1e-5)
    assert begun[9] == pytest.approx((0.711687, 0.412336), abs=1e-5)
    assert begun[-1] == pytest.approx((0.725865, 0.184924), abs=1e-5)


def test_screenings_go_on_where_the_subset_ranks_as_all_images_do() -> None:
    engine = FreezeThaw(SCREENED, 0, SMALL)

    actions, history = search_with(lambda: engine, 48, like_the_end)

    screened = {one.config for one in actions if isinstance(one, Screen)}
    assert is_shown(history)
    assert len(screened) > TEST_PAIRS
    assert len(screened) == sum(isinstance(one, Screen) for one in actions)


def test_screenings_end_with_the_test_where_the_subset_ranks_otherwise() -> None:
    engine = FreezeThaw(SCREENED, 0, SMALL)

    actions, _ = search_with(lambda: engine, 48, unlike_the_end)

    assert sum(isinstance(one, Screen) for one in actions) == TEST_PAIRS


def test_an_interruption_after_each_decision_changes_nothing() -> None:
    engine = FreezeThaw(SCREENED, 0, SMALL)

    uninterrupted, _ = search_with(lambda: engine, 48, like_the_end)

    again, _ = search_with(lambda: FreezeThaw(SCREENED, 0, SMALL), 48, like_the_end)
    assert again == uninterrupted
    assert {type(action) for action in uninterrupted} == {Begin, Continue, Screen}


def test_a_screening_that_cannot_end_is_not_begun() -> None:
    history = replace(complete_history(), screenings={})

    action = FreezeThaw(SCREENED, 0, SMALL).propose(history, number=40, seconds_left=1.0)

    assert action is None


def test_a_search_goes_on_without_further_screenings() -> None:
    history = with_screenings(complete_history(), [*range(6)], like_the_end)

    action = FreezeThaw(PROBLEM, 0, SMALL).propose(history, number=40)

    assert isinstance(action, Begin | Continue)
