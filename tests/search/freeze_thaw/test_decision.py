from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.freeze_thaw.curves_of_a_family import (
    PROBLEM,
    end_of,
    history_of,
    quality_of,
    seconds_of,
)

from effv2_tune.search.freeze_thaw import (
    Action,
    Begin,
    Continue,
    FreezeThaw,
    History,
    Observation,
    Problem,
    Settings,
    Trial,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STOPS = (*PROBLEM.rungs, 1.0)
SMALL = Settings(candidates=30)
few = settings(max_examples=10, deadline=None)


def random_history(seed: int, trials: int = 14) -> History:
    rng = np.random.default_rng(seed)
    return history_of(rng.random((trials, 2)), rng.integers(0, 5, trials).tolist())


def with_continue_seconds(history: History, seconds: float) -> History:
    """The same, where it takes so long to continue a paused trial."""
    trials = history.trials.items()
    return replace(history, trials={k: replace(t, continue_seconds=seconds) for k, t in trials})


def apply(history: History, action: Action) -> History:
    """Train one action to its rung, with one worker."""
    trials, observations = dict(history.trials), list(history.observations)
    if isinstance(action, Begin):
        number = len(trials)
        seconds = float(seconds_of(np.array([action.config]))[0])
        trials[number] = Trial(action.config, seconds, "running")
    else:
        number = action.trial
    share = PROBLEM.next_share(history.last_shares().get(number, 0.0))
    quality = float(quality_of(np.array([trials[number].config]), share)[0])
    observations.append(Observation(number, share, quality))
    trials[number] = replace(trials[number], state="complete" if share == 1 else "paused")
    return History(trials, observations)


def search_with(make: Callable[[], FreezeThaw], decisions: int) -> list[Action]:
    """The decisions of a search, by the engine that ``make`` returns each time."""
    history, actions = History({}, []), []
    for number in range(decisions):
        action = make().propose(history, number=number)
        assert action is not None
        actions.append(action)
        history = apply(history, action)
    return actions


def test_an_interruption_after_each_decision_changes_nothing() -> None:
    engine = FreezeThaw(PROBLEM, 3, SMALL)

    uninterrupted = search_with(lambda: engine, 30)

    assert search_with(lambda: FreezeThaw(PROBLEM, 3, SMALL), 30) == uninterrupted
    assert {type(action) for action in uninterrupted} == {Begin, Continue}


def test_another_seed_proposes_other_configs() -> None:
    first, second = (FreezeThaw(PROBLEM, seed, SMALL) for seed in (0, 1))

    assert first.propose(History({}, []), number=0) != second.propose(History({}, []), number=0)


def test_the_best_config_is_found() -> None:
    engine = FreezeThaw(PROBLEM, 0, SMALL)
    history = History({}, [])
    for number in range(60):
        action = engine.propose(history, number=number)
        assert action is not None
        history = apply(history, action)

    complete = np.array([t.config for t in history.trials.values() if t.state == "complete"])
    assert end_of(complete).max() > 0.895
    assert len(complete) < 0.6 * len(history.trials)


@few
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 1 / 60, 1 / 3600, 1000.0]))
def test_the_unit_of_time_changes_nothing(seed: int, unit: float) -> None:
    history = with_continue_seconds(random_history(seed), 2.0)
    scaled = History(
        {
            number: replace(
                one, seconds=one.seconds * unit, continue_seconds=one.continue_seconds * unit
            )
            for number, one in history.trials.items()
        },
        history.observations,
    )
    problem = replace(PROBLEM, begin_seconds=lambda configs: np.full(len(configs), 5.0))
    scaled_problem = replace(
        PROBLEM,
        seconds=lambda configs: unit * seconds_of(configs),
        begin_seconds=lambda configs: unit * problem.begin_seconds(configs),
    )

    one = FreezeThaw(problem, 0, SMALL).propose(history, number=40, seconds_left=600)
    other = FreezeThaw(scaled_problem, 0, SMALL).propose(scaled, number=40, seconds_left=600 * unit)

    assert type(one) is type(other)
    if isinstance(one, Begin):
        assert isinstance(other, Begin)
        assert other.config == pytest.approx(one.config, abs=1e-6)
    else:
        assert other == one


