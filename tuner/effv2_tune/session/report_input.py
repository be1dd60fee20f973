"""Converts a study's record into the input of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.plurals import pluralized
from effv2_tune.report.input import ReportInput
from effv2_tune.study.validation_size import folds_text, small_validation_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.report.timeline import Timeline
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import StudyPlan
    from effv2_tune.study.plan import StopSpec

#: Versions of a step time up to which a sentence has them all.
_MOST_VERSIONS = 4


def report_input(
    record: StudyRecord, *, folder: str, written: str = "", timeline: Timeline | None = None
) -> ReportInput:
    """The input of page, table and notebook.

    Args:
        record: The study as it is stored.
        folder: Its folder as the user typed it.
        written: When the report is written; empty leaves it out.
        timeline: What each worker did; None leaves it out.
    """
    plan = record.plan
    ended = record.ended_by if record.activity.state == "ended" else None
    activity = activity_sentence(record)
    return ReportInput(
        name=plan.name,
        quality=plan.quality,
        trials=record.shown_trials(),
        validation=None if record.data is None else record.data.scored,
        digest="" if record.data is None else record.data.digest,
        time_notes=tuple(_time_notes(record)),
        timeline=timeline,
        facts=_facts(record),
        ended_by="" if ended is None else ended.reason,
        activity=activity[:1].upper() + activity[1:] if ended is None else "",
        folder=folder,
        written=written,
    )


def activity_sentence(record: StudyRecord) -> str:
    """Whether a study is running or interrupted, and since when; why, where it has ended."""
    activity, ended = record.activity, record.ended_by
    since = "" if activity.since is None else f" since {activity.since:%Y-%m-%d %H:%M:%S} UTC"
    if activity.state == "running":
        return f"running{since}"
    if activity.state == "interrupted":
        how = record.command or "run the same program again"
        return f"interrupted{since}; to resume: {how}"
    return "" if ended is None else f"ended: {ended.reason}"


def _time_notes(record: StudyRecord) -> Iterator[str]:
    """Sentences about step times that were restated, or are those of a busy machine."""
    for versions in record.time_versions.values():
        newest, label = versions[-1], versions[-1].label
        steps = list(dict.fromkeys(f"{1000 * one.step_seconds:.3g} ms" for one in versions))
        if len(steps) > _MOST_VERSIONS:
            steps = [steps[0], "...", steps[-1]]
        if len(steps) > 1:
            yield f"The step time of {label} was restated: {' -> '.join(steps)}."
        if not newest.is_quiet and newest.low is not None and newest.high is not None:
            error = (newest.high - newest.low) / 2 / newest.step_seconds
            yield (
                f"The machine was busy when {label} was measured: its step time is known "
                f"to {error:.0%}."
            )


def _facts(record: StudyRecord) -> dict[str, str]:
    plan = record.plan
    facts = {"data": plan.data.name if plan.data.path is None else str(plan.data.path)}
    if record.data is not None:
        data = record.data
        facts["images"] = (
            f"{data.train:,} to train, {data.validation:,} to validate, {data.test:,} to test; "
            f"{data.classes} classes{folds_text(data.folds)}"
        )
        if small := small_validation_hint(data.scored, plan.quality, folds=data.folds):
            facts["noise"] = small
    searched = (one.name.removesuffix("_position") for one in plan.search_space.dimensions())
    facts["searched"] = ", ".join(searched)
    if record.learning_rates is not None:
        facts["learning rates"] = record.learning_rates.sentence
    stops = "every trial trained in full"
    if plan.pauses:
        stops = "with pauses at rungs"
    elif plan.search.halving.enabled:
        stops = "with multi-objective successive halving"
    facts["engine"] = f"{plan.engine}, {stops}"
    facts["budget"] = _budget(plan)
    facts["seed"] = str(plan.search.seed)
    return facts


def _budget(plan: StudyPlan) -> str:
    parts = []
    if plan.trials is not None:
        parts.append(pluralized(plan.trials, "trial"))
    if plan.hours is not None:
        parts.append(pluralized(plan.hours, "hour"))
    if plan.accelerator_hours is not None:
        parts.append(f"{plan.accelerator_hours:g} accelerator-hours")
    if plan.stop_when is not None:
        parts.append(f"until {stop_text(plan.stop_when)}")
    return ", ".join(parts)


def stop_text(stop: StopSpec) -> str:
    """When a study ends early, in words."""
    criteria = []
    if stop.growth is not None:
        share = f"{100 * stop.growth:g} %"
        criteria.append(f"{stop.trials} trials add less than {share} of the hypervolume")
    if stop.no_new_front_point is not None:
        since = pluralized(stop.no_new_front_point, "trial")
        criteria.append(f"{since} in a row without a new point on the front")
    return " or ".join(criteria)
