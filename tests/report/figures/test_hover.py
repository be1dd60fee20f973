"""The hover text of a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report import figures
from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.hover import hover_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_a_point_shows_its_whole_config_and_every_time(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trial = trial_maker(5, state="complete")
    analysis = analyse(study_maker(trials=(trial,)))

    figure = figures.front_figure(analysis, analysis.devices[0])

    (text,) = next(trace.text for trace in figure.data if trace.name.startswith(("b", "t")))
    for words in ("Trial 5", "maximal learning rate", "weight decay", "compilation", "wall", "ms"):
        assert words in text


def test_a_point_shows_what_to_expect(study_maker: Callable[..., ReportInput]) -> None:
    analysis = analyse(study_maker(40, validation=500))
    (device,) = analysis.devices
    trial = device.front[0]

    text = hover_text(trial, "accuracy", device.expected[trial.number])

    assert f"expected {device.expected[trial.number].estimate.quality:.4f}" in text
    assert "on the front with probability 100 %" in text
