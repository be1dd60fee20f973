"""Analyses the trials of a study: devices, Pareto front, knee; shared by all views."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective, fastest, knee, most_accurate, pareto_front
from effv2_tune.report.candidates import POSSIBLE, candidates_of, estimates_of, expectations
from effv2_tune.report.importance import importances
from effv2_tune.report.step_times import order_of_times
from effv2_tune.report.timing_outliers import find_timing_outliers
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from effv2_tune.pareto import Candidate
    from effv2_tune.report.candidates import Expectation
    from effv2_tune.report.importance import Goal, Importance
    from effv2_tune.report.input import ReportInput
    from effv2_tune.report.step_times import TimeOrder
    from effv2_tune.report.timing_outliers import TimingOutliers
    from effv2_tune.study.trial import Trial, TrialState

UNRECORDED_DEVICE = "device not recorded"
#: The name of each state in reports.
STATE_WORDS: dict[TrialState, str] = {
    "complete": "complete",
    "pruned": "stopped early",
    "running": "running",
    "paused": "paused",
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
        trials: Every trial on it without replicates, in the order of their numbers.
        complete: Those with a measurement.
        candidates: What is known of each of these; empty where no errors are known.
        qualities: The quality of each, by its number: as measured; where there are replicates, the
            estimates, as a mean of three cannot be compared with the luckiest of many.
        objective: Of the study.
        front: Those of them on the Pareto front of these qualities, fastest first.
        fastest: The trial with the shortest training time; None if none is complete.
        knee: The trial where the front bends most; likewise.
        best: The trial with the best quality; likewise.
    """

    device: str
    trials: tuple[Trial, ...]
    complete: tuple[Trial, ...]
    candidates: tuple[Candidate, ...]
    qualities: Mapping[int, float]
    objective: Objective
    front: tuple[Trial, ...]
    fastest: Trial | None
    knee: Trial | None
    best: Trial | None

    @property
    def at_rungs(self) -> tuple[Trial, ...]:
        """Pruned and paused trials with the result of a rung."""
        states = ("pruned", "paused")
        return tuple(trial for trial in self.trials if trial.state in states and trial.rungs)

    @cached_property
    def trainings(self) -> Mapping[int, int]:
        """How often each config that was trained with several seeds was, by its trial's number."""
        counts = [(trial.number, len(one.qualities)) for trial, one in self._pairs]
        return {number: count for number, count in counts if count > 1}

    @property
    def _pairs(self) -> list[tuple[Trial, Candidate]]:
        return list(zip(self.complete, self.candidates, strict=True)) if self.candidates else []

    @property
    def has_replicates(self) -> bool:
        """Whether a config was trained more than once."""
        return bool(self.trainings)

    @cached_property
    def expected(self) -> Mapping[int, Expectation]:
        """What to expect of each complete trial, by its number; empty where no errors are known."""
        return expectations(self.complete, self.candidates, self.objective)

    @cached_property
    def possible(self) -> tuple[Trial, ...]:
        """Complete trials off the front that cannot be distinguished from it, fastest first."""
        front = {trial.number for trial in self.front}
        close = [
            trial
            for trial in self.complete
            if trial.number not in front
            and trial.number in self.expected
            and self.expected[trial.number].on_front >= POSSIBLE
        ]
        return tuple(sorted(close, key=seconds_of))

    @cached_property
    def importances(self) -> Mapping[Goal, Sequence[Importance]]:
        """How much each hyperparameter matters for either objective; empty with too few trials."""
        configs = [trial.config for trial in self.complete]
        cost = self.objective.quality_cost
        qualities = [cost(self.qualities[trial.number]) for trial in self.complete]
        return {
            "quality": importances(configs, qualities),
            "time": importances(configs, [seconds_of(trial) for trial in self.complete]),
        }

    @property
    def order(self) -> TimeOrder:
        """Whether the order of the training times on the front is certain."""
        return order_of_times(self.front)

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
    def expected(self) -> Mapping[int, Expectation]:
        """What to expect of each complete trial, by its number."""
        return {number: its for device in self.devices for number, its in device.expected.items()}

    @cached_property
    def possible(self) -> frozenset[int]:
        """Numbers of the trials that cannot be distinguished from the front of their device."""
        return frozenset(trial.number for device in self.devices for trial in device.possible)

    def state_of(self, trial: Trial) -> str:
        """The state of a trial in words: its place on the front, where it has one."""
        if trial.replicate_of is not None:
            return f"replicate of {trial.replicate_of}"
        if trial.number in self.knees:
            return "front, knee"
        if trial.number in self.possible:
            return "possibly front"
        return "front" if trial.number in self.front else STATE_WORDS[trial.state]

    @cached_property
    def timing_outliers(self) -> TimingOutliers:
        """Trials and hosts whose steps deviate from the benchmark."""
        return find_timing_outliers(self.study.trials)

    def time_sentences(self) -> list[str]:
        """All that is to be said about how certain the training times are."""
        orders = [device.order.sentence() for device in self.devices]
        return [
            *filter(None, orders),
            *self.study.time_notes,
            *self.timing_outliers.sentences(),
        ]

    @cached_property
    def states(self) -> dict[TrialState, int]:
        """Number of trials in each state that occurs, without replicates."""
        counts = Counter(trial.state for trial in self.study.searched)
        return {state: counts[state] for state in STATE_WORDS if counts[state]}


