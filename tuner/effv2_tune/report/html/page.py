"""The report: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.report import figures
from effv2_tune.report.analysis import find
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.figures.palette import DARK
from effv2_tune.report.growth import front_growth
from effv2_tune.report.html import sections
from effv2_tune.report.spending import spent_by_bucket

if TYPE_CHECKING:
    from pathlib import Path

    import plotly.graph_objects as go

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.input import ReportInput


def write_report(given: ReportInput, path: Path) -> Path:
    """Write a study's report to one HTML file.

    The file holds Plotly's JavaScript (about 5 MB) and opens from a disk without a network; its
    content security policy forbids it to fetch anything.

    Args:
        given: The study's facts and trials.
        path: The file to write; its folder is made where it is missing.

    Returns:
        ``path``.

    Raises:
        TuneError: The file cannot be written.
    """
    text = report_html(given)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TuneError(
            f"The report cannot be written to {path}: {error.strerror or error}.",
            hint="Name a folder that exists and that you may write to.",
            exit_code=EXIT_FAILED,
        ) from error
    return path


def report_html(given: ReportInput) -> str:
    """The report's HTML, complete in itself."""
    from plotly.offline import get_plotlyjs

    findings = find(given)
    return Template(_asset("page.html")).substitute(
        title=html.escape(f"{given.name}: EfficientNetV2 study"),
        style=_asset("page.css"),
        body=sections.body_html(findings),
        figures=_as_script_data(
            {"figures": report_figures(findings), "dark": dict(DARK)},
        ),
        plotly=get_plotlyjs(),
        script=_asset("page.js"),
    )


def report_figures(findings: Analysis) -> dict[str, Any]:
    """Every figure of the page, by the name under which its section asks for it."""
    drawn: dict[str, go.Figure] = {}
    for place, device in enumerate(findings.devices):
        if not device.complete and not device.pruned:
            continue
        drawn[f"front-{place}"] = figures.front_figure(findings, device)
        if quality_bounds(device, findings.given.quality_direction) is not None:
            drawn[f"front-{place}-near"] = figures.front_figure(findings, device, near_front=True)
        growth = front_growth(device, findings.given.quality_direction)
        if sections.grew(growth):
            drawn[f"growth-{place}-trials"] = figures.growth_figure(growth, "trials")
            drawn[f"growth-{place}-time"] = figures.growth_figure(growth, "time")
    if any(trial.curve for trial in findings.given.trials):
        for curve in sections.curves_shown(findings):
            drawn[f"curves-{curve}"] = figures.curves_figure(findings, curve)
    bars = spent_by_bucket(findings.given.trials)
    if bars:
        drawn["time"] = figures.time_figure(bars)
    return {name: _plain(figure) for name, figure in drawn.items()}


def _plain(figure: go.Figure) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(figure.to_json())
    # Two kilobytes of defaults each that Plotly has anyway.
    content["layout"].pop("template", None)
    return content


def _as_script_data(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever texts it holds."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files("effv2_tune.report.html").joinpath("assets", name).read_text(encoding="utf-8")
