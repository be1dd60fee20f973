"""The sentences that page and notebook begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import STATE_WORDS, network_of, quality_of, seconds_of
from effv2_tune.report.quantities import human_seconds, label_of, pluralized
from effv2_tune.report.table import parameter_names

if TYPE_CHECKING:
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def search_sentence(findings: Analysis) -> str:
    """What was searched, and on which device."""
    given = findings.given
    names = [label_of(name) for name in parameter_names(given.trials)]
    if not names:
        return "Nothing has been tried yet."
    devices = [found.device for found in findings.devices]
    return (
        f"{pluralized(len(given.trials), 'trial')} over {joined(names)}, compared by validation "
        f"{label_of(given.quality)} and training time on {joined(devices)}."
    )


def state_sentence(findings: Analysis) -> str:
    """How many trials are in which state."""
    if not findings.states:
        return ""
    parts = [f"{count:,} {STATE_WORDS[state]}" for state, count in findings.states.items()]
    return f"{joined(parts)[:1].upper()}{joined(parts)[1:]}."


def front_sentence(findings: Analysis, device: DeviceAnalysis) -> str:
    """The front of one device in words: a figure's text alternative."""
    if device.best is None or device.fastest is None:
        return f"No trial is complete on {device.device}, so there is no front yet."
    ends = f"from {_point(device.fastest, findings)} to {_point(device.best, findings)}"
    if len(device.front) == 1:
        ends = f"{_point(device.best, findings)}, which nothing beats"
    knee = f" The knee is {_point(device.knee, findings)}." if device.knee is not None else ""
    return (
        f"{pluralized(len(device.front), 'trial')} of {len(device.complete)} complete "
        f"{'is' if len(device.front) == 1 else 'are'} on the front: {ends}.{knee}"
    )


def definitions(given: ReportInput) -> list[tuple[str, str]]:
    """What the numbers mean: a heading and a paragraph each."""
    better = "higher" if given.quality_direction == "maximize" else "lower"
    scale = "mean cross-entropy" if given.quality == "loss" else "from 0 to 1"
    quality = (
        f"Validation {label_of(given.quality)} ({scale}, {better} is better) of the weights that "
        "the recipe selects, which are those after the last epoch unless it says otherwise."
    )
    time = (
        "The seconds that the standard run of a recipe spends in training steps on this kind of "
        "device: planned steps times the step time measured once for each bucket, plus one feature "
        "extraction where the backbone is frozen. Compilation, evaluation, checkpoints and waiting "
        "are not in it and are listed apart; times of different kinds of device are never drawn "
        "on one axis."
    )
    splits = (
        "The search compares trials on the validation images only, so that the best of many looks "
        "a little better there than it is. The test images stay untouched until 'effv2-tune train' "
        "uses them once, for the recipe that was chosen: report that number."
    )
    front = (
        "A trial is on the front if no other trial is at least as good and at least as fast, and "
        "better in one of the two. The knee is where the front bends most, with time on a "
        "logarithmic axis: beyond it, doubling the time buys less quality."
    )
    return [
        ("Quality", quality),
        ("Training time", time),
        ("Validation and test", splits),
        ("Pareto front and knee", front),
    ]


def joined(names: list[str]) -> str:
    """Names in a row, with commas and a last "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _point(trial: Trial, findings: Analysis) -> str:
    return (
        f"trial {trial.number} ({network_of(trial)}, {label_of(findings.given.quality)} "
        f"{quality_of(trial):.4f} in {human_seconds(seconds_of(trial))})"
    )
