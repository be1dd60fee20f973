"""A study in a notebook: front and table as one HTML fragment without scripts."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import find
from effv2_tune.report.figures.static_svg import front_drawing
from effv2_tune.report.html.legend import legend_html
from effv2_tune.report.table import front_rows
from effv2_tune.report.text import search_sentence, state_sentence

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.input import ReportInput

CELL = "text-align:left;white-space:nowrap;padding:.25em .7em .25em 0"
MOST_ROWS = 20  # a longer front is read in the page or with ``trials``


def study_html(given: ReportInput) -> str:
    """A study as an HTML fragment: what was searched, the front drawn, the front listed.

    It has no script, no style sheet and no reference to anything outside, so that Jupyter,
    Colab (which shows outputs in a sandbox) and Kaggle all show it, light or dark.
    """
    findings = find(given)
    panels = "".join(_panel(findings, device) for device in findings.devices)
    return (
        '<div style="font-family:system-ui,sans-serif;max-width:760px">'
        f"<p><strong>{html.escape(given.name)}</strong>: {html.escape(search_sentence(findings))} "
        f"{html.escape(state_sentence(findings))}</p>{panels}</div>"
    )


def _panel(findings: Analysis, device: DeviceAnalysis) -> str:
    if not device.front:
        return f"<p>On {html.escape(device.device)}, no trial is complete yet.</p>"
    return (
        f'<p style="margin:.8em 0 .2em">On {html.escape(device.device)}</p>'
        f"{front_drawing(findings, device)}{legend_html(device)}{_table(findings, device)}"
    )


def _table(findings: Analysis, device: DeviceAnalysis) -> str:
    rows = front_rows(findings, device)
    head = "".join(f'<th style="{CELL}">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{CELL}">{html.escape(cell)}</td>' for cell in row.values())
        + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:13px">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}"
    )
