"""The quality over two hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from effv2_tune.report.analysis import analyse
from effv2_tune.report.landscape.contours import (
    FEWEST_TRIALS,
    GRID,
    LEAST_EXPLAINED,
    best_bandwidth,
    contours,
    estimated_surface,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial

CHANCE = np.random.default_rng(7)
PLACES = CHANCE.random((200, 2))
BOWL = -((PLACES - 0.5) ** 2).sum(axis=1)


def test_what_two_hyperparameters_decide_is_predicted_and_what_they_do_not_is_not() -> None:
    assert best_bandwidth(PLACES, BOWL)[1] > 0.9
    assert best_bandwidth(PLACES, CHANCE.random(200))[1] < LEAST_EXPLAINED


def test_equal_qualities_explain_nothing() -> None:
    assert best_bandwidth(PLACES, np.ones(200))[1] == 0


def test_the_surface_is_near_the_truth_and_stays_within_the_values() -> None:
    surface = estimated_surface(PLACES, BOWL, best_bandwidth(PLACES, BOWL)[0])

    known = [value for row in surface for value in row if value is not None]
    middle = surface[GRID // 2][GRID // 2]
    assert middle == pytest.approx(0, abs=0.03)
    assert BOWL.min() - 1e-4 <= min(known) <= max(known) <= BOWL.max() + 1e-4
    assert len(known) > 0.7 * GRID**2


def test_nothing_is_extrapolated_beyond_the_hull_or_far_from_every_trial() -> None:
    # Two clusters in opposite corners: between them is the hull, but no trial.
    clusters = np.vstack([PLACES[:40] * 0.2, 0.8 + PLACES[40:80] * 0.2])

    surface = estimated_surface(clusters, BOWL[:80], 0.05)

    assert surface[0][-1] is None
    assert surface[-1][0] is None
    assert surface[GRID // 2][GRID // 2] is None
    assert surface[2][2] is not None


def test_trials_on_one_line_have_no_surface() -> None:
    line = np.repeat(PLACES[:, :1], 2, axis=1)

    assert estimated_surface(line, BOWL, 0.1) == []


def test_pairs_are_ordered_by_what_they_explain(study_maker: Callable[..., ReportInput]) -> None:
    (device,) = analyse(study_maker(120)).devices

    found = contours(device)

    explained = [pair.explained for pair in found if pair.explained is not None]
    # Of three hyperparameters; resolution and epochs have three values each.
    assert len(found) == 3
    assert explained == sorted(explained, reverse=True)
    assert "maximal_learning_rate" in found[0].parameters
    for pair in found:
        assert bool(pair.surface) == (
            pair.explained is not None and pair.explained >= LEAST_EXPLAINED
        )
        assert len(pair.trials) == len(pair.qualities) == len(pair.axes[0].positions)


def test_with_few_trials_there_are_points_alone(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(trial_maker(number, state="complete") for number in range(FEWEST_TRIALS - 1))
    (device,) = analyse(study_maker(trials=trials)).devices

    found = contours(device)

    assert found
    assert all(pair.explained is None and not pair.surface for pair in found)
    assert all(len(pair.trials) == FEWEST_TRIALS - 1 for pair in found)
