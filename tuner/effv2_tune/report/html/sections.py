"""Prepares the sections of the page: titles, sentences and figures, for the templates."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.plurals import pluralized
from effv2_tune.report import figures
from effv2_tune.report.analysis import STATE_WORDS, network_of, seconds_of
from effv2_tune.report.failures import ADVICE, failure_groups, failure_sentence
from effv2_tune.report.figures.curves import curve_title
from effv2_tune.report.figures.front import quality_bounds
from effv2_tune.report.growth import growth_points
from effv2_tune.report.importance import FEWEST_TRIALS, best_share
from effv2_tune.report.parallel import parallel_coordinates
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    percent,
    with_error,
)
from effv2_tune.report.spending import saved_seconds, spent_by_bucket, spent_seconds
from effv2_tune.report.text import certainty_sentences, front_sentence, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import plotly.graph_objects as go

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.failures import FailureGroup
    from effv2_tune.report.figures.curves import Curve
    from effv2_tune.report.growth import GrowthPoint
    from effv2_tune.report.input import ReportInput
    from effv2_tune.report.parallel import Coordinates
    from effv2_tune.study.trial import Environment, Trial

#: A front counts as settled from this share of its last hypervolume on.
SETTLED = 0.99


class View(NamedTuple):
    """One of the figures that a plot can show.

    Attributes:
        figure: Its name.
        label: The text of its button.
        draw: Draws it.
    """

    figure: str
    label: str
    draw: Callable[[], go.Figure]


class Plot(NamedTuple):
    """The place of a figure in the page.

    Attributes:
        name: The element's id.
        views: The figures to choose from, the first one shown at first.
        alternative: The figure in words.
        height: In CSS pixels.
        is_pickable: Whether its points are trials that can be pinned.
        is_list: Whether the views are chosen from a list, and not by buttons.
    """

    name: str
    views: Sequence[View]
    alternative: str
    height: int = 460
    is_pickable: bool = False
    is_list: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: The element's id.
        title: Its heading.
        text: A paragraph; in most sections, only without a figure.
        plot: Its figure.
        caption: Below the figure.
    """

    name: str
    title: str
    text: str = ""
    plot: Plot | None = None
    caption: str = ""


class ParallelSection(NamedTuple):
    """The section of parallel coordinates, which the page draws itself.

    Attributes:
        name: The element's id.
        title: Its heading.
        coordinates: Axes and trials.
    """

    name: str
    title: str
    coordinates: Coordinates


class FailureSection(NamedTuple):
    """The section of the trials without a result, which is at the top of the page.

    Attributes:
        sentence: How many there are.
        groups: Each with its state in words, and what to do about it.
    """

    sentence: str
    groups: Sequence[tuple[FailureGroup, str, str]]


class Card(NamedTuple):
    """A chosen trial at the top of the page."""

    title: str
    trial: int
    quality: float
    seconds: float
    network: str
    expected: str


def all_sections(analysis: Analysis) -> list[Section]:
    """Every section that can have a figure."""
    fronts = [
        front_section(analysis, device, position)
        for position, device in enumerate(analysis.devices)
    ]
    return [
        *fronts,
        *growth_sections(analysis),
        *importance_sections(analysis),
        curves_section(analysis),
        time_section(analysis),
    ]


def cards(analysis: Analysis, device: DeviceAnalysis) -> list[Card]:
    """Best quality, knee and fastest; a trial that is several of these has one card."""
    chosen = {"best quality": device.best, "knee": device.knee, "fastest": device.fastest}
    titles: dict[int, list[str]] = {}
    trials: dict[int, Trial] = {}
    for title, trial in chosen.items():
        if trial is not None:
            titles.setdefault(trial.number, []).append(title)
            trials[trial.number] = trial
    where = f" on {device.device}" if len(analysis.devices) > 1 else ""
    return [
        Card(
            as_sentence(joined(titles[number]), end="") + where,
            number,
            device.qualities[number],
            seconds_of(trial),
            network_of(trial),
            _expected_text(device, number),
        )
        for number, trial in trials.items()
    ]


def _expected_text(device: DeviceAnalysis, number: int) -> str:
    its = device.expected.get(number)
    if its is None:
        return ""
    estimate, on_front = its.estimate, f"on the front: {percent(its.on_front)}"
    if device.has_replicates:
        measured = f"measured {estimate.raw:.4f}"
        if estimate.replicates > 1:
            measured += f", mean of {estimate.replicates} trainings"
        return f"\N{PLUS-MINUS SIGN} {estimate.standard_error:.4f} ({measured}); {on_front}"
    return f"expected {with_error(estimate.quality, estimate.standard_error)}; {on_front}"


def front_section(analysis: Analysis, device: DeviceAnalysis, position: int) -> Section:
    """The Pareto front of one device."""
    name, title = f"front-{position}", f"The Pareto front on {device.device}"
    if not device.complete and not device.at_rungs:
        return Section(name, title, "No trial has been completed or compared here yet.")
    draw = partial(figures.front_figure, analysis, device)
    views = [View(name, "All trials", draw)]
    bounds = quality_bounds(device, analysis.study.objective)
    sentence = front_sentence(analysis, device)
    caption = [sentence]
    if device.front:
        caption.append(
            "The line is the front: the best quality that a trial reached within each time budget."
        )
    if device.expected and device.front:
        caption.append(
            "Vertical lines are 90 % intervals of the expected quality, with a dot at the "
            "estimate: of the front, and of the outlined trials, which cannot be distinguished "
            "from it."
        )
        caption += certainty_sentences(device)
    if device.order.uncertain:
        caption.append(device.order.sentence())
    caption += _rung_sentences(device)
    if device.trainings:
        caption.append(
            "A number such as '\N{MULTIPLICATION SIGN}3' is beside trials that were trained with "
            "several seeds."
        )
    if bounds is not None:
        views.insert(0, View(f"{name}-near", "Near the front", partial(draw, near_front=True)))
        outside = pluralized(_count_outside(device, bounds), "trial")
        caption.append(f"'Near the front' leaves out {outside} of lesser quality.")
    return Section(
        name,
        title,
        plot=Plot(f"plot-{name}", views, sentence, is_pickable=True),
        caption=" ".join(caption),
    )


def failure_section(study: ReportInput) -> FailureSection | None:
    """The trials without a result; None where there are none."""
    groups = failure_groups(study)
    if not groups:
        return None
    return FailureSection(
        failure_sentence(groups, study),
        [(group, STATE_WORDS[group.state], ADVICE[group.state]) for group in groups],
    )


def importance_sections(analysis: Analysis) -> list[Section]:
    """How much each hyperparameter matters, on the device with most complete trials."""
    if not analysis.devices or not analysis.devices[0].complete:
        return []
    device = analysis.devices[0]
    complete, quality = len(device.complete), label_of(analysis.study.quality)
    name, title = "importance", "What matters"
    found = device.importances
    if not all(found.values()):
        text = (
            f"The importance of the hyperparameters is estimated from {FEWEST_TRIALS} complete "
            f"trials on; there are {complete}."
        )
        return [Section(name, title, text)]
    labels = {"quality": f"For {quality}", "time": "For training time"}
    views = [
        View(
            f"{name}-{goal}",
            labels[goal],
            partial(figures.importance_figure, found[goal], complete),
        )
        for goal in found
    ]
    most = [
        f"{label_of(one.parameter)} ({percent(one.share)}) {labels[goal][:1].lower()}"
        f"{labels[goal][1:]}"
        for goal in found
        for one in found[goal][:1]
    ]
    alternative = f"Most important: {joined(most)}."
    conditional = [label_of(one.parameter) for one in found["quality"] if one.trials < complete]
    caption = (
        f"{alternative} By PED-ANOVA: how much the values of the best "
        f"{percent(best_share(complete))} of the {complete} complete trials differ from those of "
        "all, as a share of all hyperparameters. Pruned trials do not count, and the sampler's own "
        "preferences do not either, as it is relative to what was tried. Lines are 90 % intervals "
        "from resampling the trials; where they overlap, the order is not certain."
    )
    if conditional:
        caption += (
            f" {as_sentence(joined(conditional), end='')} exist only under a condition: they are "
            "rated by the trials that have them, and by what the condition itself changes."
        )
    where = f" on {device.device}" if len(analysis.devices) > 1 else ""
    plot = Plot(f"plot-{name}", views, alternative, 110 + 34 * len(found["quality"]))
    return [Section(name, f"{title}{where}", plot=plot, caption=caption)]


