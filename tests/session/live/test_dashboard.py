"""What the dashboard of a study shows, by its log and its records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.session.live.logs import append, began, ended, started, trained

from effv2_tune.errors import TuneError
from effv2_tune.search import events as happened
from effv2_tune.session.live.dashboard import Dashboard
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

START = 1.8e9


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dashboard(study: Path, clock: Clock) -> Dashboard:
    """Of a study of four trials that has ended, and whose log has a new run from now on."""
    (study / "events.jsonl").write_text("")
    return Dashboard(study, now=clock)


def test_a_study_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="There is no study"):
        Dashboard(tmp_path)


def test_an_ended_study_shows_why_it_ended_and_no_work(dashboard: Dashboard) -> None:
    dashboard.follow()

    progress = dashboard.progress()
    assert progress["state"] == "ended: All 4 trials of the study are done."
    assert (progress["is_running"], progress["work"]) == (False, [])
    assert (progress["ended"], progress["limit"]) == (4, 4)
    assert progress["seconds_left"] is None


def test_events_change_the_progress_and_wake_those_that_wait(
    dashboard: Dashboard, study: Path
) -> None:
    seen = dashboard.wait(-1, 0)
    append(study / "events.jsonl", START, started(2), began(2), trained(2, 1), ended(2, 0.9))

    dashboard.follow()

    assert dashboard.wait(seen, 0) > seen
    progress = dashboard.progress()
    assert (progress["ended"], progress["limit"], progress["noun"]) == (3, 4, "trials")
    assert progress["best"] == "best accuracy 0.9000"
    assert dashboard.wait(dashboard.wait(-1, 0), 0.01) == dashboard.wait(-1, 0)


def test_the_page_has_a_new_version_soon_after_a_trial_and_later_after_an_epoch(
    dashboard: Dashboard, study: Path, clock: Clock
) -> None:
    log = study / "events.jsonl"

    def version_after(seconds: float) -> int:
        clock.now += seconds
        dashboard.follow()
        version: int = dashboard.progress()["version"]
        return version

    append(log, START, trained(0, 1))
    assert [version_after(1), version_after(5), version_after(10)] == [0, 0, 1]
    append(log, START, ended(0))
    assert [version_after(1), version_after(2)] == [1, 2]
    assert version_after(5) == 2


def test_the_content_is_that_of_the_page_and_is_computed_once(dashboard: Dashboard) -> None:
    text = dashboard.content()

    content = json.loads(text)
    assert dashboard.content() is text
    assert content["data"]["version"] == 0
    assert len(content["data"]["trials"]) == 4
    page = dashboard.page()
    assert content["main"] in page
    assert content["header"] in page
    assert 'id="live-progress"' in page
    assert "connect-src 'self'" in page


def test_failures_are_listed_with_their_logs_the_newest_twenty(
    dashboard: Dashboard, study: Path
) -> None:
    died = happened.WorkerDied(worker=0, trial=1, cause="signal SIGKILL", log_tail="dying now")
    failed = happened.TrialEnded(
        trial=Trial(number=1, state="failed", config={}, reason="its worker exited")
    )
    append(study / "events.jsonl", START, started(), died, failed)

    dashboard.follow()

    assert dashboard.progress()["failures"] == [
        {"text": "worker 0 ended: signal SIGKILL", "log": "dying now"},
        {"text": "trial 1 failed: its worker exited", "log": ""},
    ]
    append(study / "events.jsonl", START, *[failed] * 30)
    dashboard.follow()
    assert len(dashboard.progress()["failures"]) == 20


def test_a_database_that_cannot_be_read_for_a_moment_keeps_the_page(
    dashboard: Dashboard, study: Path, clock: Clock
) -> None:
    (study / "study.db").rename(study / "elsewhere.db")
    append(study / "events.jsonl", START, started(), ended(0))
    clock.now += 60
    dashboard.follow()
    before = dashboard.progress()["version"]

    (study / "elsewhere.db").rename(study / "study.db")
    clock.now += 60
    dashboard.follow()

    assert before == 0
    assert dashboard.progress()["version"] == 1


def test_a_day_of_events_leaves_nothing_behind(
    dashboard: Dashboard, study: Path, clock: Clock
) -> None:
    log, trial = study / "events.jsonl", 0
    append(log, clock.now, started())
    sizes = []

    for _ in range(24 * 6):
        for _ in range(10):
            append(log, clock.now, began(trial), *(trained(trial, n) for n in (1, 2, 3, 4)))
            append(log, clock.now + 30, ended(trial))
            trial += 1
            clock.now += 60
        dashboard.follow()
        sizes.append(len(json.dumps(dashboard.progress())))

    follower = dashboard._follower
    assert follower.ended == 24 * 60
    assert len(follower.work) == 0
    assert len(follower._durations) <= 100
    assert max(sizes[72:]) <= max(sizes[:72]) + 10
