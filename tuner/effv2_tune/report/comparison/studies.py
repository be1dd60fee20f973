"""Compares studies: fronts on the devices that they share, hypervolumes with one reference."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from effv2_tune.errors import TuneError
from effv2_tune.pareto import front_reference, hypervolume, pareto_front
from effv2_tune.report.analysis import seconds_of
from effv2_tune.report.quantities import label_of
from effv2_tune.report.text import joined
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.pareto import Objective
    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial

#: More fronts in one figure cannot be distinguished.
MOST_STUDIES = 6


class Growth(NamedTuple):
    """The hypervolume of a study after one more trial.

    Attributes:
        ended: Trials that had ended by then, in any state.
        seconds: Wall time since its first trial began.
        share: Of the hypervolume of all studies' trials together.
    """

    ended: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Member:
    """A study on one kind of device.

    Attributes:
        label: The study's name, with its folder where another study has the same name.
        folder: As the user typed it.
        device: Its analysis.
        hypervolume: Of its front, down to the reference of the comparison.
        share: The same, of the hypervolume of all studies' trials together.
        joint: Its trials on the front of all studies' trials together.
        growth: How it came to that, in the order of the ends of its trials.
    """

    label: str
    folder: str
    device: DeviceAnalysis
    hypervolume: float
    share: float
    joint: tuple[Trial, ...]
    growth: tuple[Growth, ...]


@dataclass(frozen=True)
class DeviceComparison:
    """Studies on the same kind of device, whose training times can be compared.

    Attributes:
        device: Its name.
        members: Two or more.
        reference: The reference point of all hypervolumes.
    """

    device: str
    members: tuple[Member, ...]
    reference: Measurement


@dataclass(frozen=True)
class Comparison:
    """The comparison of studies.

    Attributes:
        labels: A name for each study.
        studies: Their analyses.
        devices: One for each kind of device that two or more have complete trials on; the one
            with most complete trials first.
        warnings: What cannot be compared, and why, as sentences.
    """

    labels: tuple[str, ...]
    studies: tuple[Analysis, ...]
    devices: tuple[DeviceComparison, ...]
    warnings: tuple[str, ...]

    @property
    def objective(self) -> Objective:
        """Of all of them."""
        return self.studies[0].study.objective

    @property
    def quality(self) -> str:
        """The score of all of them."""
        return self.studies[0].study.quality


def compare(studies: Sequence[Analysis]) -> Comparison:
    """Compare two or more studies.

    Raises:
        TuneError: They cannot be compared: too many, one is there twice, they have different
            objectives, one has no complete trial, or no two were trained on the same kind of
            device.
    """
    _check(studies)
    labels = _labels(studies)
    names = Counter(device.device for one in studies for device in one.devices if device.complete)
    shared = [name for name, count in names.items() if count > 1]
    if not shared:
        raise TuneError(
            "The studies have no kind of device in common: "
            f"{_devices_text(labels, studies)}. Training times on different devices cannot be "
            "compared.",
            hint="Write a report of each: effv2-tune report FOLDER",
        )
    devices = [_on_device(name, labels, studies) for name in shared]
    devices.sort(key=lambda one: -sum(len(its.device.complete) for its in one.members))
    return Comparison(labels, tuple(studies), tuple(devices), tuple(_warnings(labels, studies)))


def _check(studies: Sequence[Analysis]) -> None:
    if len(studies) > MOST_STUDIES:
        raise TuneError(
            f"{len(studies)} studies are too many for one figure.",
            hint=f"Compare at most {MOST_STUDIES}.",
        )
    folders = Counter(one.study.folder.rstrip("/") for one in studies)
    twice = [folder for folder, count in folders.items() if count > 1]
    if twice:
        raise TuneError(f"{twice[0]} is named twice.", hint="Name different studies.")
    qualities = {one.study.quality for one in studies}
    if len(qualities) > 1:
        each = joined([f"{one.study.folder}: {label_of(one.study.quality)}" for one in studies])
        raise TuneError(
            f"The studies have different objectives ({each}), so their fronts have no common axis.",
            hint="Compare studies with the same 'quality:' in their study files.",
        )
    for one in studies:
        if not one.front:
            raise TuneError(
                f"{one.study.folder} has no complete trial yet, so it has no front to compare.",
                hint="Rerun its 'effv2-tune run' command to resume it, or leave it out.",
            )


def _labels(studies: Sequence[Analysis]) -> tuple[str, ...]:
    """Names, where several have the same with what distinguishes their folders."""
    names = Counter(one.study.name for one in studies)
    shared = os.path.commonpath([Path(one.study.folder).absolute().parent for one in studies])
    return tuple(
        one.study.name
        if names[one.study.name] == 1
        else f"{one.study.name} ({Path(one.study.folder).absolute().relative_to(shared)})"
        for one in studies
    )


def _devices_text(labels: Sequence[str], studies: Sequence[Analysis]) -> str:
    return joined(
        [
            f"{label} has {joined([device.device for device in one.devices])}"
            for label, one in zip(labels, studies, strict=True)
        ]
    )


def _warnings(labels: Sequence[str], studies: Sequence[Analysis]) -> list[str]:
    """What is left out, and what makes the comparison unfair."""
    found = []
    trained = [{each.device for each in one.devices if each.complete} for one in studies]
    for label, mine in zip(labels, trained, strict=True):
        alone = sorted(name for name in mine if sum(name in other for other in trained) == 1)
        if alone:
            found.append(
                f"Trials of {label} on {joined(alone)} are left out: no other study has any there, "
                "and training times on different devices cannot be compared."
            )
    if len({one.study.digest for one in studies if one.study.digest}) > 1:
        found.append(
            "The studies have different images or splits, so a difference of quality need not be "
            "due to the configs."
        )
    if len({any(each.has_replicates for each in one.devices) for one in studies}) > 1:
        found.append(
            "Studies with replicates are compared by their estimates, the others by measured "
            "values, which are on average too good at the best trials."
        )
    return found


def _on_device(name: str, labels: Sequence[str], studies: Sequence[Analysis]) -> DeviceComparison:
    found = [
        (label, one, device)
        for label, one in zip(labels, studies, strict=True)
        for device in one.devices
        if device.device == name and device.complete
    ]
    objective = studies[0].study.objective
    points = [(trial, point) for *_, device in found for trial, point in _points(device)]
    marks = pareto_front(
        [point for _, point in points], quality_direction=objective.quality_direction
    )
    # Trials are distinguished by identity: studies number them alike.
    joint = [one for one, on_front in zip(points, marks, strict=True) if on_front]
    reference = front_reference([point for _, point in joint], objective)
    whole = hypervolume([point for _, point in joint], reference, objective)
    members = []
    for label, one, device in found:
        own = hypervolume([point for _, point in _points(device)], reference, objective)
        members.append(
            Member(
                label,
                one.study.folder,
                device,
                own,
                own / whole,
                tuple(
                    trial
                    for trial in device.front
                    if any(trial is joint_trial for joint_trial, _ in joint)
                ),
                tuple(_growth(device, reference, objective, whole)),
            )
        )
    return DeviceComparison(name, tuple(members), reference)


def _points(device: DeviceAnalysis) -> list[tuple[Trial, Measurement]]:
    """The complete trials with the values that their front is made of."""
    return [(trial, _point(trial, device)) for trial in device.complete]


def _point(trial: Trial, device: DeviceAnalysis) -> Measurement:
    return Measurement(quality=device.qualities[trial.number], train_seconds=seconds_of(trial))


def _growth(
    device: DeviceAnalysis, reference: Measurement, objective: Objective, whole: float
) -> list[Growth]:
    """The hypervolume after each trial that ended; nothing where ends are not recorded."""
    ended = sorted((trial.ended, trial.number, trial) for trial in device.trials if trial.ended)
    if not ended:
        return []
    began = min([ended[0][0], *(trial.started for trial in device.trials if trial.started)])
    complete = {trial.number for trial in device.complete}
    front: list[Measurement] = []
    area, found = 0.0, []
    for count, (end, number, trial) in enumerate(ended, start=1):
        if number in complete:
            front.append(_point(trial, device))
            grown = hypervolume(front, reference, objective)
            if grown > area:
                marks = pareto_front(front, quality_direction=objective.quality_direction)
                front = [point for point, on_front in zip(front, marks, strict=True) if on_front]
            else:
                front.pop()
            area = max(area, grown)
        found.append(Growth(count, (end - began).total_seconds(), area / whole))
    return found
