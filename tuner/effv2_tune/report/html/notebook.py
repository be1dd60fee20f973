"""Renders a study for a notebook: front and table as one HTML fragment without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.html.drawing import front_svg
from effv2_tune.report.html.rendering import render
from effv2_tune.report.legend import legend_entries
from effv2_tune.report.tables.trials import front_rows
from effv2_tune.report.text import summary

if TYPE_CHECKING:
    from effv2_tune.report.input import ReportInput

MOST_ROWS = 20  # a longer front is read in the page or with ``trials``


def study_html(study: ReportInput) -> str:
    """A study as an HTML fragment: a summary, and the front of each device as figure and table.

    It has no script, no style sheet and no reference to anything outside, so that Jupyter,
    Colab (which shows outputs in a sandbox) and Kaggle all show it, light or dark.
    """
    analysis = analyse(study)
    fronts = []
    for position, device in enumerate(analysis.devices):
        rows = front_rows(analysis, device)
        drawing = front_svg(analysis, device, name=f"notebook-{position}")
        more = max(0, len(rows) - MOST_ROWS)
        fronts.append((device.device, drawing, legend_entries(device), rows[:MOST_ROWS], more))
    return render("notebook.html.j2", study=study, summary=summary(analysis), fronts=fronts)
