"""Writes the report: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from effv2_tune.files.atomic import write_text
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.report.analysis import STATE_WORDS, Analysis, analyse
from effv2_tune.report.figures.palette import DARK, PALETTE_NAME, TIME_COLOURS
from effv2_tune.report.html import sections
from effv2_tune.report.html.drawing import front_svg
from effv2_tune.report.html.landscape import contour_section, slice_sections
from effv2_tune.report.html.rendering import asset, render
from effv2_tune.report.html.trial_details import trial_details
from effv2_tune.report.html.trial_list import trial_table
from effv2_tune.report.html.workers import worker_section
from effv2_tune.report.legend import legend_entries, state_entries
from effv2_tune.report.spending import spent_seconds
from effv2_tune.report.tables.trials import TEXT_COLUMNS, front_rows
from effv2_tune.report.text import definitions, summary

if TYPE_CHECKING:
    from pathlib import Path

    import plotly.graph_objects as go

    from effv2_tune.report.input import ReportInput

#: The parts of the page's script, in the order in which they need each other.
SCRIPTS = (
    "selection.js",
    "figures.js",
    "parallel.js",
    "slices.js",
    "table.js",
    "pinned.js",
    "copying.js",
    "page.js",
)
#: Of a dashboard, before the last of them.
LIVE_SCRIPT = "live.js"
#: Trials that a group of failures lists; the table of all trials has all of them.
MOST_PINS = 12


def write_report(study: ReportInput | Analysis, path: Path) -> Path:
    """Write a study's report to one HTML file, atomically.

    The file holds Plotly's JavaScript (about 5 MB) and opens from a disk without a network; its
    content security policy forbids it to fetch anything.

    Args:
        study: The study's facts and trials, or their analysis.
        path: The file to write; its folder is created if it does not exist.

    Returns:
        ``path``.

    Raises:
        TuneError: The file cannot be written.
    """
    text = report_html(study)
    hint = "Name a folder that exists and that you may write to."
    with disk_errors(f"The report cannot be written to {path}", hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def report_html(study: ReportInput | Analysis) -> str:
    """The report's HTML, complete in itself."""
    analysis = study if isinstance(study, Analysis) else analyse(study)
    return _page(analysis, is_live=False)


def live_html(analysis: Analysis, version: int) -> str:
    """The page of a dashboard: the report, which follows the study.

    It fetches ``content`` and ``events``, relative to its own address, and nothing else.

    Args:
        analysis: Of the study so far.
        version: Of its content, as of :func:`live_content`.
    """
    return _page(analysis, is_live=True, version=version)


def live_content(analysis: Analysis, version: int) -> dict[str, Any]:
    """What changes in the page of a dashboard, as plain data.

    Args:
        analysis: Of the study so far.
        version: Counts the contents, so that the page knows whether its own is the newest.
    """
    values = _content_values(analysis)
    return {
        "header": render("header.html.j2", **values),
        "main": render("main.html.j2", **values),
        "data": page_data(analysis) | {"version": version},
    }


def _page(analysis: Analysis, *, is_live: bool, version: int = 0) -> str:
    from plotly.offline import get_plotlyjs

    scripts = [*SCRIPTS[:-1], *([LIVE_SCRIPT] if is_live else []), SCRIPTS[-1]]
    return render(
        "page.html.j2",
        **_content_values(analysis),
        is_live=is_live,
        palette=PALETTE_NAME,
        data=page_data(analysis) | ({"version": version} if is_live else {}),
        style=asset("page.css"),
        plotly=get_plotlyjs(),
        script="\n".join(map(asset, scripts)),
    )


def _content_values(analysis: Analysis) -> dict[str, Any]:
    """The variables of the templates of head and sections."""
    return {
        **_section_values(analysis),
        "study": analysis.study,
        "states": analysis.states,
        "most_pins": MOST_PINS,
        "state_names": STATE_WORDS,
        "text_columns": TEXT_COLUMNS,
        "time_colours": TIME_COLOURS,
    }


def page_data(analysis: Analysis) -> dict[str, Any]:
    """What the page draws and selects: figures, parallel coordinates, details of each trial."""
    return {
        "figures": report_figures(analysis),
        "dark": dict(DARK),
        "parallel": {
            section.name: {
                "axes": [axis._asdict() for axis in section.coordinates.axes],
                "trials": section.coordinates.trials,
            }
            for section in sections.parallel_sections(analysis)
        },
        "slices": {
            section.name: section.slices._asdict()
            | {
                "axes": [axis._asdict() for axis in section.slices.axes],
                "objectives": [axis._asdict() for axis in section.slices.objectives],
            }
            for section in slice_sections(analysis)
        },
        "front": sorted(analysis.front),
        "trials": trial_details(analysis),
    }


def report_figures(analysis: Analysis) -> dict[str, Any]:
    """Every figure of the page by name, as the JSON that Plotly draws."""
    every = [*sections.all_sections(analysis), contour_section(analysis)]
    plots = [section.plot for section in every if section is not None]
    workers = worker_section(analysis)
    plots += [] if workers is None else [workers.plot]
    return {
        view.figure: plain_figure(view.draw())
        for plot in plots
        if plot is not None
        for view in plot.views
    }


def _section_values(analysis: Analysis) -> dict[str, Any]:
    study = analysis.study
    devices = list(enumerate(analysis.devices))
    advice, commands = sections.next_commands(analysis)
    unended = study.activity or ("The search has not ended yet." if analysis.states else "")
    spent = spent_seconds(study.trials)
    return {
        "summary": summary(analysis),
        "ended": sections.as_sentence(study.ended_by) or unended,
        "card_rows": [sections.cards(analysis, each) for _, each in devices if each.complete],
        "fronts": [
            (
                sections.front_section(analysis, device, position),
                front_svg(analysis, device, name=f"drawing-{position}", width=1000, height=460),
                [*legend_entries(device), *state_entries(device)],
                front_rows(analysis, device),
            )
            for position, device in devices
        ],
        "failures": sections.failure_section(study),
        "advice": advice,
        "commands": commands,
        "importances": sections.importance_sections(analysis),
        "parallels": sections.parallel_sections(analysis),
        "slices": slice_sections(analysis),
        "contour": contour_section(analysis),
        "curves": sections.curves_section(analysis),
        "workers": worker_section(analysis),
        "growths": sections.growth_sections(analysis),
        "table": trial_table(analysis),
        "time": sections.time_section(analysis),
        "spent": {part: seconds for part, seconds in spent.items() if seconds > 0},
        "definitions": definitions(study),
        "environments": sections.environments(study.trials),
    }


def plain_figure(figure: go.Figure) -> dict[str, Any]:
    """A figure as the JSON that Plotly draws."""
    content: dict[str, Any] = json.loads(figure.to_json())
    # Two kilobytes of defaults each that Plotly has anyway.
    content["layout"].pop("template", None)
    return content
