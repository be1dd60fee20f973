"""Reads a study from its folder or database, without a lock and without a sampler."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import ValidationError

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.pareto import Objective, front_of
from effv2_tune.search.events import StudyEnded
from effv2_tune.search.learning_rates import find_version
from effv2_tune.search.restatement import with_intervals, with_newest_times
from effv2_tune.search.storage.activity import CONFIRM_SECONDS, SECONDS, activity
from effv2_tune.search.storage.backup import DATABASE, refuse_lost_database
from effv2_tune.search.storage.consistency import contradictions
from effv2_tune.search.storage.damage import (
    DamagedError,
    check_integrity,
    is_damage,
    roll_back_unfinished,
    way_out,
)
from effv2_tune.search.storage.database_errors import database_errors
from effv2_tune.search.storage.facts import Facts, bucket_times, data_facts
from effv2_tune.search.storage.leases import read_holders
from effv2_tune.search.storage.records import (
    RecordReader,
    connected,
    find_studies,
    without_replicates,
)
from effv2_tune.search.storage.urls import sqlite_read_only_url, sqlite_url, without_password
from effv2_tune.study.plan import StudyPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from effv2_tune.search.learning_rates import LearningRates
    from effv2_tune.search.storage.activity import Activity
    from effv2_tune.search.storage.leases import Owner
    from effv2_tune.search.workload import BucketTime
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.trial import Trial


@dataclass(frozen=True)
class StudyRecord:
    """A study as stored.

    Attributes:
        plan: As of its last run.
        base: Folder that the plan's relative paths start from.
        trials: Every trial by number, in any state.
        ended_by: Why it ended; None while it runs, or was interrupted.
        device_kind: Its device; None before the first worker was ready.
        data: Facts of the images; likewise.
        time_versions: The versions of the step time of each measured bucket, the newest last; by
            the digest of the bucket.
        seconds: How long it has run, over all runs.
        contradictions: Sentences about facts that contradict the records of trials, or are damaged
            and have an earlier version.
        activity: Whether it is running.
        command: The command that resumes it; empty where a program ran it.
        learning_rates: The bounds that range tests have set in the space of ``plan``; None without
            any.
    """

    plan: StudyPlan
    base: Path
    trials: tuple[Trial, ...]
    ended_by: StudyEnded | None
    device_kind: str | None
    data: DataFacts | None
    time_versions: Mapping[str, Sequence[BucketTime]]
    seconds: float
    activity: Activity
    command: str = ""
    contradictions: tuple[str, ...] = ()
    learning_rates: LearningRates | None = None

    @property
    def bucket_times(self) -> dict[str, BucketTime]:
        """The newest step time of each measured bucket, by the digest of the bucket."""
        return {digest: versions[-1] for digest, versions in self.time_versions.items()}

    def shown_trials(self) -> tuple[Trial, ...]:
        """Every trial; a running one that no supervisor holds is interrupted."""
        return tuple(
            trial.model_copy(update={"state": "interrupted"})
            if trial.state == "running" and trial.number not in self.activity.training
            else trial
            for trial in self.trials
        )

    def front(self) -> list[int]:
        """Numbers of the trials on the Pareto front, fastest first."""
        searched = without_replicates(self.trials)
        complete = [trial for trial in searched if trial.state == "complete"]
        return [trial.number for trial in front_of(complete, Objective(self.plan.directions[0]))]


def read_study(location: Path | str, *, name: str | None = None) -> StudyRecord:
    """Read a study from its folder or its database, even while it runs.

    Args:
        location: The study's folder, or a database URL.
        name: Of the study; required where the database holds several.

    Raises:
        TuneError: There is no study, or a record in it is damaged.
    """
    place = without_password(str(location))
    if not _is_url(location):
        refuse_lost_database(Path(location))
        place = str(Path(location) / DATABASE)
        roll_back_unfinished(Path(location) / DATABASE)
    url = _read_only_url(location)
    with database_errors(place), connected(url) as engine:
        studies = _studies(engine, location)
        check_integrity(engine)
        chosen = _choose(studies, location, name)
        reader = RecordReader(engine, studies[chosen])
        trials = reader.trials()
        facts, notes = Facts(engine, studies[chosen], chosen).read_with_notes()
        if "plan" not in facts:
            raise _no_study(location, f"study {chosen!r} was not created by effv2-tune")
        holders = _holders(engine, studies[chosen], reader)
        return _record(facts, tuple(trials), holders, notes)


def database_url(folder: Path) -> str:
    """The address of the database in a study's folder."""
    return sqlite_url(folder.resolve() / DATABASE)


