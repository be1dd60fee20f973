"""What colours and symbols mean, as a line of HTML that wraps on small screens."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import pixels_of, variant_of
from effv2_tune.report.figures.palette import resolution_symbols, variant_colour
from effv2_tune.report.figures.static_svg import legend_svg

if TYPE_CHECKING:
    from effv2_tune.report.analysis import DeviceAnalysis

ENTRY = "display:inline-flex;align-items:center;gap:.35em;margin-right:.9em"


def legend_html(device: DeviceAnalysis) -> str:
    """Colours by variant, symbols by resolution: those that occur among the complete trials."""
    variants = sorted({variant_of(trial) for trial in device.complete})
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    sizes = sorted({pixels_of(trial) for trial in device.complete} - {0})
    entries = [(legend_svg("circle", variant_colour(name)), name) for name in variants]
    entries += [(legend_svg(symbols[pixels], None), f"{pixels} px") for pixels in sizes]
    items = (
        f'<span style="{ENTRY}">{drawing}{html.escape(text)}</span>' for drawing, text in entries
    )
    return f'<div class="legend" style="font-size:13px">{"".join(items)}</div>'
