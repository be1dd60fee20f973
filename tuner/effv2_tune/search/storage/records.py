"""Reads and writes the records of trials in a database, with checksums against damage."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic import ValidationError

from effv2_tune.search.storage.base import OURS, optuna_state_name, optuna_values
from effv2_tune.search.storage.damage import DamagedError
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

RECORD = f"{OURS}record"
#: Whether a trial does not count towards the budget, as a duplicate, a retry or a replicate.
DUPLICATE = f"{OURS}duplicate"
#: The number of the failed trial that a trial retries.
RETRY = f"{OURS}retry_of"
#: The number of the trial that a replicate trains again.
REPLICATE = f"{OURS}replicate_of"
#: The original record of a trial that is outside of the search space since the space was edited.
OUTSIDE = f"{OURS}outside"
#: Part of the names of archived studies; not allowed in a study file.
ARCHIVED = "@"
_DUPLICATE_NOTE = "duplicate of trial "

# PostgreSQL has an enumeration, which it does not compare with text.
_STATE = sa.Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")

# The columns of Optuna's tables that are read here without Optuna.
_STUDIES = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
_TRIALS = sa.table(
    "trials",
    sa.column("trial_id"),
    sa.column("study_id"),
    sa.column("number"),
    sa.column("state", _STATE),
    sa.column("datetime_start", sa.DateTime()),
)
_VALUES = sa.table(
    "trial_values", sa.column("trial_id"), sa.column("objective"), sa.column("value")
)
_TRIAL_ATTRIBUTES = sa.table(
    "trial_user_attributes", sa.column("trial_id"), sa.column("key"), sa.column("value_json")
)
STUDY_ATTRIBUTES = sa.table(
    "study_user_attributes", sa.column("study_id"), sa.column("key"), sa.column("value_json")
)


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Engine]:
    """An engine for a database; its connections are closed at the end."""
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def locked_study(study_id: int) -> sa.Select[Any]:
    """A statement that locks the row of a study for the rest of its transaction."""
    return sa.select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id).with_for_update()


def trial_of(study_id: int, number: int) -> sa.Select[Any]:
    """A statement that finds a trial by its number: id, number and start, as Optuna needs them."""
    return sa.select(_TRIALS.c.trial_id, _TRIALS.c.number, _TRIALS.c.datetime_start).where(
        _TRIALS.c.study_id == study_id, _TRIALS.c.number == number
    )


def is_duplicate(trial: Trial) -> bool:
    """Whether a trial has the config of another one, or is outside of the edited search space."""
    return trial.is_outside or any(note.startswith(_DUPLICATE_NOTE) for note in trial.notes)


def is_replicate(trial: Trial) -> bool:
    """Whether a trial trains the config of another one again, with another seed."""
    return trial.replicate_of is not None


def without_replicates(trials: Iterable[Trial]) -> list[Trial]:
    """The trials of the search itself."""
    return [trial for trial in trials if not is_replicate(trial)]


def is_in_budget(trial: Trial) -> bool:
    """Whether a trial counts towards the budget; the failed trial counts in place of its retry."""
    return trial.retry_of is None and not is_replicate(trial) and not is_duplicate(trial)


def is_sampled(attributes: Mapping[str, Any]) -> bool:
    """Whether a trial has a config of its own, by its attributes: no retry and no replicate."""
    return RETRY not in attributes and REPLICATE not in attributes


def unretried(trials: Sequence[Trial]) -> list[Trial]:
    """The failed trials that have no retry, by number."""
    retried = {trial.retry_of for trial in trials}
    return [
        trial
        for trial in without_replicates(trials)
        if trial.state == "failed" and trial.number not in retried and not is_duplicate(trial)
    ]


def record_attributes(trial: Trial) -> dict[str, Any]:
    """The attributes of a trial in Optuna's form."""
    attributes: dict[str, Any] = {RECORD: add_checksum(trial), DUPLICATE: not is_in_budget(trial)}
    links = {RETRY: trial.retry_of, REPLICATE: trial.replicate_of}
    return attributes | {key: number for key, number in links.items() if number is not None}


def duplicate_note(original: int) -> str:
    """The note in the record of a duplicate."""
    return f"{_DUPLICATE_NOTE}{original}"


def add_checksum(trial: Trial) -> dict[str, str]:
    """The record of a trial with its SHA-256 checksum."""
    text = trial.model_dump_json()
    return {"sha256": _digest(text), "trial": text}


def verify_checksum(number: int, record: Any) -> Trial:
    """The trial in a record.

    Raises:
        DamagedError: The checksum does not match.
    """
    try:
        text = record["trial"]
        if _digest(text) == record["sha256"]:
            trial = Trial.model_validate_json(text)
            if trial.number == number:
                return trial
    except (KeyError, TypeError, AttributeError, ValidationError):
        pass
    raise _damaged(number)


