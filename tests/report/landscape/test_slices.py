"""Each hyperparameter against both objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.landscape.slices import slices_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_every_trial_with_a_result_has_a_place_for_each_objective(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(60))
    (device,) = analysis.devices

    slices = slices_of(analysis, device)

    assert [axis.label for axis in slices.objectives] == ["validation accuracy", "training time"]
    assert {axis.label for axis in slices.axes} == {
        *("variant", "resolution", "epochs", "initial learning rate", "maximal learning rate"),
        "weight decay",
    }
    assert set(slices.trials) == {trial.number for trial in device.trials}
    states = {trial.number: trial.state for trial in device.trials}
    _, time = slices.objectives
    for number, kind, place in zip(slices.trials, slices.kinds, time.positions, strict=True):
        has_result = states[number] in ("complete", "pruned")
        assert (place is not None) == has_result == (kind != "none")
        assert (kind == "front") == (number in analysis.front)


def test_trials_far_from_the_front_are_below_the_axis_of_the_quality(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(60))

    slices = slices_of(analysis, analysis.devices[0])

    quality, time = slices.objectives
    below = [
        number
        for number, place, seconds in zip(
            slices.trials, quality.positions, time.positions, strict=True
        )
        if place is None and seconds is not None
    ]
    assert below
    worst = float(slices.worst)
    rungs = {
        trial.number: trial.rungs[-1].quality for trial in analysis.study.trials if trial.rungs
    }
    assert all(rungs[number] < worst + 0.01 for number in below)


def test_a_hyperparameter_with_one_value_has_no_figure(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = tuple(
        trial.model_copy(update={"config": trial.config | {"epochs": 8}})
        for trial in (trial_maker(number, state="complete") for number in range(6))
    )
    analysis = analyse(study_maker(trials=trials))

    labels = [axis.label for axis in slices_of(analysis, analysis.devices[0]).axes]

    assert "epochs" not in labels
    assert "weight decay" in labels
