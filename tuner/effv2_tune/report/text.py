"""Describes a study in sentences: the search, the states, the front, the definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import STATE_WORDS, network_of, quality_of, seconds_of
from effv2_tune.report.quantities import human_seconds, label_of, pluralized
from effv2_tune.report.table import parameter_names

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def summary(analysis: Analysis) -> str:
    """The search and the states of its trials."""
    return f"{search_sentence(analysis)} {state_sentence(analysis)}"


def search_sentence(analysis: Analysis) -> str:
    """The search space, the objectives and the devices."""
    study = analysis.study
    names = [label_of(name) for name in parameter_names(study.trials)]
    if not names:
        return "Nothing has been tried yet."
    devices = [device.device for device in analysis.devices]
    return (
        f"{pluralized(len(study.trials), 'trial')} over {joined(names)}, compared by validation "
        f"{label_of(study.quality)} and training time on {joined(devices)}."
    )


def state_sentence(analysis: Analysis) -> str:
    """The number of trials in each state."""
    if not analysis.states:
        return ""
    parts = [f"{count:,} {STATE_WORDS[state]}" for state, count in analysis.states.items()]
    return f"{joined(parts)[:1].upper()}{joined(parts)[1:]}."


def front_sentence(analysis: Analysis, device: DeviceAnalysis) -> str:
    """The front of one device in words: the text alternative of its figure."""
    if device.best is None or device.fastest is None:
        return f"No trial is complete on {device.device}, so there is no front yet."
    ends = f"from {_point(device.fastest, analysis)} to {_point(device.best, analysis)}"
    if len(device.front) == 1:
        ends = f"{_point(device.best, analysis)}, which no other trial dominates"
    knee = f" The knee is {_point(device.knee, analysis)}." if device.knee is not None else ""
    return (
        f"{pluralized(len(device.front), 'trial')} of {len(device.complete)} complete "
        f"{'is' if len(device.front) == 1 else 'are'} on the Pareto front: {ends}.{knee}"
    )


def definitions(study: ReportInput) -> list[tuple[str, str]]:
    """Definitions of the quantities: a heading and a paragraph each."""
    better = "lower" if study.quality == "loss" else "higher"
    scale = "mean cross-entropy" if study.quality == "loss" else "from 0 to 1"
    quality = (
        f"Validation {label_of(study.quality)} ({scale}, {better} is better) of the weights that "
        "the recipe selects: those after the last epoch by default."
    )
    time = (
        "Seconds that the final training of a recipe spends in training steps on this kind of "
        "device: planned steps times the step time benchmarked once for each bucket, plus one "
        "feature extraction if the backbone is frozen. Compilation, evaluation, checkpoints and "
        "waiting are not included and are listed separately; times on different kinds of device "
        "are never drawn on one axis."
    )
    splits = (
        "The search compares trials on the validation images only, so the score of the best of "
        "many is slightly optimistic. The test images stay untouched until 'effv2-tune train' "
        "uses them once, for the chosen recipe: report that score."
    )
    front = (
        "A trial is on the Pareto front if no other trial dominates it, that is, if none is at "
        "least as good and at least as fast, and better in one of the two. The knee is where the "
        "front bends most, with time on a logarithmic axis: beyond it, doubling the time gains "
        "less quality."
    )
    return [
        ("Quality", quality),
        ("Training time", time),
        ("Validation and test", splits),
        ("Pareto front and knee", front),
    ]


def joined(names: list[str]) -> str:
    """Names as a list in prose, with commas and a final "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _point(trial: Trial, analysis: Analysis) -> str:
    return (
        f"trial {trial.number} ({network_of(trial)}, {label_of(analysis.study.quality)} "
        f"{quality_of(trial):.4f} in {human_seconds(seconds_of(trial))})"
    )
