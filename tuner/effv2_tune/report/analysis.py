"""What the trials of a study come to: found once, shown by table, figures and page alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from effv2_tune.pareto import fastest, knee, most_accurate, pareto_front
from effv2_tune.report.timing_outliers import find_timing_outliers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.input import ReportInput
    from effv2_tune.report.timing_outliers import TimingOutliers
    from effv2_tune.study.trial import Measurement, Trial, TrialState

UNRECORDED_DEVICE = "device not recorded"
#: What each state is called where people read it.
STATE_WORDS: dict[TrialState, str] = {
    "complete": "complete",
    "pruned": "stopped early",
    "running": "running",
    "infeasible": "did not fit",
    "diverged": "diverged",
    "failed": "failed",
}


@dataclass(frozen=True)
class DeviceAnalysis:
    """What was found on one kind of device; times of other kinds never stand beside these.

    Attributes:
        device: The device's name, with the count where several were used together.
        trials: Every trial on it, in the order of their numbers.
        complete: Those with a measurement.
        front: Those of them that no other one beats on quality and time, fastest first.
        fastest: The trial with the shortest training time; absent where none is complete.
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
        """Trials that halving stopped, with the rung at which it did."""
        return tuple(trial for trial in self.trials if trial.state == "pruned" and trial.rungs)


@dataclass(frozen=True)
class Analysis:
    """A study's trials, sorted out.

    Attributes:
        given: What the report is made from.
        devices: One entry for each kind of device, the one with most complete trials first.
    """

    given: ReportInput
    devices: tuple[DeviceAnalysis, ...]

    @cached_property
    def front(self) -> frozenset[int]:
        """Numbers of the trials on the front of their own device."""
        return frozenset(trial.number for found in self.devices for trial in found.front)

    @cached_property
    def knees(self) -> frozenset[int]:
        """Numbers of the trials at the knees."""
        return frozenset(found.knee.number for found in self.devices if found.knee is not None)

    @cached_property
    def straying(self) -> TimingOutliers:
        """Trials and machines whose steps took other times than those that count."""
        return find_timing_outliers(self.given.trials)

    @cached_property
    def states(self) -> dict[TrialState, int]:
        """How many trials are in which state; states that do not occur are left out."""
        counts = Counter(trial.state for trial in self.given.trials)
        return {state: counts[state] for state in STATE_WORDS if counts[state]}


def find(given: ReportInput) -> Analysis:
    """Sort out the trials of a study: devices, front, knee."""
    trials = given.trials
    names = [name for name in map(device_of, trials) if name is not None]
    only = names[0] if len(set(names)) == 1 else UNRECORDED_DEVICE
    by_device: dict[str, list[Trial]] = {}
    for trial in trials:
        # A trial that died before it told what it ran on belongs to the study's only device.
        by_device.setdefault(device_of(trial) or only, []).append(trial)
    devices = [_device_findings(device, members, given) for device, members in by_device.items()]
    return Analysis(given, tuple(sorted(devices, key=lambda found: -len(found.complete))))


def _device_findings(device: str, trials: Sequence[Trial], given: ReportInput) -> DeviceAnalysis:
    complete = tuple(trial for trial in trials if measurement_of(trial) is not None)
    measurements = [_measured(trial) for trial in complete]
    direction = given.quality_direction
    marks = pareto_front(measurements, quality_direction=direction)
    front = (trial for trial, on_front in zip(complete, marks, strict=True) if on_front)

    def chosen(position: int | None) -> Trial | None:
        return None if position is None else complete[position]

    return DeviceAnalysis(
        device=device,
        trials=tuple(trials),
        complete=complete,
        front=tuple(sorted(front, key=lambda trial: (seconds_of(trial), trial.number))),
        fastest=chosen(fastest(measurements, quality_direction=direction)),
        knee=chosen(knee(measurements, quality_direction=direction)),
        best=chosen(most_accurate(measurements, quality_direction=direction)),
    )


def measurement_of(trial: Trial) -> Measurement | None:
    """The measurement of a complete trial; nothing for one in any other state."""
    return trial.measurement if trial.state == "complete" else None


def quality_of(trial: Trial) -> float:
    """The measured quality of a complete trial."""
    return _measured(trial).quality


def seconds_of(trial: Trial) -> float:
    """The measured training time of a complete trial, in seconds."""
    return _measured(trial).train_seconds


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


def _measured(trial: Trial) -> Measurement:
    if trial.measurement is None:
        raise ValueError(f"trial {trial.number} is {trial.state} and has no measurement")
    return trial.measurement
