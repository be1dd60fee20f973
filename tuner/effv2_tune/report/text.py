"""Describes a study in sentences: the search, the states, the front, the definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.plurals import pluralized
from effv2_tune.report.analysis import STATE_WORDS, network_of, seconds_of
from effv2_tune.report.candidates import POSSIBLE
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    percent,
)
from effv2_tune.report.tables.trials import parameter_names

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
        f"{_counted(study)} over {joined(names)}, compared by validation "
        f"{label_of(study.quality)} and training time on {joined(devices)}."
    )


def state_sentence(analysis: Analysis) -> str:
    """The number of trials in each state."""
    if not analysis.states:
        return ""
    parts = [f"{count:,} {STATE_WORDS[state]}" for state, count in analysis.states.items()]
    sentence = f"{joined(parts)[:1].upper()}{joined(parts)[1:]}."
    replicates = sum(trial.replicate_of is not None for trial in analysis.study.trials)
    if replicates:
        sentence += f" {pluralized(replicates, 'training')} with other seeds (replicates)."
    return sentence


def front_sentence(analysis: Analysis, device: DeviceAnalysis) -> str:
    """The front of one device in words: the text alternative of its figure."""
    if device.best is None or device.fastest is None:
        return f"No trial is complete on {device.device}, so there is no front yet."
    quality = label_of(analysis.study.quality)
    best = _point(device.best, device, quality)
    ends = f"from {_point(device.fastest, device, quality)} to {best}"
    if len(device.front) == 1:
        ends = f"{best}, which no other trial dominates"
    knee = ""
    if device.knee is not None:
        knee = f" The knee is {_point(device.knee, device, quality)}."
    return (
        f"{pluralized(len(device.front), 'trial')} of {len(device.complete)} complete "
        f"{'is' if len(device.front) == 1 else 'are'} on the Pareto front: {ends}.{knee}"
    )


def certainty_sentences(device: DeviceAnalysis) -> list[str]:
    """How sure the front of one device is; nothing where no errors are known."""
    if not device.expected or not device.front:
        return []
    by = "expected" if device.has_replicates else "measured"
    columns = (
        f"The front is that of the {by} values. 'Expected' is the estimate for other images and "
        "seeds, with its standard error: the best of many measured values is on average too good, "
        "so each is drawn towards the others. 'On front' is the probability that no other trial "
        "truly dominates it."
    )
    if not device.possible:
        return [columns]
    numbers = joined([str(trial.number) for trial in device.possible])
    noun = "Trial" if len(device.possible) == 1 else "Trials"
    possible = (
        f"{noun} {numbers} cannot be distinguished from the front: truly on it with a probability "
        f"of {percent(POSSIBLE)} or more."
    )
    return [columns, possible]


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
    certainty = (
        "A measured quality has a standard error, as the validation images are a sample: binomial "
        "for accuracy and top-5, from a bootstrap over the counts of each class for balanced "
        "accuracy and macro-F1, from the variance between images for the loss. The expected "
        "quality is a shrunken estimate (empirical Bayes) with a 90 % interval, which also covers "
        "the choice of the images and of the seed. Trials that are not on the front but truly "
        f"belong to it with a probability of {percent(POSSIBLE)} or more are marked: only "
        "trainings with other seeds distinguish them from the front."
    )
    return [
        ("Quality", quality),
        ("Training time", time),
        ("Validation and test", splits),
        ("Pareto front and knee", front),
        ("How sure is the front?", certainty),
    ]


def joined(names: list[str]) -> str:
    """Names as a list in prose, with commas and a final "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(study: ReportInput) -> str:
    """The number of trials, and of replicates where there are any."""
    trials, replicates = len(study.searched), len(study.trials) - len(study.searched)
    if not replicates:
        return pluralized(trials, "trial")
    return f"{pluralized(trials, 'trial')} and {pluralized(replicates, 'replicate')}"


def _point(trial: Trial, device: DeviceAnalysis, quality: str) -> str:
    return (
        f"trial {trial.number} ({network_of(trial)}, {quality} "
        f"{device.qualities[trial.number]:.4f} in {human_seconds(seconds_of(trial))})"
    )
