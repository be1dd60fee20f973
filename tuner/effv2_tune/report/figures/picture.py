"""Writes the Pareto front as a picture: PNG, SVG or PDF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import replacing
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.figures.palette import INK, PAPER
from effv2_tune.report.figures.static import legend_handles, static_front, static_style

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from effv2_tune.report.input import ReportInput

#: Without the date, a picture depends on its study alone.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
SHARPNESS = 2  # pixels of a PNG for each CSS pixel, for screens of high density


def write_picture(study: ReportInput, path: Path, *, width: int = 960, height: int = 540) -> Path:
    """Write the front as a picture for a README or a paper, atomically.

    It shows the device with most complete trials, near the front where that is clearer.

    Args:
        study: The study's facts and trials.
        path: The file to write; its suffix is .png, .svg or .pdf.
        width: In CSS pixels; a PNG has twice as many.
        height: Likewise.

    Returns:
        ``path``.

    Raises:
        TuneError: The suffix is unknown, no trial is complete, or the file cannot be written.
    """
    check_picture(path)
    with static_style(font_size=14):
        save_picture(picture_figure(study, width=width, height=height), path)
    return path


def check_picture(path: Path) -> None:
    """Check the suffix of a picture before it is drawn.

    Raises:
        TuneError: It is none of those that can be written.
    """
    if path.suffix.lower() not in METADATA:
        raise TuneError(
            f"{path} has no suffix of a picture that can be written.",
            hint=f"Choose one of {', '.join(METADATA)}.",
        )


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure atomically; call it within ``static_style``.

    Raises:
        TuneError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    hint = "Name a folder that exists and that you may write to."
    with disk_errors(f"The picture cannot be written to {path}", hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, suffix=suffix) as file:
            figure.savefig(file.name, dpi=SHARPNESS * figure.dpi, metadata=METADATA[suffix])


def picture_figure(study: ReportInput, *, width: int = 960, height: int = 540) -> Figure:
    """The front with title and legend; call it within ``static_style``."""
    analysis = analyse(study)
    if not analysis.devices or not analysis.devices[0].complete:
        raise TuneError(
            f"The study {study.name!r} has no complete trial, so there is no front to draw.",
            hint="Let it run longer: the same 'effv2-tune run' resumes it.",
            exit_code=EXIT_FAILED,
        )
    device = analysis.devices[0]
    bounds = quality_bounds(device, study.objective)
    low, high = bounds or (-math.inf, math.inf)
    at_rungs = [trial for trial in device.at_rungs if low <= trial.rungs[-1].quality <= high]
    figure = static_front(
        analysis, device, width=width, height=height, bounds=bounds, at_rungs=at_rungs
    )
    figure.set_facecolor(PAPER)
    figure.set_layout_engine("constrained", w_pad=0.25, h_pad=0.2)
    figure.axes[0].grid(axis="x", color=INK, alpha=0.08)
    figure.axes[0].set_title(
        f"{study.name}: the Pareto front on {device.device}", loc="left", size=18, pad=20
    )
    handles = legend_handles(device, at_rungs)
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure
