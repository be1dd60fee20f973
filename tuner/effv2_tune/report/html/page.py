"""Writes the report: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from effv2_tune.files.atomic import write_text
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.report.analysis import STATE_WORDS, analyse
from effv2_tune.report.figures.palette import DARK, PALETTE_NAME, TIME_COLOURS
from effv2_tune.report.html import sections
from effv2_tune.report.html.drawing import front_svg
from effv2_tune.report.html.rendering import asset, render
from effv2_tune.report.html.trial_list import trial_table
from effv2_tune.report.legend import legend_entries
from effv2_tune.report.spending import spent_seconds
from effv2_tune.report.table import TEXT_COLUMNS, front_rows
from effv2_tune.report.text import definitions, summary

if TYPE_CHECKING:
    from pathlib import Path

    import plotly.graph_objects as go

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.input import ReportInput


def write_report(study: ReportInput, path: Path) -> Path:
    """Write a study's report to one HTML file, atomically.

    The file holds Plotly's JavaScript (about 5 MB) and opens from a disk without a network; its
    content security policy forbids it to fetch anything.

    Args:
        study: The study's facts and trials.
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


def report_html(study: ReportInput) -> str:
    """The report's HTML, complete in itself."""
    from plotly.offline import get_plotlyjs

    analysis = analyse(study)
    return render(
        "page.html.j2",
        **_section_values(analysis),
        study=study,
        states=analysis.states,
        state_names=STATE_WORDS,
        text_columns=TEXT_COLUMNS,
        time_colours=TIME_COLOURS,
        palette=PALETTE_NAME,
        figures={"figures": report_figures(analysis), "dark": dict(DARK)},
        style=asset("page.css"),
        plotly=get_plotlyjs(),
        script=asset("page.js"),
    )


def report_figures(analysis: Analysis) -> dict[str, Any]:
    """Every figure of the page by name, as the JSON that Plotly draws."""
    plots = [section.plot for section in sections.all_sections(analysis)]
    return {
        view.figure: _plain(view.draw())
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
                legend_entries(device),
                front_rows(analysis, device),
            )
            for position, device in devices
        ],
        "advice": advice,
        "commands": commands,
        "curves": sections.curves_section(analysis),
        "growths": sections.growth_sections(analysis),
        "table": trial_table(analysis),
        "time": sections.time_section(analysis),
        "spent": {part: seconds for part, seconds in spent.items() if seconds > 0},
        "definitions": definitions(study),
        "environments": sections.environments(study.trials),
    }


def _plain(figure: go.Figure) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(figure.to_json())
    # Two kilobytes of defaults each that Plotly has anyway.
    content["layout"].pop("template", None)
    return content
