"""Parallel coordinates: every complete trial, each value at its place between the ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.parallel import parallel_coordinates

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_each_quantity_has_an_axis_and_each_complete_trial_a_place(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40))
    (device,) = analysis.devices

    drawn = parallel_coordinates(analysis, device)

    assert [axis.label for axis in drawn.axes] == [
        *("variant", "resolution", "epochs", "initial learning rate", "maximal learning rate"),
        *("weight decay", "validation accuracy", "training time"),
    ]
    assert list(drawn.trials) == [trial.number for trial in device.complete]
    for axis in drawn.axes:
        assert len(axis.positions) == len(drawn.trials)
        assert {0.0, 1.0} <= set(axis.positions)
        assert all(0 <= place <= 1 for place, _ in axis.ticks)


def test_choices_are_ticks_and_wide_ranges_logarithmic(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40))

    axes = {a.label: a for a in parallel_coordinates(analysis, analysis.devices[0]).axes}

    assert axes["variant"].is_choice
    assert {text for _, text in axes["variant"].ticks} == {"b0", "b1", "b2", "b3"}
    assert axes["weight decay"].is_logarithmic
    assert "1e-05" in [text for _, text in axes["weight decay"].ticks]
    assert not axes["epochs"].is_logarithmic
    assert all("." not in text for _, text in axes["epochs"].ticks)


def test_a_trial_without_a_hyperparameter_has_a_gap(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trials = [trial_maker(number, state="complete") for number in range(4)]
    some = trials[1].model_copy(update={"config": trials[1].config | {"momentum": 0.9}})
    analysis = analyse(study_maker(trials=(trials[0], some, *trials[2:])))

    axes = {a.label: a for a in parallel_coordinates(analysis, analysis.devices[0]).axes}

    assert list(axes["momentum"].positions) == [None, 0.5, None, None]
