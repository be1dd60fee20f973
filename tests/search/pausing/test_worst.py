"""Which paused trial is stopped first."""

from __future__ import annotations

from effv2_tune.pareto import ACCURACY
from effv2_tune.search.pausing.worst import worst_paused
from effv2_tune.study.trial import Measurement, RungResult, Trial


def at_rung(number: int, quality: float, seconds: float, *, state: str = "paused") -> Trial:
    result = RungResult(rung=0, epoch=2, quality=quality, projected_seconds=seconds)
    return Trial.model_validate(
        {"number": number, "state": state, "config": {}, "rungs": (result,)}
    )


def complete(number: int, quality: float, seconds: float) -> Trial:
    point = Measurement(quality=quality, train_seconds=seconds)
    trial = at_rung(number, quality - 0.2, seconds, state="complete")
    return trial.model_copy(update={"measurement": point})


def test_the_dominated_one_goes_first() -> None:
    trials = [at_rung(0, 0.5, 10), at_rung(1, 0.4, 20), at_rung(2, 0.6, 30)]

    worst = worst_paused(trials, ACCURACY)

    assert worst is not None
    assert worst.number == 1


def test_complete_trials_dominate_paused_ones() -> None:
    trials = [at_rung(0, 0.65, 20), at_rung(1, 0.45, 5), complete(2, 0.9, 10)]

    worst = worst_paused(trials, ACCURACY)

    # Trial 0 is expected to end at 0.85, and trial 2 is better and faster.
    assert worst is not None
    assert worst.number == 0


def test_trials_that_are_not_paused_are_never_stopped() -> None:
    trials = [at_rung(0, 0.1, 99, state="running"), complete(1, 0.2, 99)]

    assert worst_paused(trials, ACCURACY) is None
    assert worst_paused([], ACCURACY) is None
