"""What to expect of each trial: standard errors, replicates, duplicates, the front of estimates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from effv2_tune.pareto import binomial_error, standard_error_of
from effv2_tune.report.analysis import analyse
from effv2_tune.report.candidates import POSSIBLE, candidates_of
from effv2_tune.report.text import state_sentence
from effv2_tune.study.trial import Measurement, Scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial

    TrialMaker = Callable[..., Trial]
    StudyMaker = Callable[..., ReportInput]

ERRORS = Scores(accuracy=0.01, balanced_accuracy=0.02, macro_f1=0.03, top5=0.004, loss=0.05)


def changed(trial: Trial, number: int, quality: float, seconds: float, **more: object) -> Trial:
    measured = Measurement(quality=quality, train_seconds=seconds)
    config = trial.config | {"weight_decay": 1e-5 * (number + 1)}
    return trial.model_copy(
        update={"number": number, "config": config, "measurement": measured, **more}
    )


def replicate(trial: Trial, number: int, quality: float) -> Trial:
    assert trial.measurement is not None
    measured = trial.measurement.model_copy(update={"quality": quality})
    return trial.model_copy(
        update={"number": number, "measurement": measured, "replicate_of": trial.number}
    )


def test_the_standard_error_is_that_of_the_record(trial_maker: TrialMaker) -> None:
    trial = trial_maker(0, state="complete").model_copy(update={"standard_errors": ERRORS})

    assert standard_error_of(trial, "macro_f1", 500) == 0.03
    assert standard_error_of(trial, "loss", None) == 0.05


def test_records_of_earlier_versions_have_one_from_the_number_of_images(
    trial_maker: TrialMaker,
) -> None:
    trial = changed(trial_maker(0, state="complete"), 0, 0.9, 60.0)

    assert standard_error_of(trial, "accuracy", 400) == binomial_error(0.9, 400)
    assert standard_error_of(trial, "loss", 400) == pytest.approx(0.9 / math.sqrt(400))
    assert standard_error_of(trial, "accuracy", None) is None


def test_without_a_standard_error_nothing_is_estimated(
    trial_maker: TrialMaker, study_maker: StudyMaker
) -> None:
    trial = trial_maker(0, state="complete")

    assert candidates_of([trial], [], quality="accuracy", validation=None) == []
    (device,) = analyse(study_maker(30)).devices
    assert (device.expected, device.possible) == ({}, ())


def test_the_interval_of_the_seconds_is_that_of_the_step_time(trial_maker: TrialMaker) -> None:
    exact = changed(trial_maker(0, state="complete"), 0, 0.9, 60.0)
    measured = Measurement(quality=0.9, train_seconds=60.0, seconds_low=58.0, seconds_high=63.0)
    known = exact.model_copy(update={"measurement": measured})

    first, second = candidates_of([exact, known], [], quality="accuracy", validation=400)

    assert (first.seconds_low, first.seconds_high) == (60.0, 60.0)
    assert (second.seconds_low, second.seconds_high) == (58.0, 63.0)


def test_replicates_belong_to_their_original(
    trial_maker: TrialMaker, study_maker: StudyMaker
) -> None:
    first = changed(trial_maker(0, state="complete"), 0, 0.90, 60.0)
    second = changed(first, 1, 0.95, 120.0)
    trials = (first, second, replicate(second, 2, 0.93), replicate(second, 3, 0.94))

    analysis = analyse(study_maker(trials=trials, validation=400))
    (device,) = analysis.devices

    assert [trial.number for trial in device.complete] == [0, 1]
    assert device.candidates[1].qualities == (0.95, 0.93, 0.94)
    assert device.expected[1].estimate.replicates == 3
    assert device.expected[1].estimate.raw == pytest.approx(0.94)
    assert device.has_replicates
    assert [trial.number for trial in device.trials] == [0, 1]
    assert state_sentence(analysis) == "2 complete. 2 trainings with other seeds (replicates)."


def test_with_replicates_the_front_is_that_of_the_estimates(
    trial_maker: TrialMaker, study_maker: StudyMaker
) -> None:
    lucky = changed(trial_maker(0, state="complete"), 0, 0.97, 60.0)
    steady = changed(lucky, 1, 0.96, 90.0)
    raw = analyse(study_maker(trials=(lucky, steady), validation=2000))

    replicates = (
        *(replicate(lucky, number, 0.91) for number in (2, 3, 4)),
        *(replicate(steady, number, 0.96) for number in (5, 6, 7)),
    )
    confirmed = analyse(study_maker(trials=(lucky, steady, *replicates), validation=2000))

    assert raw.front == {0}
    assert confirmed.front == {0, 1}
    (device,) = confirmed.devices
    assert device.best is steady
    assert device.qualities[0] == device.expected[0].estimate.quality < 0.95


def test_a_trial_within_the_noise_of_the_front_cannot_be_told_from_it(
    trial_maker: TrialMaker, study_maker: StudyMaker
) -> None:
    best = changed(trial_maker(0, state="complete"), 0, 0.95, 60.0)
    close, far = changed(best, 1, 0.949, 61.0), changed(best, 2, 0.70, 62.0)

    analysis = analyse(study_maker(trials=(best, close, far), validation=400))

    assert analysis.front == {0}
    assert analysis.possible == {1}
    assert analysis.expected[1].on_front >= POSSIBLE > analysis.expected[2].on_front
    assert analysis.expected[0].on_front == 1.0


def test_a_duplicate_is_as_probably_on_the_front_as_its_original(
    trial_maker: TrialMaker, study_maker: StudyMaker
) -> None:
    trial = changed(trial_maker(0, state="complete"), 0, 0.95, 60.0)
    duplicate = trial.model_copy(update={"number": 1, "notes": ("duplicate of trial 0",)})

    analysis = analyse(study_maker(trials=(trial, duplicate), validation=400))

    assert analysis.front == {0, 1}
    assert analysis.expected[0] == analysis.expected[1]
    assert analysis.expected[1].on_front == 1.0


def test_the_interval_of_the_training_time_is_that_of_its_step_time(
    trial_maker: TrialMaker,
) -> None:
    exact = changed(trial_maker(0, state="complete"), 0, 0.9, 60.0)
    uncertain = exact.model_copy(
        update={
            "measurement": Measurement(
                quality=0.9, train_seconds=60.0, seconds_low=57.0, seconds_high=64.0
            )
        }
    )

    first, second = candidates_of([exact, uncertain], [], quality="accuracy", validation=400)

    assert (first.seconds_low, first.seconds, first.seconds_high) == (60.0, 60.0, 60.0)
    assert (second.seconds_low, second.seconds, second.seconds_high) == (57.0, 60.0, 64.0)
    assert exact.bucket is not None
    assert first.time_group == second.time_group == exact.bucket.digest
