"""Leases running trials to supervisors: rows that only the holder of their token changes."""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from effv2_tune.search.storage.base import PAUSED, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

METADATA = sa.MetaData()
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("trial_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("study_id", sa.Integer, nullable=False),
    # Empty once released; `PAUSED` while the trial is paused.
    sa.Column("token", sa.String(64), nullable=False),
    # Counts up while the owner is alive, so that machines need no common clock.
    sa.Column("renewals", sa.Integer, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("boot", sa.String(128), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started", sa.String(64), nullable=False),
)

#: ``free``: without an owner; ``held``: its owner is alive; ``unknown``: not watched long enough;
#: ``paused``: without an owner until it is promoted.
LeaseState = Literal["free", "held", "unknown", "paused"]


@dataclass(frozen=True)
class Owner:
    """A process, distinct from every other one, past ones included.

    Attributes:
        host: Name of the machine.
        boot: The boot of the machine (and the process namespace, for containers).
        pid: Its number.
        started: Its start time in kernel ticks, as process numbers are reused.
    """

    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def of_this_process(cls) -> Owner:
        """The calling process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), pid, _started(pid))

    def is_dead(self, here: Owner) -> bool:
        """Whether the process is known to have ended, as seen from ``here``.

        Only the end of a process of the same boot of the same machine can be known.
        """
        return self.is_local(here) and _started(self.pid) != self.started

    def is_local(self, here: Owner) -> bool:
        """Whether the process is, or was, one of the machine and boot of ``here``."""
        return (self.host, self.boot) == (here.host, here.boot)


class Leases:
    """The leases of one study, as one supervisor sees them.

    Args:
        engine: The database.
        study_id: Of the study, in Optuna's tables.
        owner: This supervisor.
        expiry_seconds: Seconds without renewal after which a lease of another machine expires.
        now: A clock that never goes back.
    """

    def __init__(
        self,
        engine: sa.Engine,
        study_id: int,
        *,
        owner: Owner | None = None,
        expiry_seconds: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._study_id = study_id
        self._owner = Owner.of_this_process() if owner is None else owner
        self._expiry = expiry_seconds
        self._now = now
        self._tokens: dict[int, str] = {}
        # Of claims whose answer from the database has not arrived.
        self._claims: dict[int, str] = {}
        self._watched: dict[int, tuple[Any, float]] = {}
        self._alive: set[int] = set()

    def insert(self, session: Any, trial_id: int) -> None:
        """Lease a new trial, inside the transaction that creates it."""
        token = uuid.uuid4().hex
        # A trial that was deleted may have left a lease, and SQLite reuses its id.
        session.execute(LEASES.delete().where(LEASES.c.trial_id == trial_id))
        session.execute(LEASES.insert().values(self._row(trial_id, token)))
        self._tokens[trial_id] = token

    def holds(self, session: Any, trial_id: int) -> bool:
        """Whether this supervisor leased a trial, though it may not know that the commit succeeded.

        The number of a new trial whose transaction failed may be of another supervisor's by now.
        """
        query = sa.select(LEASES.c.token).where(LEASES.c.trial_id == trial_id)
        is_mine = bool(session.execute(query).scalar() == self._tokens.get(trial_id, "?"))
        if not is_mine:
            self._tokens.pop(trial_id, None)
        return is_mine

    def confirm(self, session: Any, trial_id: int) -> None:
        """Make the rest of this transaction conditional on the lease.

        Raises:
            LeaseLostError: Another supervisor holds it.
        """
        renewed = LEASES.update().values(renewals=LEASES.c.renewals + 1)
        self._change(session, trial_id, renewed)

    def pause(self, session: Any, trial_id: int) -> None:
        """Give back the lease in the transaction that pauses the trial; then :meth:`forget` it.

        Raises:
            LeaseLostError: Another supervisor holds it.
        """
        self._change(session, trial_id, LEASES.update().values(token=PAUSED))

    def take_paused(self, session: Any, trial_id: int) -> None:
        """Lease a paused trial, in the transaction that changes its record; then :meth:`own` it.

        Raises:
            LeaseLostError: It is paused no longer.
        """
        # The same one if this is repeated, as in `claim`.
        token = self._claims.setdefault(trial_id, uuid.uuid4().hex)
        taken = (
            LEASES.update()
            .where(LEASES.c.trial_id == trial_id, LEASES.c.token.in_((PAUSED, token)))
            .values(self._row(trial_id, token))
        )
        if session.execute(taken).rowcount != 1:
            del self._claims[trial_id]
            raise LeaseLostError(trial_id)

    def own(self, trial_id: int) -> None:
        """Count a lease as held, once its transaction has succeeded."""
        self._tokens[trial_id] = self._claims.pop(trial_id)

    def end(self, session: Any, trial_id: int) -> None:
        """Remove the lease in the transaction that ends the trial; then :meth:`forget` it.

        Raises:
            LeaseLostError: Another supervisor holds it.
        """
        self._change(session, trial_id, LEASES.delete())

    def forget(self, trial_id: int) -> None:
        """Forget the lease of a trial that has ended, or was paused."""
        self._tokens.pop(trial_id, None)

    def restart_watch(self) -> None:
        """Give other supervisors a new term: nobody could renew a lease until now."""
        now = self._now()
        self._watched = {trial_id: (seen, now) for trial_id, (seen, _) in self._watched.items()}

    def renew(self, trial_ids: Iterable[int]) -> list[int]:
        """Renew leases; returns those that another supervisor has taken over."""
        lost = []
        with self._engine.begin() as connection:
            for trial_id in trial_ids:
                try:
                    self.confirm(connection, trial_id)
                except LeaseLostError:
                    lost.append(trial_id)
        return lost

    def release_all(self) -> None:
        """Give back every lease of this supervisor."""
        with self._engine.begin() as connection:
            for trial_id, token in self._tokens.items():
                connection.execute(
                    LEASES.update()
                    .where(LEASES.c.trial_id == trial_id, LEASES.c.token == token)
                    .values(token="")
                )
        self._tokens.clear()

    def claim(self, trial_id: int) -> bool:
        """Take over a trial without an owner; of several supervisors that try, one succeeds."""
        # The same one if this is repeated.
        token = self._claims.setdefault(trial_id, uuid.uuid4().hex)
        row = self._row(trial_id, token)
        try:
            with self._engine.begin() as connection:
                seen = connection.execute(
                    LEASES.select().where(LEASES.c.trial_id == trial_id)
                ).one_or_none()
                if seen is None:
                    connection.execute(LEASES.insert().values(row))
                elif self._state(seen) != "free":
                    return False
                else:
                    changed = connection.execute(
                        LEASES.update()
                        .where(LEASES.c.trial_id == trial_id, LEASES.c.token == seen.token)
                        .values(row)
                    )
                    if changed.rowcount != 1:
                        return False
        except sa.exc.IntegrityError:
            return False
        self.own(trial_id)
        return True

    def lease_states(self, trial_ids: Iterable[int]) -> dict[int, LeaseState]:
        """The states of the leases of running trials, those of this supervisor excluded."""
        with self._engine.begin() as connection:
            query = LEASES.select().where(LEASES.c.study_id == self._study_id)
            rows = {row.trial_id: row for row in connection.execute(query)}
        return {
            trial_id: self._state(rows[trial_id])
            if trial_id in rows
            else self._watch(trial_id, None)
            for trial_id in trial_ids
            if trial_id not in self._tokens
        }

    def versions(self, connection: sa.Connection) -> dict[int, tuple[str, int]]:
        """What is new whenever the record of a leased trial is written, by the id of the trial.

        Each owner has a token of its own, under which renewals count up. A trial without an owner
        has none: the same version could come back.
        """
        columns = (LEASES.c.trial_id, LEASES.c.token, LEASES.c.renewals)
        query = sa.select(*columns).where(
            LEASES.c.study_id == self._study_id, LEASES.c.token.not_in(("", PAUSED))
        )
        return {i: (token, renewals) for i, token, renewals in connection.execute(query)}

    def _change(self, session: Any, trial_id: int, statement: Any) -> None:
        mine = statement.where(
            LEASES.c.trial_id == trial_id, LEASES.c.token == self._tokens.get(trial_id, "?")
        )
        if session.execute(mine).rowcount != 1:
            self._tokens.pop(trial_id, None)
            raise LeaseLostError(trial_id)

    def _row(self, trial_id: int, token: str) -> dict[str, Any]:
        return {
            "trial_id": trial_id,
            "study_id": self._study_id,
            "token": token,
            "renewals": 0,
            **asdict(self._owner),
        }

    def _state(self, row: Any) -> LeaseState:
        if row.token == PAUSED:
            return "paused"
        is_mine = row.token == self._claims.get(row.trial_id)
        owner = Owner(row.host, row.boot, row.pid, row.started)
        if is_mine or not row.token or owner.is_dead(self._owner):
            return "free"
        return self._watch(row.trial_id, (row.token, row.renewals))

    def _watch(self, trial_id: int, renewal: tuple[str, int] | None) -> LeaseState:
        """The state of a lease whose owner runs elsewhere, by whether it was renewed."""
        now = self._now()
        before = self._watched.get(trial_id)
        if before is None or before[0] != renewal:
            self._watched[trial_id] = (renewal, now)
            if before is not None:
                self._alive.add(trial_id)
        elif now - before[1] >= self._expiry:
            return "free"
        return "held" if trial_id in self._alive else "unknown"


def read_holders(engine: sa.Engine, study_id: int) -> dict[int, Owner]:
    """The owner of each lease that was not given back, by the id of its trial; writes nothing."""
    query = LEASES.select().where(
        LEASES.c.study_id == study_id, LEASES.c.token.not_in(("", PAUSED))
    )
    if not sa.inspect(engine).has_table(LEASES.name):
        return {}
    with engine.connect() as connection:
        return {
            row.trial_id: Owner(row.host, row.boot, row.pid, row.started)
            for row in connection.execute(query)
        }


def _boot() -> str:
    """The boot of the machine and the process namespace on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return "unknown"


def _started(pid: int) -> str:
    """Start time of a process in ticks since boot; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name in parentheses may hold anything; fields are counted after its end.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
