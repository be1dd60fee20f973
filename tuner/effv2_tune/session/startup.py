"""Describes what a run of a study would start with, and collects what keeps it from starting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from effv2_tune.errors import MistakesError, TuneError, joined
from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import human_bytes
from effv2_tune.session.location import shown
from effv2_tune.session.results import Results
from effv2_tune.study import Settings
from effv2_tune.study.validation_size import folds_text, small_validation_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from effv2_tune.data import ImageCounts
    from effv2_tune.errors import Mistake
    from effv2_tune.host import Hardware
    from effv2_tune.search.engines.earlier_studies import EarlierStudy
    from effv2_tune.search.mirror.restoration import MirroredStudy
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import Config, LoadedPlan, StudyPlan, Trial
    from effv2_tune.study.plan import ConfirmSpec, TargetSpec

Result = TypeVar("Result")

#: Keys of a study file that the checks of this machine name in their messages.
_KEYS = ("batch_size", "workers", "devices_per_worker", "target", "cluster", "hardware", "backend")


@dataclass(frozen=True)
class Startup:
    """What a run of a study would start with.

    Attributes:
        plan: The study.
        hardware: The device and backend of the workers.
        counts: Of the images; None where they are counted when the study starts.
        earlier: The record of earlier runs, and the changes of the plan since; None where the
            study is new.
        first: Configs that are tried first, from an earlier study.
        downloads: How many files are downloaded before the first trial.
        download_bytes: Their size, as far as it is known.
        mirrored: The study that is restored from a mirror.
    """

    plan: StudyPlan
    hardware: Hardware
    counts: ImageCounts | None
    earlier: tuple[StudyRecord, list[str]] | None
    first: Sequence[Config]
    downloads: int
    download_bytes: int
    mirrored: MirroredStudy | None = None

    @property
    def summary(self) -> str:
        """The study in a few words: ``a new study, 12 trials``."""
        budget = budget_text(self.plan) or "until the front stops growing"
        if self.mirrored is not None:
            return f"resuming after {_restored(self.mirrored)}, {budget} in all"
        if self.earlier is None:
            return f"a new study, {budget}"
        record = self.earlier[0]
        ended = "" if record.ended_by is None else f"; its last run ended: {record.ended_by.reason}"
        return f"resuming after {_so_far(record)}, {budget} in all{ended.rstrip('.')}"

    def as_data(self) -> dict[str, Any]:
        """The same for programs."""
        trials = [] if self.earlier is None else _searched(self.earlier[0])
        unfinished = sum(not trial.has_ended for trial in trials)
        return {
            "summary": self.summary,
            "is_new": self.earlier is None and self.mirrored is None,
            "ended_trials": len(trials) - unfinished,
            "unfinished_trials": unfinished,
            "device": self.hardware.why,
            "backend": self.hardware.backend,
            "downloads": self.downloads,
            "download_bytes": self.download_bytes,
            "hints": self.hints,
        }

    @property
    def hints(self) -> list[str]:
        """What the images are too few for, as far as they are counted."""
        if self.counts is None:
            return []
        counts = self.counts
        hint = small_validation_hint(counts.scored, self.plan.quality, folds=counts.folds)
        return [hint] if hint else []

    @property
    def images(self) -> str:
        """Kind and counts of the images."""
        data, counts = self.plan.data, self.counts
        named = data.name if data.path is None else f"{data.name} {data.path}"
        if counts is None:
            return f"{named}; its images are counted when the study starts"
        return (
            f"{named}: {counts.train:,} images to train, {counts.validation:,} to validate, "
            f"{counts.test:,} to test; {counts.classes} classes{folds_text(counts.folds)}"
        )

    def so_far_lines(self, *, retry_failed: bool) -> list[str]:
        """What earlier runs recorded, what is tried again, and what was edited since."""
        from effv2_tune.search.storage.records import unretried

        if self.mirrored is not None:
            return [f"so far    {_restored(self.mirrored)}; the study is restored from there"]
        if self.earlier is None:
            return ["so far    nothing: it is new"]
        record, changes = self.earlier
        failed = pluralized(len(unretried(record.trials)), "failed trial")
        return [
            f"so far    {_so_far(record)}; the study is resumed",
            *([f"retries   {failed}"] if retry_failed else []),
            *(f"changed   {line}" for line in changes),
        ]

    def download_lines(self) -> list[str]:
        """What is downloaded; no line where everything is on this machine."""
        if not self.downloads:
            return []
        size = human_bytes(self.download_bytes)
        return [f"download  {pluralized(self.downloads, 'file')}, {size}"]


def workers_text(plan: StudyPlan) -> str:
    """The workers of a study and their devices, in words."""
    if plan.workers == "auto" and plan.cluster is not None:
        return f"as many as the Ray cluster {plan.cluster.ray} has room for, and follow it"
    if plan.workers == "auto":
        return "auto: chosen when the study starts, by the figures of 'effv2-tune plan'"
    each = plan.devices_per_worker
    if plan.cluster is not None:
        return f"{plan.workers} at most, on the Ray cluster {plan.cluster.ray}"
    return f"{plan.workers}" + (f", with {pluralized(each, 'device')} each" if each else "")


def target_text(target: TargetSpec) -> str:
    """The placement that training time is meant for, in words."""
    return f"{pluralized(target.devices, 'device')}" + (
        f", {target.device}" if target.device else ""
    )


def confirm_text(spec: ConfirmSpec) -> str:
    """The limits of a confirmation, in words."""
    limits = [
        pluralized(spec.trials, "replicate") if spec.trials else "",
        f"{spec.hours:g} h" if spec.hours else "",
    ]
    budget = ", ".join(filter(None, limits)) or "as many seconds of training as the search"
    subject = "the picks are" if spec.pick is None else f"the {spec.pick} pick is"
    return f"until {subject} clear at {spec.level:.0%}, at most {budget}"


def budget_text(plan: StudyPlan) -> str:
    """The limits of a study, in words; empty where it ends when its front stops growing."""
    limits = [
        pluralized(plan.trials, "trial") if plan.trials else "",
        f"{plan.hours} h" if plan.hours else "",
        f"{plan.accelerator_hours} accelerator-hours" if plan.accelerator_hours else "",
    ]
    return ", ".join(filter(None, limits))


def _restored(mirrored: MirroredStudy) -> str:
    return f"{pluralized(mirrored.ended, 'ended trial')} in {shown(mirrored.uri)}"


def _so_far(record: StudyRecord) -> str:
    trials = _searched(record)
    ended = sum(trial.has_ended for trial in trials)
    replicates = len(record.trials) - len(trials)
    done = pluralized(ended, "trial")
    done += f" and {pluralized(replicates, 'replicate')}" if replicates else ""
    return f"{done}, {len(trials) - ended} unfinished"


def _searched(record: StudyRecord) -> list[Trial]:
    """The trials of the search, without replicates."""
    return [trial for trial in record.trials if trial.replicate_of is None]


class Findings:
    """Collects the errors of independent checks, so that all are reported at once.

    Args:
        loaded: The study file, for the lines of the keys that an error names; None without a file.
    """

    def __init__(self, loaded: LoadedPlan | None) -> None:
        self._loaded = loaded
        self._mistakes: list[Mistake] = []
        self._errors: list[TuneError] = []

    def attempt(self, check: Callable[[], Result]) -> Result | None:
        """The result of a check; None where it fails, and its error joins the others."""
        try:
            return check()
        except MistakesError as error:
            self._mistakes += error.mistakes
        except TuneError as error:
            mistakes = self._in_the_file(error)
            self._mistakes += mistakes
            self._errors += [] if mistakes else [error]
        return None

    def _in_the_file(self, error: TuneError) -> list[Mistake]:
        """The error at its line, where it names a key that the file, or an argument, sets."""
        loaded = self._loaded
        if loaded is None:
            return []
        for key in _KEYS:
            if f"{key}:" not in error.message:
                continue
            message = str(error).replace("\n", " ")
            if key in Settings.model_fields:
                return loaded.mistakes_at(key, [message])
            if key in loaded.source.data:
                return [loaded.source.mistake([key], message)]
        return []

    @property
    def is_empty(self) -> bool:
        """Whether no check has failed so far."""
        return not (self._mistakes or self._errors)

    def refuse(self) -> None:
        """Raise everything that was found.

        Raises:
            TuneError: Something was.
        """
        mistakes = [MistakesError(self._mistakes)] if self._mistakes else []
        if mistakes or self._errors:
            raise joined([*mistakes, *self._errors])


class WarmStart(NamedTuple):
    """What a study takes from earlier ones.

    Attributes:
        first: Configs to try first: those of the Pareto fronts, each once.
        earlier: The studies.
    """

    first: Sequence[Config] = ()
    earlier: Sequence[EarlierStudy] = ()


def read_warm_start(places: Sequence[str | Path], plan: StudyPlan) -> WarmStart:
    """What a study with this plan takes from the studies in some folders.

    Raises:
        TuneError: There is no such study, or the front of one has no config in the space.
    """
    from effv2_tune.search.engines.earlier_studies import EarlierStudy

    first: list[Config] = []
    earlier: list[EarlierStudy] = []
    for place in places:
        results = Results(place)
        inside = _front_inside(results, place, plan)
        first += [config for config in inside if config not in first]
        earlier.append(EarlierStudy.of(results.record, plan.search_space))
    return WarmStart(first, earlier)


def _front_inside(results: Results, place: str | Path, plan: StudyPlan) -> list[Config]:
    """The configs of an earlier study's Pareto front that are inside a plan's space."""
    front = [t for t in results.record.trials if t.number in results.analysis.front]
    names = plan.search_space.parameters
    configs = [{k: v for k, v in t.config.items() if k in names} for t in front]
    inside = [config for config in configs if plan.search_space.contains(config)]
    if not inside:
        raise TuneError(
            f"The Pareto front of {shown(place)} ({pluralized(len(front), 'trial')}) has no config "
            f"in the search space of {plan.name}.",
            hint="Widen the search space, or omit --warm-start.",
        )
    return inside
