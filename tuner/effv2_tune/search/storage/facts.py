"""Keeps the facts of a study among Optuna's attributes, with checksums and an index of their keys.

A fact is stored as ``{"sha256": ..., "value": ...}``. The checksum covers the study's name, the key
and the value, so that a fact is neither changed nor exchanged unnoticed; the index, a fact itself,
has the keys of all others, so that none is missing unnoticed. Studies of version 0.1 have neither:
they get both when they are resumed.

A step time of a bucket can be restated: each version is a fact with a key of its own, and the
newest intact one counts.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from effv2_tune.search.storage.base import OURS
from effv2_tune.search.storage.damage import DamagedError
from effv2_tune.search.storage.records import ARCHIVED, STUDY_ATTRIBUTES, locked_study
from effv2_tune.search.workload import BucketTime
from effv2_tune.study.bucket import DataFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INDEX = "facts"
BUCKET = "bucket:"
_SEALED = {"sha256", "value"}
_NOT_JSON = object()


class Facts:
    """The facts of one study, by key.

    Args:
        engine: The database.
        study_id: Of the study, in Optuna's tables.
        name: Of the study.
    """

    def __init__(self, engine: sa.Engine, study_id: int, name: str) -> None:
        self._engine = engine
        self._study_id = study_id
        # That of a study which is archived, or not yet migrated, has an addition.
        self._name = name.partition(ARCHIVED)[0]

    def read(self) -> dict[str, Any]:
        """All facts, verified.

        Raises:
            DamagedError: One is damaged or missing.
        """
        return self.read_with_notes()[0]

    def read_with_notes(self) -> tuple[dict[str, Any], list[str]]:
        """All facts, and a note about each damaged version of a fact that has an intact one."""
        with self._engine.connect() as connection:
            return self._verified(self._texts(connection))

    def keep(self, key: str, value: Any) -> None:
        """Keep a fact; it replaces an earlier one of the same key."""
        self._change(lambda _: (key, value))

    def keep_once(self, key: str, value: Any) -> Any:
        """Keep a fact unless there is one of that key; returns the one that counts."""
        known = self.read()
        if key not in known:
            # If another supervisor keeps one at the same moment, the first one counts.
            known = self._change(lambda facts: None if key in facts else (key, value))
        return known[key]

    def restate(self, key: str, value: Any, *, replaces: Any) -> Any:
        """Add a version of a fact if its newest is still ``replaces``; returns the newest."""
        expected = _as_json(replaces)

        def next_version(facts: dict[str, Any]) -> tuple[str, Any] | None:
            if versions(facts, key)[-1:] != [expected]:
                return None
            newest = max(_number(name) for name in facts if _original(name) == key)
            return f"{key}:{newest + 1}", value

        return versions(self._change(next_version), key)[-1]

    def add_checksums(self) -> None:
        """Add checksums and the index to a new study, and to one of an earlier version."""
        with self._engine.begin() as connection:
            connection.execute(locked_study(self._study_id))
            texts = self._texts(connection)
            if INDEX in texts:
                return
            facts, _ = self._verified(texts)
            for key, value in facts.items():
                self._write(connection, key, value, is_new=False)
            self._write(connection, INDEX, sorted(facts), is_new=True)

    def _change(self, choose: Callable[[dict[str, Any]], tuple[str, Any] | None]) -> dict[str, Any]:
        """Write the fact that ``choose`` selects, and return all, in one transaction."""
        with self._engine.begin() as connection:
            # Where transactions do not begin with the write lock (PostgreSQL), others wait here.
            connection.execute(locked_study(self._study_id))
            texts = self._texts(connection)
            facts, _ = self._verified(texts)
            chosen = choose(facts)
            if chosen is not None:
                key, value = chosen
                self._write(connection, key, value, is_new=key not in texts)
                if key not in texts:
                    keys = sorted({*texts, key} - {INDEX})
                    self._write(connection, INDEX, keys, is_new=INDEX not in texts)
                facts[key] = _as_json(value)
        return facts

    def _write(self, connection: sa.Connection, key: str, value: Any, *, is_new: bool) -> None:
        table, full = STUDY_ATTRIBUTES, OURS + key
        row = {"study_id": self._study_id, "key": full, "value_json": self._sealed(key, value)}
        if is_new:
            connection.execute(table.insert().values(row))
            return
        mine = sa.and_(table.c.study_id == self._study_id, table.c.key == full)
        connection.execute(table.update().where(mine).values(value_json=row["value_json"]))

    def _texts(self, connection: sa.Connection) -> dict[str, str]:
        columns = STUDY_ATTRIBUTES.c
        query = sa.select(columns.key, columns.value_json).where(
            columns.study_id == self._study_id, columns.key.startswith(OURS, autoescape=True)
        )
        return {key.removeprefix(OURS): text for key, text in connection.execute(query)}

    def _verified(self, texts: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
        stored = {key: _parsed(text) for key, text in texts.items()}
        if INDEX not in stored:
            return _without_checksums(stored), []
        facts = {key: self._unsealed(key, value) for key, value in stored.items()}
        index = facts.pop(INDEX)
        if index is None:
            raise DamagedError("The index of the study's facts is damaged.")
        if added := sorted(facts.keys() - set(index[0])):
            raise DamagedError(f"The index of the study's facts lacks {added[0]!r}.")
        damaged = [key for key in index[0] if facts.get(key) is None]
        values = {key: one[0] for key, one in facts.items() if one is not None}
        return values, [_note(key, values) for key in damaged]

    def _sealed(self, key: str, value: Any) -> str:
        text = json.dumps(value)
        return json.dumps({"sha256": self._digest(key, text), "value": text})

    def _unsealed(self, key: str, stored: Any) -> tuple[Any] | None:
        """The value in a sealed fact; None if it is damaged."""
        try:
            text = stored["value"]
            return (json.loads(text),) if self._digest(key, text) == stored["sha256"] else None
        except (KeyError, TypeError):
            return None

    def _digest(self, key: str, text: str) -> str:
        return hashlib.sha256(f"{self._name}\n{key}\n{text}".encode()).hexdigest()


def versions(facts: Mapping[str, Any], key: str) -> list[Any]:
    """The versions of a fact, the newest last."""
    numbered = {_number(name): value for name, value in facts.items() if _original(name) == key}
    return [numbered[number] for number in sorted(numbered)]


def bucket_times(facts: Mapping[str, Any]) -> dict[str, list[BucketTime]]:
    """The versions of the time of each bucket, the newest last; by the digest of the bucket."""
    found: dict[str, list[BucketTime]] = defaultdict(list)
    for name in sorted(facts, key=_number):
        if name.startswith(BUCKET):
            digest = _original(name).removeprefix(BUCKET)
            found[digest].append(BucketTime.from_plain(facts[name]))
    return dict(found)


def data_facts(facts: Mapping[str, Any]) -> DataFacts | None:
    """The facts of the images; None before the first worker was ready."""
    data = facts.get("data")
    return None if data is None else DataFacts.model_validate(data, strict=False)


def _original(key: str) -> str:
    """The key of the first version: ``bucket:DIGEST`` of ``bucket:DIGEST:2``."""
    return ":".join(key.split(":")[:2]) if key.startswith(BUCKET) else key


def _number(key: str) -> int:
    number = key.removeprefix(_original(key)).removeprefix(":")
    return int(number) if number.isdecimal() else 0


def _parsed(text: str) -> Any:
    """A stored value; ``_NOT_JSON`` where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return _NOT_JSON


def _without_checksums(stored: dict[str, Any]) -> dict[str, Any]:
    """The facts of a study of an earlier version.

    Raises:
        DamagedError: It is not one, and its index is missing.
    """
    if any(isinstance(value, dict) and value.keys() == _SEALED for value in stored.values()):
        raise DamagedError("The index of the study's facts is missing.")
    for key, value in stored.items():
        if value is _NOT_JSON:
            raise DamagedError(f"The study's fact {key!r} is damaged: it is not JSON.")
    return stored


def _note(key: str, intact: Mapping[str, Any]) -> str:
    """A note about a damaged version of a fact.

    Raises:
        DamagedError: The fact has no intact version.
    """
    if not versions(intact, _original(key)):
        raise DamagedError(
            f"The study's fact {key!r} is damaged: it is missing, or does not match its checksum."
        )
    return f"A version of {_original(key)} is damaged; the newest intact one counts."


def _as_json(value: Any) -> Any:
    """The value as it is read back."""
    return json.loads(json.dumps(value))
