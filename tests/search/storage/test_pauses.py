"""A paused trial in the storage: running to Optuna, without an owner, and no orphan."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import optuna
import pytest

from effv2_tune.search import read_study
from effv2_tune.search.budget import Budget
from effv2_tune.search.clock import SystemClock
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.engines.sampler_view import SamplerView
from effv2_tune.search.retention import expired_checkpoints
from effv2_tune.search.storage.backup import count_ended, free_leases
from effv2_tune.search.storage.base import LeaseLostError
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.search.supervisor import open_study
from effv2_tune.study import StudyPlan, Trial
from effv2_tune.study.trial import Pause, RungResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPACE = {"epochs": {"type": "int", "low": 1, "high": 9}}
PLAN = StudyPlan.from_plain({"name": "mine", "search_space": SPACE, "trials": 2})


def begin(storage: DatabaseStorage) -> Trial:
    asked = OptunaEngine(storage, PLAN.search_space, sampler="random").ask()
    trial = Trial(number=asked.number, state="running", config=asked.config, attempts=1)
    storage.save(trial)
    return trial


def paused(trial: Trial) -> Trial:
    pause = Pause(rung=0, epoch=2, step=20, since=datetime(2026, 1, 1, tzinfo=UTC))
    rungs = (RungResult(rung=0, epoch=2, quality=0.5, projected_seconds=9.0),)
    return trial.model_copy(update={"state": "paused", "pause": pause, "rungs": rungs})


def running(trial: Trial) -> Trial:
    return trial.model_copy(update={"state": "running", "pause": None})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A study with one paused trial, whose supervisor has ended."""
    with open_study(PLAN, tmp_path, base=tmp_path) as opened:
        opened.storage.pause(paused(begin(opened.storage)))
    return tmp_path


@pytest.fixture
def storage(out: Path) -> Iterator[DatabaseStorage]:
    with contextlib.closing(DatabaseStorage(database_url(out), "mine", limit=2)) as opened:
        yield opened


def another(out: Path) -> DatabaseStorage:
    return DatabaseStorage(database_url(out), "mine", expiry_seconds=0.0)


def test_a_paused_trial_is_no_orphan(out: Path, storage: DatabaseStorage) -> None:
    for one in (storage, another(out)):
        assert not one.has_unowned()
        assert one.held_elsewhere() == []
        assert one.claim() is None
        assert one.is_idle()


def test_any_supervisor_continues_it_and_only_one(out: Path, storage: DatabaseStorage) -> None:
    other = another(out)
    (trial,) = storage.trials()

    other.take_paused(running(trial))
    with pytest.raises(LeaseLostError):
        storage.take_paused(running(trial))

    assert storage.trials()[0].state == "running"
    other.save(running(trial).model_copy(update={"attempts": 2}))
    assert storage.claim() is None
    other.release_all()
    assert storage.claim() == 0


def test_it_is_continued_and_paused_again(storage: DatabaseStorage) -> None:
    (trial,) = storage.trials()

    storage.take_paused(running(trial))
    storage.pause(trial)

    assert storage.trials()[0] == trial
    assert not storage.has_unowned()


def test_who_has_lost_the_lease_cannot_pause(out: Path, storage: DatabaseStorage) -> None:
    (trial,) = storage.trials()
    storage.take_paused(running(trial))
    storage.release_all()
    assert another(out).claim() == 0

    with pytest.raises(LeaseLostError):
        storage.pause(trial)

    assert storage.trials()[0].state == "running"


def test_a_record_that_ends_it_is_taken_over_where_its_supervisor_was_killed(
    out: Path, storage: DatabaseStorage
) -> None:
    pruned = storage.trials()[0].model_copy(update={"state": "pruned", "reason": "it ended"})
    storage.take_paused(pruned)
    storage.release_all()  # and Optuna does not know it yet

    other = another(out)
    assert other.claim() == 0
    other.finish(other.trials()[0])

    study = optuna.load_study(study_name="mine", storage=database_url(out))
    assert study.get_trials()[0].state == optuna.trial.TrialState.PRUNED
    assert other.trials()[0].reason == "it ended"


def test_a_restored_copy_keeps_it_paused(out: Path) -> None:
    assert count_ended(out) == 0
    free_leases(out / "study.db")

    other = another(out)
    assert not other.has_unowned()
    other.take_paused(running(other.trials()[0]))


def test_it_counts_towards_the_budget(storage: DatabaseStorage) -> None:
    budget = Budget(PLAN, storage, SystemClock())
    assert budget.spent() is None

    begin(storage)

    spent = budget.spent()
    assert spent is not None
    assert spent.kind == "trials"


def test_samplers_see_it_as_running(out: Path, storage: DatabaseStorage) -> None:
    study = optuna.load_study(study_name="mine", storage=database_url(out))
    view = SamplerView(study.directions, float)
    view.update(study.get_trials(), storage.trials())

    # What the constant liar of TPE counts, so that no other trial samples the same config.
    begun = view.begin(optuna.samplers.RandomSampler(seed=0)).study.get_trials()[0]

    assert begun.state == optuna.trial.TrialState.RUNNING
    assert begun.params == study.get_trials()[0].params


def test_its_checkpoint_is_kept(out: Path) -> None:
    for keep in ("all", "front", "none"):
        plan = PLAN.model_copy(update={"keep": keep})
        assert expired_checkpoints(read_study(out).trials, plan) == []


def test_results_show_it_as_paused_and_the_study_as_interrupted(out: Path) -> None:
    record = read_study(out)

    assert [trial.state for trial in record.shown_trials()] == ["paused"]
    assert record.activity.training == frozenset()
    assert record.activity.state == "interrupted"


@pytest.mark.parametrize("high", [12, 9])
def test_it_is_paused_after_an_edit_of_the_search_space(out: Path, high: int) -> None:
    space = {"epochs": {"type": "int", "low": 1, "high": high}}
    edited = StudyPlan.from_plain({"name": "mine", "search_space": space, "trials": 3})

    with open_study(edited, out, base=out) as opened:
        assert not opened.storage.has_unowned()
        (trial,) = opened.storage.trials()
        assert trial.state == "paused"
        opened.storage.take_paused(running(trial))


def test_an_edit_that_excludes_it_is_undone_by_the_next(out: Path) -> None:
    (trial,) = read_study(out).trials
    chosen = trial.config["epochs"]
    without = {"epochs": {"type": "choice", "values": [n for n in range(1, 9) if n != chosen]}}
    plan = StudyPlan.from_plain({"name": "mine", "search_space": without, "trials": 3})
    with open_study(plan, out, base=out) as opened:
        assert [one.state for one in opened.storage.trials()] == ["failed"]

    with open_study(PLAN, out, base=out) as opened:
        assert opened.storage.trials()[0] == trial
        assert not opened.storage.has_unowned()