@few
@given(st.integers(0, 10**6), st.floats(0.0, 900.0))
def test_nothing_is_proposed_that_cannot_end(seed: int, left: float) -> None:
    history = with_continue_seconds(random_history(seed), 3.0)
    problem = replace(PROBLEM, begin_seconds=lambda configs: np.full(len(configs), 7.0))

    action = FreezeThaw(problem, seed, SMALL).propose(history, number=9, seconds_left=left)

    if isinstance(action, Begin):
        assert seconds_of(np.array([action.config]))[0] + 7 <= left
    elif isinstance(action, Continue):
        trial = history.trials[action.trial]
        done = history.last_shares()[action.trial]
        assert trial.state == "paused"
        assert trial.seconds * (1 - done) + 3 <= left
    else:
        assert left < 200


def test_without_time_for_a_new_config_a_paused_one_is_continued() -> None:
    history = history_of(np.random.default_rng(0).random((8, 2)) * [1, 0.3], [4, 3] * 4)

    action = FreezeThaw(PROBLEM, 0, SMALL).propose(history, number=1, seconds_left=90)

    assert isinstance(action, Continue)
    assert FreezeThaw(PROBLEM, 0, SMALL).propose(history, number=1, seconds_left=1) is None


def test_the_dearer_it_is_to_continue_the_rarer_a_trial_is_continued() -> None:
    history = history_of(np.random.default_rng(0).random((12, 2)) * [1, 0.3], [4, 3, 1, 1] * 3)

    def continued(seconds: float) -> int:
        dear = with_continue_seconds(history, seconds)
        engine = FreezeThaw(PROBLEM, 0, SMALL)
        return sum(isinstance(engine.propose(dear, number=n), Continue) for n in range(6))

    assert continued(0.0) > 0
    assert continued(1e6) == 0


def test_configs_that_compile_nothing_are_preferred() -> None:
    history = history_of(np.random.default_rng(0).random((12, 2)), [4, 1, 1] * 4)
    right = replace(PROBLEM, begin_seconds=lambda configs: 1e5 * (configs[:, 1] < 0.5))

    action = FreezeThaw(right, 0, replace(SMALL, random_share=0.0)).propose(history, number=1)

    assert isinstance(action, Continue) or action.config[1] >= 0.5


def test_only_paused_trials_are_continued() -> None:
    stopped = {
        number: replace(one, state="stopped" if one.state == "paused" else one.state)
        for number, one in random_history(0).trials.items()
    }
    history = History(stopped, random_history(0).observations)

    for number in range(5):
        assert isinstance(FreezeThaw(PROBLEM, 0, SMALL).propose(history, number=number), Begin)


def test_four_workers_are_given_different_configs() -> None:
    history = history_of(np.random.default_rng(0).random((10, 2)), [4, 1] * 5)
    engine = FreezeThaw(PROBLEM, 0, replace(SMALL, random_share=0.0))
    begun = []
    for number in range(4):
        action = engine.propose(history, number=number)
        assert action is not None
        trials = dict(history.trials)
        if isinstance(action, Continue):
            trials[action.trial] = replace(trials[action.trial], state="running")
        else:
            begun.append(action.config)
            seconds = float(seconds_of(np.array([action.config]))[0])
            trials[len(trials)] = Trial(action.config, seconds, "running")
        history = History(trials, history.observations)

    configs = np.array(begun)
    distances = np.abs(configs[:, None] - configs[None]).max(axis=2) + np.eye(len(configs))
    assert len(begun) >= 2
    assert distances.min() > 0.02


def test_configs_exist_and_are_new() -> None:
    problem = Problem(2, seconds_of, snap=lambda configs: np.round(configs * 4) / 4)
    history = history_of(np.round(np.random.default_rng(0).random((12, 2)) * 4) / 4, [4, 1] * 6)

    action = FreezeThaw(problem, 0, replace(SMALL, random_share=0.0)).propose(history, number=1)

    if isinstance(action, Begin):
        assert (np.array(action.config) * 4) % 1 == pytest.approx([0, 0])
        assert action.config not in {one.config for one in history.trials.values()}


def test_trials_that_failed_without_any_observation_are_no_obstacle() -> None:
    history = random_history(2)
    trials = history.trials | {99: Trial((0.5, 0.5), 200.0, "stopped")}

    assert FreezeThaw(PROBLEM, 0, SMALL).propose(History(trials, history.observations), number=1)
