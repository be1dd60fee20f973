"""Draws the figures of a report, for the page with Plotly, and as a picture.

Plotly takes a second to import, so it is imported when the first figure is drawn.
"""

from __future__ import annotations

from effv2_tune.report.figures.contour import contour_figure
from effv2_tune.report.figures.curves import curves_figure
from effv2_tune.report.figures.front import front_figure
from effv2_tune.report.figures.importance import importance_figure
from effv2_tune.report.figures.picture import write_picture
from effv2_tune.report.figures.progress import growth_figure, time_figure
from effv2_tune.report.figures.timeline import timeline_figure

__all__ = [
    "contour_figure",
    "curves_figure",
    "front_figure",
    "growth_figure",
    "importance_figure",
    "time_figure",
    "timeline_figure",
    "write_picture",
]
