"""The Pareto front as a Matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.report.analysis import analyse, seconds_of
from effv2_tune.report.figures.palette import SYMBOLS, variant_colour
from effv2_tune.report.figures.static import MARKERS, legend_handles, static_front, static_style
from effv2_tune.report.input import ReportInput
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes


def axes_of(study: ReportInput) -> Axes:
    analysis = analyse(study)
    with static_style():
        figure = static_front(analysis, analysis.devices[0], width=640, height=340)
    (axes,) = figure.axes
    return axes


def measured(number: int, quality: float, seconds: float) -> Trial:
    measurement = Measurement(quality=quality, train_seconds=seconds)
    return Trial(number=number, state="complete", config={}, measurement=measurement)


def two(*measurements: tuple[float, float]) -> ReportInput:
    trials = tuple(measured(number, *point) for number, point in enumerate(measurements))
    return ReportInput(name="two", trials=trials)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_even_ticks_are_within_the_axis_and_few(low: float, span: float) -> None:
    axes = axes_of(two((low, 10.0), (low + span, 20.0)))

    bottom, top = axes.get_ylim()
    assert bottom < low < low + span < top
    assert 2 <= sum(bottom <= tick <= top for tick in axes.get_yticks()) <= 8


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-2, 1e6), st.floats(10.5, 1e4))
def test_a_logarithmic_axis_has_few_ticks_in_units_of_time(shortest: float, ratio: float) -> None:
    axes = axes_of(two((0.5, shortest), (0.9, shortest * ratio)))

    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log"
    assert low < shortest < shortest * ratio < high
    assert 2 <= len(axes.get_xticks()) <= 7
    assert all(low <= tick <= high for tick in axes.get_xticks())
    units = {label.get_text().split()[-1] for label in axes.get_xticklabels()}
    assert units <= {"s", "min", "h", "d"}


def test_times_within_a_decade_are_drawn_on_a_linear_axis_from_zero() -> None:
    axes = axes_of(two((0.5, 60.0), (0.9, 240.0)))

    assert axes.get_xlim()[0] == 0
    assert axes.get_xlabel() == "training time (minutes)"


def test_the_front_is_a_step_line_over_its_trials(study_maker: Callable[..., ReportInput]) -> None:
    study = study_maker(60)
    (device,) = analyse(study).devices

    (line,) = [line for line in axes_of(study).lines if len(line.get_xdata()) > 1]

    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata()) == [seconds_of(trial) for trial in device.front]
    assert list(line.get_ydata()) == [device.qualities[trial.number] for trial in device.front]


def test_dominated_trials_are_muted_and_all_have_the_colour_of_their_variant(
    study_maker: Callable[..., ReportInput],
) -> None:
    study = study_maker(60)
    analysis = analyse(study)
    points = {line.get_gid(): line for line in axes_of(study).lines if line.get_gid()}

    assert set(points) == {f"trial-{trial.number}" for trial in analysis.devices[0].complete}
    for trial in analysis.devices[0].complete:
        point = points[f"trial-{trial.number}"]
        assert (point.get_alpha() == 1.0) == (trial.number in analysis.front)
        assert trial.recipe is not None
        assert point.get_markerfacecolor() == variant_colour(trial.recipe.variant)


def test_fastest_knee_and_most_accurate_are_labelled(
    study_maker: Callable[..., ReportInput],
) -> None:
    assert sorted(text.get_text() for text in axes_of(study_maker(60)).texts) == [
        "fastest",
        "knee, most accurate",
    ]


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e8])
def test_one_trial_of_any_length_is_drawn(seconds: float) -> None:
    assert axes_of(two((0.5, seconds))).texts


def test_every_symbol_has_a_marker_and_the_legend_names_front_colours_and_symbols(
    study_maker: Callable[..., ReportInput],
) -> None:
    (device,) = analyse(study_maker(60)).devices

    labels = [str(handle.get_label()) for handle in legend_handles(device, device.at_rungs)]

    assert set(MARKERS) == set(SYMBOLS)
    assert labels[:5] == ["Pareto front", "b0", "b1", "b2", "b3"]
    assert labels[-1] == "stopped early"
    assert "64 px" in labels


def test_intervals_are_drawn_and_in_the_legend(study_maker: Callable[..., ReportInput]) -> None:
    study = study_maker(40, validation=500)
    (device,) = analyse(study).devices
    shown = (*device.front, *device.possible)

    ends = [list(line.get_ydata()) for line in axes_of(study).lines if len(line.get_ydata()) == 2]

    estimates = [device.expected[trial.number].estimate for trial in shown]
    assert all([estimate.low, estimate.high] in ends for estimate in estimates)
    labels = [handle.get_label() for handle in legend_handles(device)]
    assert labels[-1] == "90 % interval"
