"""The Pareto front as a Plotly figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import ACCURACY
from effv2_tune.report import figures
from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.front import quality_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_times_beyond_a_decade_are_drawn_logarithmically(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    whole = analyse(study_maker(60))
    one = analyse(study_maker(trials=(trial_maker(0, state="complete"),)))

    assert figures.front_figure(whole, whole.devices[0]).layout.xaxis.type == "log"
    assert "5 min" in figures.front_figure(whole, whole.devices[0]).layout.xaxis.ticktext
    assert figures.front_figure(one, one.devices[0]).layout.xaxis.type != "log"


def test_near_the_front_holds_the_whole_front(study_maker: Callable[..., ReportInput]) -> None:
    (device,) = analyse(study_maker(60)).devices

    bounds = quality_bounds(device, ACCURACY)

    assert bounds is not None
    assert all(bounds[0] < device.qualities[trial.number] < bounds[1] for trial in device.front)


def test_the_front_and_what_cannot_be_told_from_it_have_intervals(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40, validation=500))
    (device,) = analysis.devices

    figure = figures.front_figure(analysis, device)

    (lines,) = [trace for trace in figure.data if trace.name.startswith("90 % interval")]
    shown = (*device.front, *device.possible)
    assert list(lines.y[::3]) == [device.expected[t.number].estimate.low for t in shown]
    assert list(lines.y[1::3]) == [device.expected[t.number].estimate.high for t in shown]
    bounds = quality_bounds(device, ACCURACY)
    assert bounds is None or bounds[0] < min(lines.y[::3])
