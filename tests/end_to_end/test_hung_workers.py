"""A worker that is stopped in the middle of a trial, as by a hung device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.search.events import TrialEnded, TrialStarted, WorkerDied
from effv2_tune.workers.silence import SilenceLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan


@pytest.mark.slow
def test_a_hung_worker_is_replaced_and_reported_and_its_trial_resumes_from_its_checkpoint(
    tmp_path: Path, make_plan: Callable[..., StudyPlan], run_scripted: Callable[..., list[Event]]
) -> None:
    plan = make_plan(trials=2, search={"halving": {"enabled": False}})
    limits = SilenceLimits(unpaced_seconds=60.0, factor=20.0, least_seconds=3.0)

    happened = run_scripted(plan, tmp_path, script={"1": {"hang_at": 4}}, silence=limits)

    died = [event for event in happened if isinstance(event, WorkerDied)]
    assert any(event.trial == 1 and "it hung: it sent nothing for" in event.cause for event in died)
    started = [event for event in happened if isinstance(event, TrialStarted)]
    assert any(event.trial == 1 and event.resumed_after == 3 for event in started)
    ended = [event.trial for event in happened if isinstance(event, TrialEnded)]
    assert [(trial.number, trial.state) for trial in ended] == [(0, "complete"), (1, "complete")]
    assert [epoch.epoch for epoch in ended[1].curve] == list(range(1, 7))