def _holders(engine: sa.Engine, study_id: int, reader: RecordReader) -> dict[int, Owner]:
    """The supervisor that holds each running trial, by the trial's number."""
    by_id = read_holders(engine, study_id)
    return {number: by_id[i] for number, i in reader.unfinished().items() if i in by_id}


def _record(
    facts: Mapping[str, Any],
    trials: tuple[Trial, ...],
    holders: Mapping[int, Owner],
    notes: Sequence[str],
) -> StudyRecord:
    """The record of a study.

    Raises:
        DamagedError: A fact is not what this version writes.
    """
    ended, kind = facts.get("ended_by"), facts.get("device_kind")
    try:
        times = bucket_times(facts)
        images = data_facts(facts)
        contrary = contradictions(trials, times=times, data=images, device_kind=kind)
        plan = StudyPlan.model_validate_json(facts["plan"])
        return StudyRecord(
            plan=plan,
            base=Path(facts.get("base", ".")),
            trials=_restated(trials, times, images),
            ended_by=None if ended is None else StudyEnded.model_validate(ended),
            device_kind=kind,
            data=images,
            time_versions=times,
            seconds=sum(v for k, v in facts.items() if k.startswith((SECONDS, CONFIRM_SECONDS))),
            activity=activity(facts, holders, is_ended=ended is not None),
            command=_command(*facts.get("command", ("", ""))),
            contradictions=(*notes, *contrary),
            learning_rates=find_version(plan, facts),
        )
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            "A fact of the study was written by another version of effv2-tune, or is damaged: "
            f"{str(error).splitlines()[0]}."
        ) from error


def _restated(
    trials: Sequence[Trial], times: Mapping[str, Sequence[BucketTime]], data: DataFacts | None
) -> tuple[Trial, ...]:
    """The trials with the seconds of the newest step times, and their intervals."""
    newest = {digest: versions[-1] for digest, versions in times.items()}
    return tuple(with_intervals(with_newest_times(trials, times, data), newest, data))


def _command(folder: str, line: str) -> str:
    """The command line of the last run, for the present working directory."""
    if not line or folder == str(Path.cwd()):
        return line
    return f"cd {shlex.quote(folder)} && {line}"


def _is_url(location: Path | str) -> bool:
    return isinstance(location, str) and "://" in location


def _read_only_url(location: Path | str) -> str:
    if _is_url(location):
        return str(location)
    file = Path(location) / DATABASE
    if not file.is_file():
        raise _no_study(location, f"it has no {DATABASE}")
    return sqlite_read_only_url(file.resolve())


def _studies(engine: sa.Engine, location: Path | str) -> dict[str, int]:
    try:
        return find_studies(engine)
    except sa.exc.DatabaseError as error:
        if not is_damage(str(error.orig)):
            raise
        raise TuneError(
            f"There is no study in {without_password(str(location))}: its database cannot be read "
            f"({error.orig}).",
            hint=way_out(Path(location) / DATABASE),
            exit_code=EXIT_FAILED,
        ) from error


def _choose(studies: Mapping[str, int], location: Path | str, name: str | None) -> str:
    if name is not None and name in studies:
        return name
    if name is None and len(studies) == 1:
        return next(iter(studies))
    if not studies:
        raise _no_study(location, "its database is empty")
    content = "several studies" if name is None else f"no study {name!r}"
    raise TuneError(
        f"{without_password(str(location))} holds {content}.",
        hint=f"It holds: {', '.join(sorted(studies))}.",
    )


def _no_study(location: Path | str, why: str) -> TuneError:
    return TuneError(
        f"There is no study in {without_password(str(location))}: {why}.",
        hint="Name the folder that 'effv2-tune run' wrote to: runs/NAME, or that of --out.",
    )