def parallel_sections(analysis: Analysis) -> list[ParallelSection]:
    """Parallel coordinates of each device with two complete trials or more."""
    several = len(analysis.devices) > 1
    return [
        ParallelSection(
            f"parallel-{position}",
            "All hyperparameters together" + (f" on {device.device}" if several else ""),
            parallel_coordinates(analysis, device),
        )
        for position, device in enumerate(analysis.devices)
        if device.complete[1:]
    ]


def curves_section(analysis: Analysis) -> Section:
    """The learning curves."""
    name, title, quality = "curves", "Learning curves", analysis.study.quality
    trained = [trial for trial in analysis.study.trials if trial.curve]
    if not trained:
        return Section(name, title, "No trial has ended an epoch yet.")
    curves: list[Curve] = ["quality", "validation_loss", "train_loss"]
    if quality == "loss":
        curves.remove("validation_loss")
    views = [
        View(
            f"curves-{curve}",
            as_sentence(curve_title(curve, quality), end=""),
            partial(figures.curves_figure, analysis, curve),
        )
        for curve in curves
    ]
    alternative = (
        f"Learning curves of {pluralized(len(trained), 'trial')}, one line each, over the epochs; "
        "those of the front are coloured and labelled with their numbers."
    )
    caption = (
        "Coloured by variant and labelled with their numbers: the trials on the front. Grey: all "
        "others; dotted where a trial was not completed."
    )
    return Section(name, title, plot=Plot("plot-curves", views, alternative), caption=caption)


def growth_sections(analysis: Analysis) -> list[Section]:
    """The hypervolume over the search, on each device with two points or more, and growth."""
    growths = [growth_points(device, analysis.study) for device in analysis.devices]
    return [
        _growth_section(analysis, points, position)
        for position, points in enumerate(growths)
        if points[1:] and points[-1].share > 0
    ]


def _growth_section(analysis: Analysis, points: list[GrowthPoint], position: int) -> Section:
    name = f"growth-{position}"
    views = [
        View(f"{name}-trials", "Over trials", partial(figures.growth_figure, points, "trials")),
        View(f"{name}-time", "Over time", partial(figures.growth_figure, points, "time")),
    ]
    settled = next(point for point in points if point.share >= SETTLED)
    newest = max((point for point in points if point.is_new_point), key=lambda point: point.ended)
    caption = (
        "The hypervolume is the area in the plane of quality and logarithmic time that the front "
        "dominates, down to a point a tenth of the front's own range beyond its worst quality and "
        "its longest time; once it stops growing, more trials gain little. A gain within one "
        "standard error of the difference counts as noise; dots mark the trials that added a point "
        "to the front by more. The hypervolume came within 1 % of its last value after "
        f"{pluralized(settled.ended, 'trial')} ({human_seconds(settled.seconds)}); the last new "
        f"point is trial {newest.trial}, after which "
        f"{pluralized(points[-1].ended - newest.ended, 'trial')} ended."
    )
    devices = analysis.devices
    where = f" on {devices[position].device}" if len(devices) > 1 else ""
    plot = Plot(f"plot-{name}", views, caption, 340, is_pickable=True)
    return Section(name, f"How the front grew{where}", plot=plot, caption=caption)


