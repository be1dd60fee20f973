"""The analysis of a study: front, knee, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import knee, pareto_front
from effv2_tune.report.analysis import analyse, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_the_front_is_that_of_the_pareto_package(study_maker: Callable[..., ReportInput]) -> None:
    study = study_maker(60)
    complete = [trial for trial in study.trials if trial.measurement is not None]
    measurements = [trial.measurement for trial in complete]
    marks = pareto_front(measurements)
    position = knee(measurements)

    analysis = analyse(study)

    assert analysis.front == {t.number for t, on in zip(complete, marks, strict=True) if on}
    assert position is not None
    assert analysis.knees == {complete[position].number}


def test_the_front_runs_from_the_fastest_to_the_best(
    study_maker: Callable[..., ReportInput],
) -> None:
    (device,) = analyse(study_maker(60)).devices

    assert list(device.front) == sorted(device.front, key=seconds_of)
    assert device.front[0] is device.fastest
    assert device.front[-1] is device.best


def test_each_kind_of_device_has_a_front_of_its_own(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = [trial_maker(n, device="TPU" if n % 3 else "GPU") for n in range(40)]

    devices = analyse(study_maker(trials=tuple(trials))).devices

    assert [device.device for device in devices] == ["TPU", "GPU"]
    assert all(device.front for device in devices)
    assert sum(len(device.trials) for device in devices) == 40


def test_a_trial_without_a_recorded_device_belongs_to_the_only_one(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    lost = trial_maker(1, state="failed").model_copy(update={"environment": None, "bucket": None})

    (device,) = analyse(study_maker(trials=(trial_maker(0), lost))).devices

    assert [trial.number for trial in device.trials] == [0, 1]


def test_a_lower_loss_is_better(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(trial_maker(n, state="complete") for n in range(20))

    (device,) = analyse(study_maker(trials=trials, quality="loss")).devices

    qualities = [trial.measurement.quality for trial in device.front if trial.measurement]
    assert qualities == sorted(qualities, reverse=True)
