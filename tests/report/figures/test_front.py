"""The Pareto front as a Plotly figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.pareto import ACCURACY
from effv2_tune.report import figures
from effv2_tune.report.analysis import analyse, quality_of
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
    assert all(bounds[0] < quality_of(trial) < bounds[1] for trial in device.front)