class RecordReader:
    """Reads the records of one study, each ended one once, and others where they have changed.

    Args:
        engine: The database.
        study_id: Of the study, in Optuna's tables.
        versions: What is new whenever the record of a running trial is written, by the id of the
            trial; one that it lacks is always read.
    """

    def __init__(
        self,
        engine: sa.Engine,
        study_id: int,
        versions: Callable[[sa.Connection], Mapping[int, object]] = lambda _: {},
    ) -> None:
        self._engine = engine
        self._study_id = study_id
        self._versions = versions
        self._read_versions: Mapping[int, object] = {}
        self._finished: dict[int, Trial] = {}
        self._running: dict[int, tuple[str, Trial]] = {}

    def trials(self) -> list[Trial]:
        """Every trial by number; one whose ask was interrupted has an empty config.

        Raises:
            DamagedError: A record is damaged, or missing.
        """
        with self._engine.connect() as connection:
            states = self._states(connection)
            _check_numbers([number for number, _ in states.values()])
            versions = self._versions(connection)
            unread = [
                i
                for i, (number, state) in states.items()
                if number not in self._finished
                and not (state == "RUNNING" and self._is_known(i, number, versions))
            ]
            texts = self._texts(connection, unread)
            ended = [i for i in unread if states[i][1] != "RUNNING"]
            values = self._values(connection, ended)
        for trial_id in unread:
            number, state = states[trial_id]
            trial = self._read(number, texts.get(trial_id))
            if state != "RUNNING" and not (state == "WAITING" and trial_id not in texts):
                _check(trial, state, values.get(trial_id))
                self._finished[number] = trial
                self._running.pop(number, None)
        self._read_versions = versions
        known = self._finished | {number: trial for number, (_, trial) in self._running.items()}
        return [known[number] for number in sorted(known)]

    def _is_known(self, trial_id: int, number: int, versions: Mapping[int, object]) -> bool:
        """Whether the record of a running trial is the one that was read last."""
        version = versions.get(trial_id)
        is_same = version is not None and self._read_versions.get(trial_id) == version
        return is_same and number in self._running

    def unfinished(self) -> dict[int, int]:
        """Trial ids of the trials that are running in Optuna, by number."""
        query = sa.select(_TRIALS.c.trial_id, _TRIALS.c.number).where(
            _TRIALS.c.study_id == self._study_id, _TRIALS.c.state == "RUNNING"
        )
        with self._engine.connect() as connection:
            return {number: trial_id for trial_id, number in connection.execute(query)}

    def _read(self, number: int, text: str | None) -> Trial:
        """A record; the parsed one of the last call where it has not changed."""
        if text is None:
            trial = Trial(number=number, state="running", config={})
            self._running[number] = ("", trial)
            return trial
        before = self._running.get(number)
        if before is None or before[0] != text:
            try:
                before = (text, verify_checksum(number, json.loads(text)))
            except ValueError:
                raise _damaged(number) from None
            self._running[number] = before
        return before[1]

    def _states(self, connection: sa.Connection) -> dict[int, tuple[int, str]]:
        query = sa.select(_TRIALS.c.trial_id, _TRIALS.c.number, _TRIALS.c.state).where(
            _TRIALS.c.study_id == self._study_id
        )
        return {i: (number, str(state)) for i, number, state in connection.execute(query)}

    def _texts(self, connection: sa.Connection, trial_ids: list[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        columns = _TRIAL_ATTRIBUTES.c
        for batch in _in_batches(trial_ids):
            query = sa.select(columns.trial_id, columns.value_json).where(
                columns.trial_id.in_(batch), columns.key == RECORD
            )
            found.update((row[0], row[1]) for row in connection.execute(query))
        return found

    def _values(
        self, connection: sa.Connection, trial_ids: list[int]
    ) -> dict[int, dict[int, float]]:
        found: dict[int, dict[int, float]] = {}
        for batch in _in_batches(trial_ids):
            query = sa.select(_VALUES.c.trial_id, _VALUES.c.objective, _VALUES.c.value).where(
                _VALUES.c.trial_id.in_(batch)
            )
            for trial_id, objective, value in connection.execute(query):
                found.setdefault(trial_id, {})[objective] = value
        return found


def find_studies(engine: sa.Engine) -> dict[str, int]:
    """The studies of a database except archived ones: ids by name."""
    return {name: i for name, i in study_names(engine).items() if ARCHIVED not in name}


def study_names(engine: sa.Engine) -> dict[str, int]:
    """All studies of a database, archived ones included: ids by name."""
    with engine.connect() as connection:
        query = sa.select(_STUDIES.c.study_name, _STUDIES.c.study_id)
        return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def rename_studies(engine: sa.Engine, names: dict[str, str]) -> None:
    """Rename studies in the given order, in one transaction."""
    with engine.begin() as connection:
        for name, new_name in names.items():
            connection.execute(
                sa.update(_STUDIES).where(_STUDIES.c.study_name == name).values(study_name=new_name)
            )


def _check_numbers(numbers: Collection[int]) -> None:
    """Check that trials are numbered from 0 without a gap.

    Raises:
        DamagedError: They are not.
    """
    missing = set(range(len(numbers))) - set(numbers)
    if missing:
        raise DamagedError(f"Trial {min(missing)} is missing in Optuna's table.")


def _check(trial: Trial, state: str, values: dict[int, float] | None) -> None:
    """Compare an ended record with Optuna's state and values.

    Raises:
        DamagedError: They differ.
    """
    ours = optuna_values(trial) or ()
    if optuna_state_name(trial) != state or (values or {}) != dict(enumerate(ours)):
        raise _damaged(trial.number)


def _damaged(number: int) -> DamagedError:
    return DamagedError(
        f"The record of trial {number} is damaged: it does not match its checksum "
        "or its values in Optuna."
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _in_batches(ids: list[int]) -> Iterator[list[int]]:
    """Batches of ids, as databases limit the values of one query."""
    size = 500
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
