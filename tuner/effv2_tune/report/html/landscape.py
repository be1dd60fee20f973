"""Prepares the sections of the page that show objectives against hyperparameters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.plurals import pluralized
from effv2_tune.report import figures
from effv2_tune.report.html.sections import Plot, Section, View
from effv2_tune.report.landscape.contours import FEWEST_TRIALS, LEAST_EXPLAINED, contours
from effv2_tune.report.landscape.slices import slices_of
from effv2_tune.report.quantities import (
    label_of,
    percent,
)

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.landscape.contours import Contour
    from effv2_tune.report.landscape.slices import Slices


class SliceSection(NamedTuple):
    """The section of each hyperparameter, which the page draws itself.

    Attributes:
        name: The element's id.
        title: Its heading.
        slices: Axes and trials.
        kinds: How trials are marked, those that occur; with their names.
        caption: Below the figures.
    """

    name: str
    title: str
    slices: Slices
    kinds: dict[str, str]
    caption: str


_KINDS = {
    "front": "on the front",
    "complete": "complete",
    "pruned": "stopped early",
    "paused": "paused",
    "none": "no result",
}


def slice_sections(analysis: Analysis) -> list[SliceSection]:
    """Each hyperparameter against both objectives, on each device with two complete trials."""
    several = len(analysis.devices) > 1
    found = []
    for position, device in enumerate(analysis.devices):
        if not device.complete[1:]:
            continue
        slices = slices_of(analysis, device)
        if not slices.axes:
            continue
        title = "Each hyperparameter" + (f" on {device.device}" if several else "")
        kinds = {kind: text for kind, text in _KINDS.items() if kind in slices.kinds}
        name = f"slices-{position}"
        found.append(SliceSection(name, title, slices, kinds, _slice_caption(slices, kinds)))
    return found


def _slice_caption(slices: Slices, kinds: dict[str, str]) -> str:
    sentences = ["Quality above, training time below, for each value that was tried."]
    if "pruned" in kinds or "paused" in kinds:
        sentences.append(
            "Trials that were not completed are at their quality so far and their projected time."
        )
    below = ["trials without a result"] if "none" in kinds else []
    if slices.worst:
        below.append(f"those worse than {slices.worst}")
    if below:
        sentences.append(f"Below each axis: {' and '.join(below)}.")
    sentences.append(
        "The other hyperparameters differ between the trials, and the sampler prefers values that "
        "it found to be good, so a trend here need not be the effect of the hyperparameter alone."
    )
    return " ".join(sentences)


def contour_section(analysis: Analysis) -> Section | None:
    """The quality over two hyperparameters; None where no two can be paired."""
    if not analysis.devices or not analysis.devices[0].complete:
        return None
    device, quality = analysis.devices[0], analysis.study.quality
    found = contours(device)
    if not found:
        return None
    where = f" on {device.device}" if len(analysis.devices) > 1 else ""
    views = [
        View(
            f"contour-{place}",
            _pair_text(pair),
            partial(figures.contour_figure, pair, quality, analysis.front),
        )
        for place, pair in enumerate(found)
    ]
    words = label_of(quality)
    alternative = f"Validation {words} over {found[0].title}, one point for each complete trial."
    plot = Plot("plot-contour", views, alternative, 480, is_pickable=True, is_list=True)
    title = f"Two hyperparameters together{where}"
    return Section("contour", title, plot=plot, caption=_contour_caption(found, words))


def _pair_text(pair: Contour) -> str:
    if pair.explained is None:
        return pair.title
    return f"{percent(max(pair.explained, 0.0))}: {pair.title}"


def _contour_caption(found: list[Contour], quality: str) -> str:
    points = "Points are complete trials, diamonds those of the front; the lighter, the better."
    known = [pair for pair in found if pair.explained is not None]
    if not known:
        count = pluralized(FEWEST_TRIALS, "complete trial")
        return f"{points} Contours are estimated from {count} on: fewer would be guesswork."
    return (
        f"{points} Contours are the {quality} to expect of a trial there, by kernel regression, "
        "only within the convex hull of the trials and near one of them: nothing is extrapolated. "
        f"The percentage is the share of the variance of the {quality} that the two predict for a "
        "trial that was left out; the rest is due to the others and to noise. "
        f"Where it is below {percent(LEAST_EXPLAINED)}, only the points are drawn."
    )
