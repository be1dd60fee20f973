"""The front as a static picture: PNG, SVG or PDF."""

from __future__ import annotations

import html
import importlib.util
import math
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command
from effv2_tune.report.analysis import find, pixels_of, variant_of
from effv2_tune.report.figures.front import front_figure, quality_bounds
from effv2_tune.report.figures.palette import INK, PAPER, QUIET, resolution_symbols, variant_colour

if TYPE_CHECKING:
    from pathlib import Path

    import plotly.graph_objects as go

    from effv2_tune.report.analysis import DeviceAnalysis
    from effv2_tune.report.input import ReportInput

FORMATS = (".png", ".svg", ".pdf")
SHARPNESS = 2  # pixels of a PNG for each unit of width, for screens of high density


def write_picture(given: ReportInput, path: Path, *, width: int = 960, height: int = 540) -> Path:
    """Write the front as a picture for a README or a paper.

    The study's device with most complete trials is shown, near the front where that is clearer.

    Args:
        given: The study's facts and trials.
        path: The file to write; its suffix says which kind: .png, .svg or .pdf.
        width: In CSS pixels; a PNG has twice as many.
        height: Likewise.

    Returns:
        ``path``.

    Raises:
        TuneError: The kind is unknown, no trial is complete, or what draws pictures is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise TuneError(
            f"{path} has no suffix of a picture that can be written.",
            hint=f"Choose one of {', '.join(FORMATS)}.",
        )
    if importlib.util.find_spec("kaleido") is None:
        raise TuneError(
            "Pictures are drawn by kaleido, which is not installed.",
            hint=f"Install it: {install_command('images')}. It also needs Chrome or Chromium. "
            "The page (effv2-tune report) needs neither.",
            exit_code=EXIT_FAILED,
        )
    figure = picture_figure(given)
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(figure, path, width, height)
    return path


def picture_figure(given: ReportInput) -> go.Figure:
    """The front with title and legend, as it stands alone."""
    findings = find(given)
    if not findings.devices or not findings.devices[0].complete:
        raise TuneError(
            f"The study {given.name!r} has no complete trial, so there is no front to draw.",
            hint="Let it run on: the same 'effv2-tune run' continues.",
            exit_code=EXIT_FAILED,
        )
    device = findings.devices[0]
    bounds = quality_bounds(device, given.quality_direction)
    figure = front_figure(findings, device, near_front=bounds is not None)
    figure.for_each_trace(lambda trace: trace.update(showlegend=trace.name == "Pareto front"))
    figure.add_traces(_legend_traces(device, bounds))
    figure.update_layout(
        title={"text": _title(given.name, device.device), "x": 0.02, "font": {"size": 18}},
        showlegend=True,
        legend={"bgcolor": PAPER},
        margin={"t": 60},
        height=None,
        font_size=14,
    )
    return figure


def _legend_traces(device: DeviceAnalysis, bounds: tuple[float, float] | None) -> list[Any]:
    """Entries without points: a colour for each variant, a symbol for each resolution."""
    import plotly.graph_objects as go

    variants = sorted({variant_of(trial) for trial in device.complete})
    symbols = resolution_symbols({pixels_of(trial) for trial in device.trials})
    sizes = sorted({pixels_of(trial) for trial in device.complete})
    entries = [(name, {"symbol": "circle", "color": variant_colour(name)}) for name in variants]
    entries += [
        (f"{pixels} px", {"symbol": f"{symbols[pixels]}-open", "color": INK}) for pixels in sizes
    ]
    low, high = bounds or (-math.inf, math.inf)
    if any(low <= trial.rungs[-1].quality <= high for trial in device.pruned):
        entries.append(("stopped early", {"symbol": "x-thin-open", "color": QUIET}))
    return [
        go.Scatter(
            name=html.escape(name), x=[None], y=[None], mode="markers", marker={"size": 11, **look}
        )
        for name, look in entries
    ]


def _title(name: str, device: str) -> str:
    return html.escape(f"{name}: the Pareto front on {device}")


def _draw(figure: go.Figure, path: Path, width: int, height: int) -> None:
    from kaleido.errors import ChromeNotFoundError

    try:
        figure.write_image(path, width=width, height=height, scale=SHARPNESS)
    except (ChromeNotFoundError, RuntimeError) as error:
        # Plotly turns kaleido's missing browser into a RuntimeError.
        raise TuneError(
            f"The picture {path} was not drawn: {str(error).strip().splitlines()[0]}",
            hint="kaleido 1.x draws with Chrome or Chromium: install one (Debian: apt-get install "
            "chromium), or name it in the environment variable BROWSER_PATH.",
            exit_code=EXIT_FAILED,
        ) from error
    except OSError as error:
        raise TuneError(
            f"The picture cannot be written to {path}: {error.strerror or error}.",
            hint="Name a folder that exists and that you may write to.",
            exit_code=EXIT_FAILED,
        ) from error
