"""Writes the comparison of studies as one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from effv2_tune.files.atomic import write_text
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.report.analysis import network_of
from effv2_tune.report.figures.comparison import (
    Look,
    bounds_of_fronts,
    fronts_figure,
    hypervolume_figure,
    look_of,
)
from effv2_tune.report.figures.palette import DARK, PALETTE_NAME
from effv2_tune.report.html.page import plain_figure
from effv2_tune.report.html.rendering import asset, render
from effv2_tune.report.html.sections import Plot, View
from effv2_tune.report.html.trial_details import export_command
from effv2_tune.report.quantities import human_seconds, label_of, percent, with_error
from effv2_tune.report.step_times import seconds_text
from effv2_tune.report.text import joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from effv2_tune.report.comparison.studies import Comparison, DeviceComparison, Member
    from effv2_tune.study.trial import Trial

SCRIPTS = ("selection.js", "figures.js", "copying.js", "page.js")


class ComparedSection(NamedTuple):
    """The section of one kind of device.

    Attributes:
        name: The element's id.
        title: Its heading.
        fronts: The fronts over each other.
        growth: The growth of the hypervolumes.
        legend: The look and label of each study.
        reference: What the hypervolumes are measured from.
        rows: Of the table of hypervolumes: a text by header.
        picks: Of the table of picks: a text by header, and the command that exports it.
    """

    name: str
    title: str
    fronts: Plot
    growth: Plot
    legend: Sequence[tuple[Look, str]]
    reference: str
    rows: Sequence[dict[str, str]]
    picks: Sequence[tuple[dict[str, str], str]]


def write_comparison(comparison: Comparison, path: Path, *, written: str = "") -> Path:
    """Write the comparison to one HTML file, atomically.

    Args:
        comparison: Of the studies.
        path: The file to write; its folder is created if it does not exist.
        written: When and by which version; empty leaves it out.

    Returns:
        ``path``.

    Raises:
        TuneError: The file cannot be written.
    """
    text = comparison_html(comparison, written=written)
    hint = "Name a folder that exists and that you may write to."
    with disk_errors(f"The comparison cannot be written to {path}", hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def comparison_html(comparison: Comparison, *, written: str = "") -> str:
    """The comparison's HTML, complete in itself."""
    from plotly.offline import get_plotlyjs

    sections = [
        _section(comparison, device, position) for position, device in enumerate(comparison.devices)
    ]
    return render(
        "comparison.html.j2",
        title=joined(list(comparison.labels)),
        comparison=comparison,
        sections=sections,
        data=_data(sections),
        palette=PALETTE_NAME,
        written=written,
        style=asset("page.css"),
        plotly=get_plotlyjs(),
        script="\n".join(map(asset, SCRIPTS)),
    )


def _data(sections: Sequence[ComparedSection]) -> dict[str, Any]:
    views = [view for one in sections for plot in (one.fronts, one.growth) for view in plot.views]
    return {
        "figures": {view.figure: plain_figure(view.draw()) for view in views},
        "dark": dict(DARK),
        "front": [],
        "trials": {},
    }


def _section(comparison: Comparison, device: DeviceComparison, position: int) -> ComparedSection:
    name, quality = f"fronts-{position}", label_of(comparison.quality)
    draw = partial(fronts_figure, comparison, device)
    views = [View(name, "All trials", draw)]
    if bounds_of_fronts(device, comparison.objective) is not None:
        views.insert(0, View(f"{name}-near", "Near the fronts", partial(draw, near_fronts=True)))
    shares = joined([f"{one.label} {one.share:.1%}" for one in device.members])
    alternative = f"Pareto fronts of {len(device.members)} studies; hypervolumes: {shares}."
    grown = partial(hypervolume_figure, comparison, device)
    growths = [
        View(f"growth-{position}-trials", "Over trials", partial(grown, "trials")),
        View(f"growth-{position}-time", "Over time", partial(grown, "time")),
    ]
    reference = (
        f"{quality} {device.reference.quality:.4f} in "
        f"{human_seconds(device.reference.train_seconds)}"
    )
    return ComparedSection(
        name,
        f"Pareto fronts on {device.device}",
        Plot(f"plot-{name}", views, alternative, 500),
        Plot(f"plot-growth-{position}", growths, f"Growth of the hypervolumes: {shares}.", 340),
        [(look_of(comparison, one.label), one.label) for one in device.members],
        reference,
        [_row(one, quality) for one in device.members],
        [pick for one in device.members for pick in _picks(one, quality)],
    )


def _row(one: Member, quality: str) -> dict[str, str]:
    device = one.device
    best = "" if device.best is None else f"{device.qualities[device.best.number]:.4f}"
    return {
        "study": one.label,
        "hypervolume": f"{one.hypervolume:.4g}",
        "share": f"{one.share:.1%}",
        "on the joint front": f"{len(one.joint)} of {len(device.front)}",
        f"best {quality}": best,
        "complete trials": f"{len(device.complete):,} of {len(device.trials):,}",
        "wall time": human_seconds(sum(trial.times.wall for trial in device.trials)),
    }


def _picks(one: Member, quality: str) -> list[tuple[dict[str, str], str]]:
    device = one.device
    chosen = {"fastest": device.fastest, "knee": device.knee, "most accurate": device.best}
    places: dict[int, list[str]] = {}
    trials: dict[int, Trial] = {}
    for place, trial in chosen.items():
        if trial is not None:
            places.setdefault(trial.number, []).append(place)
            trials[trial.number] = trial
    return [
        (
            {
                "pick": ", ".join(places[number]),
                "study": one.label,
                "trial": str(number),
                quality: f"{device.qualities[number]:.4f}",
                **_expected(one, number),
                "training time": seconds_text(trial),
                "network": network_of(trial),
            },
            export_command(one.folder, trial),
        )
        for number, trial in trials.items()
    ]


def _expected(one: Member, number: int) -> dict[str, str]:
    its = one.device.expected.get(number)
    if its is None:
        return {"expected": "", "on front": ""}
    estimate = its.estimate
    return {
        "expected": with_error(estimate.quality, estimate.standard_error),
        "on front": percent(its.on_front),
    }
