"""Analyses the trials of a study: devices, Pareto front, knee; shared by all views."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from effv2_tune.pareto import fastest, front_of, knee, most_accurate
from effv2_tune.report.timing_outliers import find_timing_outliers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.pareto import Objective
    from effv2_tune.report.input import ReportInput
    from effv2_tune.report.timing_outliers import TimingOutliers
    from effv2_tune.study.trial import Measurement, Trial, TrialState

UNRECORDED_DEVICE = "device not recorded"
#: The name of each state in reports.
STATE_WORDS: dict[TrialState, str] = {
    "complete": "complete",
    "pruned": "stopped early",
    "running": "running",
    "interrupted": "interrupted",
    "infeasible": "did not fit",
    "diverged": "diverged",
    "failed": "failed",
}


@dataclass(frozen=True)
class DeviceAnalysis:
    """The trials on one kind of device; training times on different devices are not comparable.

    Attributes:
        device: The device's name, with the count where several were used together.
        trials: Every trial on it, in the order of their numbers.
        complete: Those with a measurement.
        front: Those of them on the Pareto front, fastest first.
        fastest: The trial with the shortest training time; None if none is complete.
        knee: The trial where the front bends most; likewise.
        best: The trial with the best quality; likewise.
    """

    device: str
    trials: tuple[Trial, ...]
    complete: tuple[Trial, ...]
    front: tuple[Trial, ...]
    fastest: Trial | None
    knee: Trial | None
    best: Trial | None

    @property
    def pruned(self) -> tuple[Trial, ...]:
        """Pruned trials with the result of a rung."""
        return tuple(trial for trial in self.trials if trial.state == "pruned" and trial.rungs)

    def remark(self, trial: Trial) -> str:
        """The places of a trial on the front: ``fastest``, ``knee, most accurate``, or none."""
        places = {"fastest": self.fastest, "knee": self.knee, "most accurate": self.best}
        return ", ".join(name for name, chosen in places.items() if chosen is trial)


@dataclass(frozen=True)
class Analysis:
    """The analysis of a study.

    Attributes:
        study: The input of the report.
        devices: One entry for each kind of device, the one with most complete trials first.
    """

    study: ReportInput
    devices: tuple[DeviceAnalysis, ...]

    @cached_property
    def front(self) -> frozenset[int]:
        """Numbers of the trials on the front of their own device."""
        return frozenset(trial.number for device in self.devices for trial in device.front)

    @cached_property
    def knees(self) -> frozenset[int]:
        """Numbers of the trials at the knees."""
        return frozenset(device.knee.number for device in self.devices if device.knee is not None)

    @cached_property
    def timing_outliers(self) -> TimingOutliers:
        """Trials and hosts whose steps deviate from the benchmark."""
        return find_timing_outliers(self.study.trials)

    @cached_property
    def states(self) -> dict[TrialState, int]:
        """Number of trials in each state that occurs."""
        counts = Counter(trial.state for trial in self.study.trials)
        return {state: counts[state] for state in STATE_WORDS if counts[state]}


def analyse(study: ReportInput) -> Analysis:
    """Group the trials of a study by device, and find the front and the knee of each."""
    names = [name for name in map(device_of, study.trials) if name is not None]
    only = names[0] if len(set(names)) == 1 else UNRECORDED_DEVICE
    by_device: dict[str, list[Trial]] = {}
    for trial in study.trials:
        # A trial that failed before it recorded its device belongs to the study's only one.
        by_device.setdefault(device_of(trial) or only, []).append(trial)
    devices = [
        _analyse_device(device, trials, study.objective) for device, trials in by_device.items()
    ]
    return Analysis(study, tuple(sorted(devices, key=lambda device: -len(device.complete))))


def _analyse_device(device: str, trials: Sequence[Trial], objective: Objective) -> DeviceAnalysis:
    complete = tuple(
        trial for trial in trials if trial.state == "complete" and trial.measurement is not None
    )
    measurements = measured(complete)

    def chosen(position: int | None) -> Trial | None:
        return None if position is None else complete[position]

    return DeviceAnalysis(
        device=device,
        trials=tuple(trials),
        complete=complete,
        front=tuple(front_of(complete, objective)),
        fastest=chosen(fastest(measurements, objective)),
        knee=chosen(knee(measurements, objective)),
        best=chosen(most_accurate(measurements, objective)),
    )


def measured(trials: Iterable[Trial]) -> list[Measurement]:
    """The measurements of complete trials."""
    return [_measurement(trial) for trial in trials]


def quality_of(trial: Trial) -> float:
    """The measured quality of a complete trial."""
    return _measurement(trial).quality


def seconds_of(trial: Trial) -> float:
    """The measured training time of a complete trial, in seconds."""
    return _measurement(trial).train_seconds


def device_of(trial: Trial) -> str | None:
    """The device a trial ran on, with its count: ``NVIDIA H200``, ``TPU v5 lite x 8``."""
    where = trial.environment or trial.bucket
    if where is None:
        return None
    count = where.device_count
    return (
        where.device_kind if count == 1 else f"{where.device_kind} \N{MULTIPLICATION SIGN} {count}"
    )


def variant_of(trial: Trial) -> str:
    """The network that a trial trained."""
    if trial.recipe is not None:
        return trial.recipe.variant
    return str(trial.config.get("variant", "unknown"))


def pixels_of(trial: Trial) -> int:
    """The resolution that a trial trained at; 0 where it is not recorded."""
    if trial.recipe is not None:
        return trial.recipe.pixels
    resolution = trial.config.get("resolution", 0)
    return resolution if isinstance(resolution, int) else 0


def network_of(trial: Trial) -> str:
    """Variant and resolution in short: ``b0 at 64 px``."""
    pixels = pixels_of(trial)
    return f"{variant_of(trial)} at {pixels} px" if pixels else variant_of(trial)


def _measurement(trial: Trial) -> Measurement:
    if trial.measurement is None:
        raise ValueError(f"trial {trial.number} is {trial.state} and has no measurement")
    return trial.measurement
