"""The report's figures by name: functions from findings to Plotly figures, and to a picture.

Plotly takes a second to import, so that each function imports it when it is called.
"""

from __future__ import annotations

from effv2_tune.report.curves_figure import curves_figure
from effv2_tune.report.front_figure import front_figure
from effv2_tune.report.picture import write_picture
from effv2_tune.report.search_figures import growth_figure, time_figure

__all__ = ["curves_figure", "front_figure", "growth_figure", "time_figure", "write_picture"]
