"""Renders the static front as an SVG element for notebooks, print and pages without JavaScript.

Colab shows outputs in a sandbox and many viewers strip scripts; plain SVG appears everywhere.
Text and lines have the colour of their surroundings, to be read on light and dark.
"""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

from effv2_tune.plurals import pluralized
from effv2_tune.report.analysis import network_of, seconds_of
from effv2_tune.report.figures.palette import INK
from effv2_tune.report.figures.static import static_front, static_style
from effv2_tune.report.html.rendering import render
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
)

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis


def front_svg(
    analysis: Analysis, device: DeviceAnalysis, *, name: str, width: int = 640, height: int = 340
) -> str:
    """The complete trials of one device and its Pareto front.

    Args:
        analysis: Of the whole study.
        device: The device to draw.
        name: Prefix of the ids, unique in the page.
        width: The largest, in CSS pixels; it shrinks with the page.
        height: Likewise.

    Returns:
        One ``<svg>`` element, or an empty text where no trial is complete.
    """
    if not device.complete:
        return ""
    buffer = io.StringIO()
    with static_style(svg_fonttype="none"):
        figure = static_front(analysis, device, width=width, height=height)
        figure.savefig(buffer, format="svg", transparent=True)
    quality = label_of(analysis.study.quality)
    texts = {
        str(trial.number): html.escape(
            f"trial {trial.number}, {network_of(trial)}: {quality} "
            f"{device.qualities[trial.number]:.4f} in {human_seconds(seconds_of(trial))}"
        )
        for trial in device.complete
    }
    label = (
        f"Validation {quality} against training time on {device.device}: "
        f"{pluralized(len(device.complete), 'complete trial')}, "
        f"{len(device.front)} on the Pareto front"
    )
    content = _adapted(buffer.getvalue(), name, texts)
    return render("drawing.html.j2", width=width, height=height, label=label, content=content)


def _adapted(svg: str, name: str, texts: dict[str, str]) -> str:
    """The content of Matplotlib's SVG as a part of a page.

    Its style sheet, which would apply to the whole page, is left out; ids get a prefix, and trials
    a tooltip.
    """
    for pattern, replacement in (
        (r"^.*?</metadata>|<style.*?</style>|</svg>\s*$|<!--.*?-->|font-family: [^;\"]*;? ?", ""),
        (r'<g id="(?!trial-)[^"]*"', "<g"),
        (r'(\bid="|href="#|url\(#)(?!trial-)', rf"\g<1>{name}-"),
        (r"\s*\n\s*", " "),
    ):
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="trial-(\d+)">', lambda match: f"<g><title>{texts[match[1]]}</title>", svg)
    return svg.replace(INK, "currentColor")
