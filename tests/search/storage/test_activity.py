"""Running, interrupted and ended studies, by their supervisors and leases."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from effv2_tune.search.storage.activity import activity
from effv2_tune.search.storage.leases import Owner

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HERE = Owner.of_this_process()
GONE = Owner(HERE.host, HERE.boot, HERE.pid, "1")
ELSEWHERE = Owner("another host", "another boot", 7, "1")


def run_of(owner: Owner | None, *, minutes_ago: float, seconds: float) -> dict[str, Any]:
    """The facts of a run that started so long ago and was last seen after so many seconds."""
    moment = f"{int((NOW - timedelta(minutes=minutes_ago)).timestamp() * 1e9):x}"
    return {
        f"supervisor:{moment}": None if owner is None else asdict(owner),
        f"seconds:{moment}": seconds,
    }


def test_a_study_runs_while_the_process_of_its_supervisor_exists() -> None:
    facts = run_of(HERE, minutes_ago=60, seconds=5)

    found = activity(facts, {3: HERE}, is_ended=False, now=NOW)

    assert (found.state, found.training) == ("running", {3})
    assert found.since == NOW - timedelta(minutes=60)


def test_a_supervisor_without_a_trial_runs_the_study() -> None:
    facts = run_of(HERE, minutes_ago=1, seconds=0)

    assert activity(facts, {}, is_ended=False, now=NOW).state == "running"


@pytest.mark.parametrize("owner", [GONE, None])
def test_a_study_is_interrupted_since_its_last_sign(owner: Owner | None) -> None:
    facts = run_of(owner, minutes_ago=60, seconds=600)
    facts |= run_of(None, minutes_ago=300, seconds=60)

    found = activity(facts, {3: GONE}, is_ended=False, now=NOW)

    assert (found.state, found.training) == ("interrupted", frozenset())
    assert found.since == NOW - timedelta(minutes=50)


@pytest.mark.parametrize(("silent_seconds", "state"), [(30, "running"), (180, "interrupted")])
def test_a_supervisor_elsewhere_is_alive_while_it_gives_signs(
    silent_seconds: float, state: str
) -> None:
    facts = run_of(ELSEWHERE, minutes_ago=60, seconds=3600 - silent_seconds)

    found = activity(facts, {0: ELSEWHERE}, is_ended=False, now=NOW)

    assert found.state == state
    assert found.training == ({0} if state == "running" else frozenset())


def test_of_two_supervisors_the_trial_of_the_dead_one_is_not_training() -> None:
    facts = run_of(GONE, minutes_ago=60, seconds=600) | run_of(HERE, minutes_ago=30, seconds=1790)

    found = activity(facts, {0: GONE, 1: HERE}, is_ended=False, now=NOW)

    assert (found.state, found.training) == ("running", {1})


def test_a_study_whose_budget_is_spent_has_ended_once_nobody_trains() -> None:
    facts = run_of(None, minutes_ago=60, seconds=600)

    assert activity(facts, {}, is_ended=True, now=NOW).state == "ended"
    assert activity(facts, {5: HERE}, is_ended=True, now=NOW).state == "running"


def test_a_lease_of_an_earlier_version_is_judged_by_the_last_sign_of_the_study() -> None:
    facts = {k: v for k, v in run_of(None, minutes_ago=60, seconds=3590).items() if "sec" in k}

    assert activity(facts, {0: ELSEWHERE}, is_ended=False, now=NOW).state == "running"
    later = NOW + timedelta(hours=1)
    assert activity(facts, {0: ELSEWHERE}, is_ended=False, now=later).state == "interrupted"


def test_a_study_that_recorded_nothing_is_interrupted_at_no_known_time() -> None:
    assert activity({}, {}, is_ended=False, now=NOW).since is None
