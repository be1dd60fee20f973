"""Prepares the section of the page that shows what each worker did."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.plurals import pluralized
from effv2_tune.report import figures
from effv2_tune.report.figures.timeline import LOOKS, timeline_height
from effv2_tune.report.html.sections import Plot, View
from effv2_tune.report.quantities import (
    human_seconds,
    percent,
)
from effv2_tune.report.timeline import KINDS, utilisation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.timeline import Timeline

#: Workers that the table lists one by one.
_MOST_WORKERS = 16


class WorkerSection(NamedTuple):
    """The section of the workers.

    Attributes:
        text: How well they were used.
        plot: The timeline.
        caption: Below the figure.
        legend: Each kind of work with its colour and height.
        headers: Of the table.
        rows: Of the table: a name and a text for each header.
    """

    text: str
    plot: Plot
    caption: str
    legend: Sequence[tuple[str, str, int]]
    headers: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def worker_section(analysis: Analysis) -> WorkerSection | None:
    """The timeline of the workers; None where nothing is known of it."""
    timeline = analysis.study.timeline
    if timeline is None or not timeline.spans:
        return None
    used = timeline.used()
    whole = sum(used.values())
    count = len(timeline.workers)
    text = (
        f"{pluralized(count, 'worker')} in {pluralized(len(timeline.runs), 'run')} of "
        f"{human_seconds(timeline.seconds)} in all: {percent(utilisation(used))} of the workers' "
        f"time was spent on trials, {percent(used['training'] / whole)} in training steps."
    )
    plot = Plot(
        "plot-timeline",
        [View("timeline", "Timeline", partial(figures.timeline_figure, timeline))],
        f"Timeline of the workers. {text}",
        timeline_height(timeline),
        is_pickable=True,
    )
    occurring = [work for work in KINDS if used[work] > 0]
    return WorkerSection(
        text,
        plot,
        _caption(timeline),
        [(work, *LOOKS[work]) for work in occurring],
        ["used for trials", *occurring],
        _rows(timeline, occurring),
    )


def _caption(timeline: Timeline) -> str:
    order = (
        "Within a trial, its compilation, training and evaluation (with checkpoints) are one span "
        "each, whatever the order of its epochs. Compilation includes building the network and "
        "measuring the step time."
    )
    if timeline.is_from_log:
        return order
    return (
        "By the records of the trials, as the study's folder has no complete log of events: what "
        f"a worker did between two trials is not known, and is shown as idle. {order}"
    )


def _rows(timeline: Timeline, occurring: Sequence[str]) -> list[tuple[str, list[str]]]:
    workers = timeline.workers
    names = [*(workers if len(workers) <= _MOST_WORKERS else ()), None]
    rows = []
    for name in names if len(workers) > 1 else [None]:
        used = timeline.used(name)
        whole = sum(used.values())
        shares = [
            f"{percent(used[work] / whole)} ({human_seconds(used[work])})"
            for work in KINDS
            if work in occurring
        ]
        rows.append((name or "all workers", [percent(utilisation(used)), *shares]))
    return rows
