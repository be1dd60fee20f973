"""Which trial is picked by estimates, and what is said about the pick."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.pareto import ACCURACY, Candidate, Estimate, Objective
from effv2_tune.report.analysis import DeviceAnalysis, analyse
from effv2_tune.report.picks import PICKS, Option, choose, options_of, selection_sentence
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.report.picks import Pick
    from effv2_tune.study.recipe import Quality

LOSS = Objective("minimize")


def candidate(seconds: float, *qualities: float, error: float = 0.01) -> Candidate:
    return Candidate(qualities, error, seconds, 0.98 * seconds, 1.02 * seconds, str(seconds))


def options(*candidates: Candidate, objective: Objective = ACCURACY) -> list[Option]:
    trials = tuple(
        Trial(number=number, state="complete", config={"variant": "b0", "resolution": 32 + number})
        for number in range(len(candidates))
    )
    return options_of(kind_of(trials, candidates, objective))


def kind_of(
    trials: tuple[Trial, ...], candidates: tuple[Candidate, ...], objective: Objective = ACCURACY
) -> DeviceAnalysis:
    return DeviceAnalysis(
        device="cpu",
        trials=trials,
        complete=trials,
        candidates=candidates,
        qualities={},
        objective=objective,
        front=(),
        fastest=None,
        knee=None,
        best=None,
    )


def picked(name: str, those: list[Option], quality: Quality = "accuracy", **limits: float) -> Pick:
    objective = LOSS if quality == "loss" else ACCURACY
    pick = choose(name, those, quality, objective, **limits)
    assert pick is not None
    return pick


# The luckiest single training, one that replicates confirm, and what is usual.
LUCKY = candidate(30, 0.957)
CONFIRMED = candidate(31, 0.953, 0.955, 0.954, 0.956, 0.955, 0.955)
USUAL = [candidate(10 + 2 * rank, 0.938 + 0.001 * rank) for rank in range(8)]


def estimated(*intervals: tuple[float, float, float]) -> list[Option]:
    """Options of 10, 11, ... seconds with these lower ends, estimates and upper ends."""
    those = options(*(candidate(10 + rank, one[1]) for rank, one in enumerate(intervals)))
    return [
        replace(option, estimate=replace(option.estimate, low=low, quality=quality, high=high))
        for option, (low, quality, high) in zip(those, intervals, strict=True)
    ]


def test_the_estimate_decides_and_not_the_measured_value() -> None:
    those = options(LUCKY, CONFIRMED, *USUAL)

    pick = picked("most-accurate", those)

    assert those[0].estimate.raw > those[1].estimate.raw
    assert pick.trial.number == 1
    assert pick.alternative is not None
    assert pick.alternative.trial.number == 0


def test_duplicates_are_one_option() -> None:
    one = Trial(number=0, state="complete", config={"variant": "b0"})
    trials = (one, one.model_copy(update={"number": 1}))

    (option,) = options_of(kind_of(trials, (LUCKY, LUCKY)))

    assert option.trial is one


def test_a_robust_pick_has_the_best_lower_bound() -> None:
    those = estimated((0.90, 0.96, 0.99), (0.93, 0.95, 0.97))

    robust = choose("most-accurate", those, "accuracy", ACCURACY, robust=True)

    assert robust is not None
    assert (robust.trial.number, robust.rule) == (1, "most-accurate, robust")
    assert picked("most-accurate", those).trial.number == 0


def test_a_robust_loss_has_the_least_upper_bound() -> None:
    those = estimated((0.10, 0.20, 0.30), (0.19, 0.21, 0.23))

    robust = choose("most-accurate", those, "loss", LOSS, robust=True)

    assert robust is not None
    assert robust.trial.number == 1
    assert picked("most-accurate", those, "loss").trial.number == 0


def test_limits_hold_for_the_values_that_decide() -> None:
    those = estimated((0.80, 0.90, 0.99), (0.90, 0.92, 0.94), (0.91, 0.95, 0.97))

    def robust(min_quality: float) -> int | None:
        pick = choose("fastest", those, "accuracy", ACCURACY, robust=True, min_quality=min_quality)
        return None if pick is None else pick.trial.number

    assert picked("most-accurate", those, max_seconds=11).trial.number == 1
    assert picked("fastest", those, min_quality=0.91).trial.number == 1
    assert [robust(0.79), robust(0.85), robust(0.92)] == [0, 1, None]


def test_probabilities_are_those_among_the_trials_within_the_limits() -> None:
    those = options(LUCKY, CONFIRMED, *USUAL)

    fast = picked("most-accurate", those, max_seconds=11)

    assert (fast.trial.number, fast.compared, fast.probability) == (2, 1, 1)
    assert fast.alternative is None


def test_what_is_said_names_the_trial_its_interval_the_alternative_and_the_correction() -> None:
    first, second, third = picked("most-accurate", options(LUCKY, CONFIRMED, *USUAL)).sentences()

    assert first.startswith("most-accurate: trial 1 (b0 at 33 px), expected accuracy 0.9")
    assert "90 % interval" in first
    assert "mean of 6 trainings 0.9547" in first
    assert first.endswith("in 31 s (30 s to 32 s).")
    assert second.startswith("It is truly the best with probability 0.")
    assert "; trial 0 (b0 at 32 px), expected accuracy" in second
    assert "cannot be distinguished" in second
    assert third.startswith("The best of 10 measured values is on average too high")


def test_a_clear_pick_has_no_alternative() -> None:
    pick = picked("fastest", options(LUCKY, CONFIRMED, *USUAL))

    assert pick.probability == 1
    assert pick.alternative is None
    assert pick.plain()["alternative"] is None
    assert "probability 1.00" in pick.sentences()[1]


def test_the_correction_is_said_with_its_sign() -> None:
    lucky = Estimate(0.97, 0.964, 0.01, 0.95, 0.98, 1)

    assert selection_sentence(lucky, 8, ACCURACY).endswith("the estimate takes 0.0060 off.")
    assert "adds 0.0060" in selection_sentence(replace(lucky, quality=0.976), 8, ACCURACY)
    assert "hardly changes" in selection_sentence(replace(lucky, quality=0.97001), 8, ACCURACY)
    assert "on average too low" in selection_sentence(lucky, 8, LOSS)


def test_as_data_a_pick_has_everything_that_is_said() -> None:
    plain = picked("most-accurate", options(LUCKY, CONFIRMED, *USUAL)).plain()

    assert plain["trial"] == 1
    assert plain["low"] < plain["estimate"] < plain["high"]
    assert plain["replicates"] == 6
    assert 0 < plain["alternative"]["probability"] < plain["probability"] < 1


def test_the_promise_of_a_pick_is_its_estimate() -> None:
    pick = picked("most-accurate", options(LUCKY, CONFIRMED, *USUAL))

    promise = pick.promise()

    assert promise.quality == pick.option.estimate.quality
    assert promise.raw == pytest.approx(0.9547, abs=1e-4)
    assert promise.raw_standard_error == 0.01
    assert promise.seed_deviation > 0
    assert promise.replicates == 6


@given(
    st.lists(st.tuples(st.floats(0.9, 0.99), st.floats(1, 100)), min_size=1, max_size=8),
    st.sampled_from(PICKS),
)
@settings(max_examples=20)
def test_every_pick_is_one_of_the_options_and_no_other_dominates_it(
    points: list[tuple[float, float]], name: str
) -> None:
    those = options(*(candidate(seconds, quality) for quality, seconds in points))

    pick = picked(name, those)

    assert pick.option in those
    assert not [
        other
        for other in those
        if other.candidate.seconds < pick.option.candidate.seconds
        and other.estimate.quality > pick.option.estimate.quality
    ]


@pytest.mark.parametrize("trials", [9, 60])
def test_the_report_names_the_trials_that_export_picks(
    trials: int, study_maker: Callable[..., ReportInput]
) -> None:
    (kind,) = analyse(study_maker(trials, validation=500)).devices

    shown = {"fastest": kind.fastest, "knee": kind.knee, "most-accurate": kind.best}

    assert shown == {name: picked(name, options_of(kind)).trial for name in PICKS}
