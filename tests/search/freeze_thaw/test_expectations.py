from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.search.freeze_thaw.curves_of_a_family import PROBLEM, end_of, history_of
from tests.search.freeze_thaw.test_decision import SMALL, apply

from effv2_tune.search.freeze_thaw import FreezeThaw, History, Problem
from effv2_tune.search.freeze_thaw.earlier import EarlierEnds
from effv2_tune.search.freeze_thaw.expectations import Basis, Peak, draw_preferred
from effv2_tune.search.freeze_thaw.fitting import prior
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.kernel import Hyperparameters, Points

#: The best value of the first dimension of the family is 0.7.
RIGHT, WRONG = Peak(0, 0.7, 0.2), Peak(0, 0.1, 0.1, 1.5)
HYPER = Hyperparameters(prior(2)[0])
CENTER, FAR = np.array([[0.1, 0.5]]), np.array([[0.9, 0.5]])


def preference(configs: np.ndarray, values: np.ndarray) -> float:
    """How much better the center of `WRONG` is expected to be than a point far from it."""
    posterior = Posterior.given(
        HYPER, Points.ends(configs), values, np.full(len(values), 0.01), [WRONG]
    )
    means = [posterior.predict(Points.ends(config))[0][0] for config in (CENTER, FAR)]
    return float(means[0] - means[1])


def best_after(problem: Problem, decisions: tuple[int, ...], seed: int) -> list[float]:
    """The best end of the configs begun after so many decisions."""
    engine, history, found = FreezeThaw(problem, seed, SMALL), History({}, []), []
    for number in range(max(decisions)):
        action = engine.propose(history, number=number)
        assert action is not None
        history = apply(history, action)
        if number + 1 in decisions:
            configs = np.array([one.config for one in history.trials.values()])
            found.append(float(end_of(configs).max()))
    return found


def test_a_preferred_value_is_expected_to_be_better() -> None:
    assert preference(np.array([[0.5, 0.1], [0.5, 0.9]]), np.zeros(2)) > 0.5


def test_trainings_take_back_what_they_contradict() -> None:
    rng = np.random.default_rng(0)
    configs = rng.random((16, 2))
    slope = configs[:, 0] - 0.5

    assert preference(configs, 2 * slope) < 0
    assert preference(configs, -2 * slope) > preference(configs[:2], np.zeros(2))


def test_an_expectation_is_forgotten_away_from_the_trainings_too() -> None:
    # All trainings have the same second coordinate; the others have it far from there.
    line = np.column_stack([np.linspace(0, 1, 12), np.zeros(12)])
    surprising = -2 * np.exp(-0.5 * ((line[:, 0] - 0.1) / 0.1) ** 2)

    far = np.array([[0.1, 1.0], [0.9, 1.0]])
    short = Hyperparameters(np.concatenate([np.log([0.3, 0.3]), HYPER.logs[2:]]))
    means = Posterior.given(
        short, Points.ends(line), surprising, np.full(12, 0.01), [WRONG]
    ).predict(Points.ends(far))[0]

    assert means[0] < means[1]


def test_without_expectations_the_basis_is_empty() -> None:
    assert Basis.of((), CENTER).at(FAR).shape == (1, 0)


def test_preferred_configs_are_near_the_peaks_and_random_elsewhere() -> None:
    rng = np.random.default_rng(0)

    drawn = draw_preferred([RIGHT], rng.random((400, 2)), rng)

    assert drawn[:, 0].mean() == pytest.approx(0.7, abs=0.03)
    assert drawn[:, 0].std() < 0.2
    assert drawn[:, 1].std() == pytest.approx(12**-0.5, abs=0.02)


def test_a_right_prior_helps_early_and_a_wrong_one_does_not_hurt_in_the_end() -> None:
    seeds, moments = range(6), (4, 50)
    right, wrong, none = (
        np.mean(
            [best_after(replace(PROBLEM, peaks=peaks), moments, seed) for seed in seeds], axis=0
        )
        for peaks in ((RIGHT,), (WRONG,), ())
    )

    assert right[0] > none[0]
    assert wrong[1] == pytest.approx(none[1], abs=0.005)


def earlier_study(seed: int, *, is_alike: bool) -> EarlierEnds:
    configs = np.random.default_rng(seed).random((20, 2))
    reflected = configs if is_alike else 1 - configs
    history = history_of(reflected, [4, 1, 2, 4] * 5)
    trials = {
        number: replace(one, config=tuple(configs[number].tolist()))
        for number, one in history.trials.items()
    }
    return EarlierEnds.of(History(trials, history.observations))


def test_an_earlier_study_helps_early_and_one_of_another_problem_does_not_hurt_in_the_end() -> None:
    seeds, moments = range(6), (12, 50)

    def found(*, is_alike: bool | None) -> np.ndarray:
        runs = []
        for seed in seeds:
            earlier = () if is_alike is None else (earlier_study(seed, is_alike=is_alike),)
            runs.append(best_after(replace(PROBLEM, earlier=earlier), moments, seed))
        return np.mean(runs, axis=0)

    alike, other, none = (found(is_alike=one) for one in (True, False, None))

    assert alike[0] > none[0]
    assert other[1] == pytest.approx(none[1], abs=0.005)