def time_section(analysis: Analysis) -> Section:
    """The time of the workers."""
    name, title, trials = "time", "Where the time went", analysis.study.trials
    total = sum(spent_seconds(trials).values())
    if total <= 0:
        return Section(name, title, "No time has been recorded yet.")
    sentences = [f"The workers spent {human_seconds(total)} in all."]
    saved = saved_seconds(trials)
    if saved > 0:
        sentences.append(
            f"Stopping trials early saved about {human_seconds(saved)} of training, by their "
            "projected times."
        )
    bars = spent_by_bucket(trials)
    plot = Plot(
        "plot-time",
        [View("time", "By bucket", partial(figures.time_figure, bars))],
        "Wall time by bucket and kind of work; the totals are listed below the figure.",
        110 + 34 * len(bars),
    )
    return Section(
        name,
        title,
        " ".join([*sentences, *analysis.time_sentences()]),
        plot,
        "A bucket is everything that forces a new compilation; trials of one bucket compile once.",
    )


def next_commands(analysis: Analysis) -> tuple[str, list[str]]:
    """A sentence, and the commands to run next."""
    folder = shlex.quote(analysis.study.folder)
    if not analysis.front:
        advice = "A point can be chosen once a trial is complete. To see the state of the study:"
        return advice, [f"effv2-tune status {folder}"]
    advice = (
        "Choose a point of the front and train it: the final training uses the test images once, "
        "and writes test accuracy, history and a saved model."
    )
    others = "   # or: most-accurate, fastest, trial=N"
    return advice, [
        f"effv2-tune export {folder} --pick knee -o train.yaml{others}",
        "effv2-tune train train.yaml",
    ]


def environments(trials: Sequence[Trial]) -> list[tuple[int, dict[str, str]]]:
    """Each environment that trials ran in, with their number."""
    counts: dict[str, int] = {}
    facts: dict[str, dict[str, str]] = {}
    for trial in trials:
        if trial.environment is not None:
            key = trial.environment.model_dump_json()
            counts[key] = counts.get(key, 0) + 1
            facts[key] = _environment_facts(trial.environment)
    return [(counts[key], facts[key]) for key in facts]


def as_sentence(text: str, end: str = ".") -> str:
    """The text with a capital letter and a full stop."""
    stopped = text if not text or text.endswith((".", "!", "?")) else f"{text}{end}"
    return stopped[:1].upper() + stopped[1:]


def _environment_facts(environment: Environment) -> dict[str, str]:
    devices = pluralized(environment.device_count, "device")
    return {
        "device": f"{environment.device_kind} ({devices} used)",
        "backend": f"{environment.backend}, {environment.precision}",
        "host": f"{environment.host}, {pluralized(environment.threads, 'CPU thread')}",
        "versions": ", ".join(f"{name} {text}" for name, text in environment.versions.items()),
    }


def _rung_sentences(device: DeviceAnalysis) -> list[str]:
    """What the marks of pruned and paused trials mean."""
    paused = sum(trial.state == "paused" for trial in device.at_rungs)
    pruned = len(device.at_rungs) - paused
    where = "at their quality so far and their projected time"
    sentences = []
    if pruned:
        sentences.append(
            f"Thin crosses are trials stopped early ({pruned}), {where}: they were not completed "
            "and are not measurements."
        )
    if paused:
        sentences.append(f"Hourglasses are paused trials ({paused}), {where}.")
    return sentences


def _count_outside(device: DeviceAnalysis, bounds: tuple[float, float]) -> int:
    low, high = bounds
    qualities = list(device.qualities.values())
    qualities += [trial.rungs[-1].quality for trial in device.at_rungs]
    return sum(not low <= quality <= high for quality in qualities)