def analyse(study: ReportInput) -> Analysis:
    """Group the trials of a study by device, and find the front and the knee of each."""
    names = [name for name in map(device_of, study.trials) if name is not None]
    only = names[0] if len(set(names)) == 1 else UNRECORDED_DEVICE
    by_device: dict[str, list[Trial]] = {}
    for trial in study.trials:
        # A trial that failed before it recorded its device belongs to the study's only one.
        by_device.setdefault(device_of(trial) or only, []).append(trial)
    devices = [_analyse_device(device, trials, study) for device, trials in by_device.items()]
    return Analysis(study, tuple(sorted(devices, key=lambda device: -len(device.complete))))


def _analyse_device(device: str, trials: Sequence[Trial], study: ReportInput) -> DeviceAnalysis:
    objective = study.objective
    originals = tuple(trial for trial in trials if trial.replicate_of is None)
    complete = tuple(
        trial for trial in originals if trial.state == "complete" and trial.measurement is not None
    )
    candidates = candidates_of(complete, trials, quality=study.quality, validation=study.validation)
    measurements = expected = measured(complete)
    if candidates:
        expected = [
            Measurement(quality=estimate.quality, train_seconds=candidate.seconds)
            for estimate, candidate in zip(
                estimates_of(complete, candidates, objective), candidates, strict=True
            )
        ]
    if any(len(candidate.qualities) > 1 for candidate in candidates):
        measurements = expected
    marks = pareto_front(measurements, quality_direction=objective.quality_direction)
    front = [trial for trial, on_front in zip(complete, marks, strict=True) if on_front]

    def chosen(position: int | None) -> Trial | None:
        return None if position is None else complete[position]

    return DeviceAnalysis(
        device=device,
        trials=originals,
        complete=complete,
        candidates=tuple(candidates),
        qualities={
            trial.number: one.quality for trial, one in zip(complete, measurements, strict=True)
        },
        objective=objective,
        front=tuple(sorted(front, key=lambda trial: (seconds_of(trial), trial.number))),
        fastest=chosen(fastest(expected, objective)),
        knee=chosen(knee(expected, objective)),
        best=chosen(most_accurate(expected, objective)),
    )


def measured(trials: Iterable[Trial]) -> list[Measurement]:
    """The measurements of complete trials."""
    return [_measurement(trial) for trial in trials]


def seconds_of(trial: Trial) -> float:
    """The measured training time of a complete trial, in seconds."""
    return _measurement(trial).train_seconds


def device_of(trial: Trial) -> str | None:
    """The device that a trial is timed on, with its count: ``NVIDIA H200``, ``TPU v5 lite x 8``."""
    where = trial.bucket or trial.environment
    if where is None:
        return None
    kind, count = where.device_kind, where.device_count
    return kind if count == 1 else f"{kind} \N{MULTIPLICATION SIGN} {count}"


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
    """Variant and resolution in short: ``b0 at 64 px``, or ``b0 at 64 px (evaluated at 96)``."""
    pixels, recipe = pixels_of(trial), trial.recipe
    if not pixels:
        return variant_of(trial)
    evaluated = pixels if recipe is None else recipe.evaluation_pixels
    remark = "" if evaluated == pixels else f" (evaluated at {evaluated})"
    return f"{variant_of(trial)} at {pixels} px{remark}"


def _measurement(trial: Trial) -> Measurement:
    if trial.measurement is None:
        raise ValueError(f"trial {trial.number} is {trial.state} and has no measurement")
    return trial.measurement
