"""Which deaths of workers count against a trial."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.errors import EXIT_FAILED
from effv2_tune.search.worker_deaths import infeasible_reason, repeated_kills, with_death
from effv2_tune.study.trial import Trial
from effv2_tune.workers.pool import WorkerExited

TRIAL = Trial(number=3, state="running", config={"a": 1})
KINDS = ("crash", "memory", "kill")


def died(*kinds: str, step: int = 0, trial: Trial = TRIAL) -> Trial:
    for kind in kinds:
        exited = WorkerExited("some cause", "", step, kind)  # type: ignore[arg-type]
        trial = with_death(trial, exited)
    return trial


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["crash"], ""),
        (["crash", "crash"], "crashed 2 workers at the same point"),
        (["crash", "kill", "crash"], "crashed 2 workers at the same point"),
        (["memory"] * 2, ""),
        (["memory"] * 3, "does not fit the host memory"),
        (["kill"] * 50, ""),
        (["kill", "memory", "crash", "memory", "kill"], ""),
    ],
)
def test_crashes_and_lack_of_memory_count_and_kills_do_not(kinds: list[str], reason: str) -> None:
    found = infeasible_reason(died(*kinds), "some cause")

    assert found.startswith(reason)
    assert bool(found) == bool(reason)


@given(st.lists(st.sampled_from(KINDS)), st.sampled_from(KINDS))
def test_a_newer_checkpoint_sets_all_counts_to_zero(before: list[str], last: str) -> None:
    trial = died(last, step=8, trial=died(*before, step=7))

    assert trial == died(last, step=8)


def test_an_older_checkpoint_is_no_progress() -> None:
    trial = died("crash", step=3, trial=died("crash", step=7))

    assert (trial.crashes, trial.death_step) == (2, 7)


def test_kills_without_end_are_a_failure_and_no_wrong_input() -> None:
    error = repeated_kills(died("kill", step=5), WorkerExited("killed (SIGKILL)", "", 5, "kill"))

    assert error.exit_code == EXIT_FAILED
    assert "after step 5 (the last: killed (SIGKILL))" in error.message
    assert "rerun the same command" in str(error.hint)
