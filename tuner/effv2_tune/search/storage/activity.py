"""Tells a running study from an interrupted one, by its supervisors and the leases they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.search.storage.leases import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

#: ``running``: a supervisor works on it; ``interrupted``: none does, and its budget is not spent.
StudyState = Literal["running", "interrupted", "ended"]

#: Prefixes of the facts of one run of a study, followed by the moment of its start.
SUPERVISOR, SECONDS, CONFIRM_SECONDS = "supervisor:", "seconds:", "confirm_seconds:"
#: Seconds without a sign after which a supervisor of another machine counts as dead. Supervisors
#: give one every few seconds; the clocks of two machines may differ by as much.
_EXPIRY = timedelta(seconds=120)


@dataclass(frozen=True)
class Activity:
    """Whether a study is running.

    Attributes:
        state: Of the study.
        since: When it began to run, was interrupted, or ended, to a few seconds; None where that
            was not recorded.
        training: Numbers of the running trials that a supervisor holds. All others that have not
            ended are interrupted.
    """

    state: StudyState
    since: datetime | None
    training: frozenset[int]


@dataclass(frozen=True)
class _Run:
    """One run of a study: its supervisor (None once it has left), and its first and last sign."""

    owner: Owner | None
    started: datetime
    seen: datetime


def activity(
    facts: Mapping[str, Any],
    holders: Mapping[int, Owner],
    *,
    is_ended: bool,
    now: datetime | None = None,
) -> Activity:
    """Whether a study is running, as seen from this process.

    A supervisor on this machine is looked up by its process. One on another machine counts as alive
    while it has given a sign lately.

    Args:
        facts: Of the study, without the prefix of their keys.
        holders: The supervisor that holds each leased trial, by the trial's number.
        is_ended: Whether its budget is spent.
        now: The time; that of this machine if left out.
    """
    now = datetime.now(UTC) if now is None else now
    here = Owner.of_this_process()
    runs = _runs(facts)
    seen = {run.owner: run.seen for run in runs if run.owner is not None}
    # A supervisor of an earlier version left no name.
    latest = max((run.seen for run in runs), default=None)

    def is_alive(owner: Owner) -> bool:
        if owner.is_local(here):
            return not owner.is_dead(here)
        last = seen.get(owner, latest)
        return last is not None and now - last < _EXPIRY

    alive = [run for run in runs if run.owner is not None and is_alive(run.owner)]
    training = frozenset(number for number, owner in holders.items() if is_alive(owner))
    if alive or training:
        return Activity("running", min((run.started for run in alive), default=None), training)
    return Activity("ended" if is_ended else "interrupted", latest, training)


def _runs(facts: Mapping[str, Any]) -> list[_Run]:
    prefixes = (SUPERVISOR, SECONDS, CONFIRM_SECONDS)
    moments = {key.rpartition(":")[2] for key in facts if key.startswith(prefixes)}
    runs = []
    for moment in moments:
        started = datetime.fromtimestamp(int(moment, 16) / 1e9, UTC)
        owner = facts.get(SUPERVISOR + moment)
        seconds = sum(float(facts.get(key + moment, 0.0)) for key in (SECONDS, CONFIRM_SECONDS))
        seen = started + timedelta(seconds=seconds)
        runs.append(_Run(None if owner is None else Owner(**owner), started, seen))
    return runs
