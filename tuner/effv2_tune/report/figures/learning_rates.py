"""Draws the loss of a range test against the learning rate, as a picture: PNG, SVG or PDF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.report.figures.palette import INK, PAPER, QUIET
from effv2_tune.report.figures.picture import check_picture, save_picture
from effv2_tune.report.figures.static import DOTS_PER_INCH, static_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The axis ends so many times the fall of the loss above the first losses.
_ABOVE = 0.3
_HEIGHT_EACH = 260  # CSS pixels


@dataclass(frozen=True)
class RangeCurve:
    """The range test of a bucket, to be drawn.

    Attributes:
        label: Of the bucket.
        rates: Learning rates of the steps.
        losses: Of the steps.
        smoothed: The same without noise.
        initial: The bounds proposed for `initial_learning_rate`; None for no proposal.
        maximal: Likewise for `maximal_learning_rate`.
    """

    label: str
    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    initial: tuple[float, float] | None
    maximal: tuple[float, float] | None


def write_range_picture(curves: Sequence[RangeCurve], path: Path, *, width: int = 960) -> Path:
    """Write the range tests of some buckets as one picture, one below the other, atomically.

    Args:
        curves: The tests; at least one.
        path: The file to write; its suffix is .png, .svg or .pdf.
        width: In CSS pixels; a PNG has twice as many.

    Returns:
        ``path``.

    Raises:
        TuneError: The suffix is unknown, or the file cannot be written.
    """
    check_picture(path)
    with static_style(font_size=14):
        save_picture(range_figure(curves, width=width), path)
    return path


def range_figure(curves: Sequence[RangeCurve], *, width: int = 960) -> Figure:
    """The losses of each bucket; call it within ``static_style``."""
    from matplotlib.figure import Figure

    size = (width / DOTS_PER_INCH, len(curves) * _HEIGHT_EACH / DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    figure.set_facecolor(PAPER)
    for axes, curve in zip(figure.subplots(len(curves), squeeze=False).flat, curves, strict=True):
        _draw(axes, curve)
    return figure


def _draw(axes: Axes, curve: RangeCurve) -> None:
    from matplotlib.ticker import NullFormatter

    axes.set_title(curve.label, loc="left")
    axes.set_xscale("log")
    # Plain text: `static_style` parses no mathematics, which Matplotlib's labels are.
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.scatter(curve.rates, curve.losses, s=6, color=QUIET, alpha=0.6, linewidths=0)
    axes.plot(curve.rates, curve.smoothed, color=INK, linewidth=2)
    finite = [loss for loss in curve.smoothed if math.isfinite(loss)]
    if finite:
        fall = max(finite[0] - min(finite), 0.1 * abs(finite[0]))
        axes.set_ylim(min(finite) - _ABOVE * fall, finite[0] + _ABOVE * fall)
    ranges = {"initial_learning_rate": curve.initial, "maximal_learning_rate": curve.maximal}
    for shade, (name, bounds) in enumerate(ranges.items(), 1):
        if bounds is not None:
            axes.axvspan(*bounds, color=INK, alpha=0.06 * shade, label=name, linewidth=0)
    if curve.maximal is not None:
        axes.legend(loc="lower left", frameon=False)
