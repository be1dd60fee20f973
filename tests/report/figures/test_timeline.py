"""The timeline of the workers as a figure, and in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report import figures
from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.timeline import LOOKS
from effv2_tune.report.html.workers import worker_section
from effv2_tune.report.timeline import KINDS, Span, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput

TWO_RUNS = Timeline(
    spans=(
        Span("worker 0", "starting", 0, 10),
        Span("worker 0", "training", 10, 60, 4),
        Span("worker 0", "idle", 200, 210),
        Span("worker 1", "training", 200, 240, 5),
    ),
    runs=((0, 60), (200, 240)),
)


def test_spans_are_lines_on_the_row_of_their_worker_without_the_pause_between_runs() -> None:
    figure = figures.timeline_figure(TWO_RUNS)

    (training,) = [trace for trace in figure.data if trace.name == "training"]
    assert list(training.x) == [10, 60, None, 60, 100, None]
    assert list(training.y) == [0, 0, 0, 1, 1, 1]
    assert list(training.customdata) == [4, 4, 4, 5, 5, 5]
    assert list(figure.layout.yaxis.ticktext) == ["worker 0", "worker 1"]
    assert [shape.x0 for shape in figure.layout.shapes] == [60]


def test_kinds_of_work_differ_in_height_not_only_in_colour() -> None:
    assert set(LOOKS) == set(KINDS)
    assert len({height for _, height in LOOKS.values()}) == len(KINDS)


def test_a_table_has_the_use_of_each_worker(study_maker: Callable[..., ReportInput]) -> None:
    study = study_maker(3).model_copy(update={"timeline": TWO_RUNS})

    section = worker_section(analyse(study))

    assert section is not None
    assert section.text.startswith("2 workers in 2 runs of 1 min 40 s in all: 82 %")
    assert section.headers == ["used for trials", "training", "starting", "idle"]
    assert section.rows == [
        ("worker 0", ["71 %", "71 % (50 s)", "14 % (10 s)", "14 % (10 s)"]),
        ("worker 1", ["100 %", "100 % (40 s)", "0 % (0 s)", "0 % (0 s)"]),
        ("all workers", ["82 %", "82 % (1 min 30 s)", "9 % (10 s)", "9 % (10 s)"]),
    ]


def test_without_a_timeline_there_is_no_section(study_maker: Callable[..., ReportInput]) -> None:
    for timeline in (None, Timeline()):
        study = study_maker(3).model_copy(update={"timeline": timeline})

        assert worker_section(analyse(study)) is None
