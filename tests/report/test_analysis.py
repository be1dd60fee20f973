"""What is found in a study's trials: front, devices, growth, time spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.pareto import knee, pareto_front
from effv2_tune.report.analysis import find, seconds_of
from effv2_tune.report.growth import front_growth
from effv2_tune.report.spending import spared_seconds, spent_by_bucket, spent_seconds
from effv2_tune.report.text import front_sentence, search_sentence, state_sentence

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_the_front_is_that_of_the_pareto_room(study_maker: Callable[..., ReportInput]) -> None:
    given = study_maker(60)
    complete = [trial for trial in given.trials if trial.measurement is not None]
    measurements = [trial.measurement for trial in complete]
    marks = pareto_front(measurements)
    position = knee(measurements)

    findings = find(given)

    assert findings.front == {t.number for t, on in zip(complete, marks, strict=True) if on}
    assert position is not None
    assert findings.knees == {complete[position].number}


def test_the_front_runs_from_the_fastest_to_the_best(
    study_maker: Callable[..., ReportInput],
) -> None:
    (device,) = find(study_maker(60)).devices

    assert list(device.front) == sorted(device.front, key=seconds_of)
    assert device.front[0] is device.fastest
    assert device.front[-1] is device.best


def test_each_kind_of_device_has_a_front_of_its_own(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = [trial_maker(n, device="TPU" if n % 3 else "GPU") for n in range(40)]

    devices = find(study_maker(trials=tuple(trials))).devices

    assert [device.device for device in devices] == ["TPU", "GPU"]
    assert all(device.front for device in devices)
    assert sum(len(device.trials) for device in devices) == 40


def test_a_trial_that_never_said_where_it_ran_belongs_to_the_only_device(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    lost = trial_maker(1, state="failed").model_copy(update={"environment": None, "bucket": None})

    (device,) = find(study_maker(trials=(trial_maker(0), lost))).devices

    assert [trial.number for trial in device.trials] == [0, 1]


def test_a_lower_loss_is_better(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(trial_maker(n, state="complete") for n in range(20))

    (device,) = find(
        study_maker(trials=trials, quality="loss", quality_direction="minimize")
    ).devices

    qualities = [trial.measurement.quality for trial in device.front if trial.measurement]
    assert qualities == sorted(qualities, reverse=True)


def test_the_hypervolume_never_shrinks_and_ends_at_all_of_itself(
    study_maker: Callable[..., ReportInput],
) -> None:
    given = study_maker(50)
    (device,) = find(given).devices

    points = front_growth(device, "maximize")

    shares = [point.share for point in points]
    assert len(points) == 50
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert [point.ended for point in points] == list(range(1, 51))


def test_time_spent_is_the_walls_and_adds_up_over_buckets(
    study_maker: Callable[..., ReportInput],
) -> None:
    trials = study_maker(60).trials

    total = sum(spent_seconds(trials).values())

    assert total == pytest.approx(sum(trial.times.wall for trial in trials), rel=0.05)
    bars = spent_by_bucket(trials)
    assert sum(sum(parts.values()) for _, parts in bars) == pytest.approx(total)
    assert len(bars) <= 12


def test_what_stopping_spared_is_projected_less_spent(trial_maker: Callable[..., Trial]) -> None:
    stopped, whole = trial_maker(0, state="pruned"), trial_maker(1, state="complete")

    saved = spared_seconds([stopped, whole])

    assert saved == pytest.approx(stopped.rungs[-1].projected_seconds - stopped.times.train)


def test_the_first_sentences_say_what_where_and_how_many(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(trial_maker(n, state="pruned" if n else "complete") for n in range(3))
    findings = find(study_maker(trials=trials))

    assert search_sentence(findings).startswith("3 trials over variant, resolution")
    assert "on NVIDIA H200" in search_sentence(findings)
    assert state_sentence(findings) == "1 complete and 2 stopped early."
    assert front_sentence(findings, findings.devices[0]).startswith("1 trial of 1 complete is on")


def test_a_study_without_trials_says_so(study_maker: Callable[..., ReportInput]) -> None:
    findings = find(study_maker(trials=()))

    assert search_sentence(findings) == "Nothing has been tried yet."
    assert findings.devices == ()
