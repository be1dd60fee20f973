"""A replicate in the storage: a trial of its own that counts as none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import optuna
import pytest

from effv2_tune.search import read_study
from effv2_tune.search.confirmation.replicates import begin_replicate, replicate_seed
from effv2_tune.search.duplicates import Duplicates
from effv2_tune.search.engines.base import position
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.engines.sampler_view import SamplerView
from effv2_tune.search.retention import expired_checkpoints
from effv2_tune.search.storage.base import BudgetSpentError
from effv2_tune.search.storage.records import unretried
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.search.supervisor import open_study
from effv2_tune.study import Measurement, StudyPlan, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.trial import FrozenTrial

    from effv2_tune.search.storage.database import DatabaseStorage

SPACE = {"epochs": {"type": "int", "low": 1, "high": 9}}
PLAN = StudyPlan.from_plain({"name": "mine", "search_space": SPACE, "trials": 2})


def complete(trial: Trial, quality: float) -> Trial:
    point = Measurement(quality=quality, train_seconds=10.0 + trial.number)
    return trial.model_copy(update={"state": "complete", "measurement": point})


def fill(storage: DatabaseStorage) -> None:
    """Two complete trials, and a better replicate of the first one."""
    engine = OptunaEngine(storage, PLAN.search_space, sampler="random")
    for quality in (0.8, 0.9):
        asked = engine.ask()
        begun = Trial(number=asked.number, state="running", config=asked.config)
        storage.finish(complete(begun, quality))
    storage.finish(complete(replicate(storage, of=0), 0.99))


def replicate(storage: DatabaseStorage, *, of: int) -> Trial:
    now = datetime.now(UTC)
    return begin_replicate(storage, PLAN.search_space, lambda trials: trials[of], now=now)


def optuna_trials(out: Path) -> list[FrozenTrial]:
    study = optuna.load_study(study_name="mine", storage=database_url(out))
    return study.get_trials()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with open_study(PLAN, tmp_path, base=tmp_path) as opened:
        fill(opened.storage)
    return tmp_path


def test_a_replicate_has_the_config_of_its_original_and_is_recorded_from_its_beginning(
    out: Path,
) -> None:
    first, _, again = read_study(out).trials

    assert again.config == first.config
    assert (again.number, again.replicate_of) == (2, 0)
    assert again.notes == ("replicate of trial 0",)


def test_a_replicate_is_on_no_front_of_ours_or_of_optuna(out: Path) -> None:
    assert 2 not in read_study(out).front()
    again = optuna_trials(out)[2]
    assert again.state == optuna.trial.TrialState.PRUNED
    assert again.values is None


def test_a_replicate_is_beyond_the_budget_and_no_replicate_of_a_trial_is_sampled(out: Path) -> None:
    with open_study(PLAN, out, base=out) as opened:
        assert replicate(opened.storage, of=1).number == 3
        with pytest.raises(BudgetSpentError):
            OptunaEngine(opened.storage, PLAN.search_space, sampler="random").ask()

    assert position(optuna_trials(out), 4) == 2


def test_samplers_learn_nothing_from_replicates(out: Path) -> None:
    directions = optuna.load_study(study_name="mine", storage=database_url(out)).directions
    view = SamplerView(directions, float)
    view.update(optuna_trials(out), read_study(out).trials)

    begun = view.begin(optuna.samplers.RandomSampler(seed=0))

    assert len(begun.study.get_trials()) == 2 + 1


def test_a_replicate_is_no_duplicate_and_has_none(out: Path) -> None:
    first, _, again = read_study(out).trials
    later = first.model_copy(update={"number": 3, "state": "running"})

    assert Duplicates().find(again, [first, again], ()) is None
    assert Duplicates().find(later, [again], ()) is None
    assert Duplicates().find(later, [first, again], ()) == first


def test_the_checkpoint_of_a_replicate_is_not_kept(out: Path) -> None:
    assert expired_checkpoints(read_study(out).trials, PLAN) == [2]


def test_a_failed_replicate_is_not_retried(out: Path) -> None:
    failed = read_study(out).trials[2].model_copy(update={"state": "failed"})

    assert unretried([failed]) == []


def test_a_replicate_keeps_its_link_where_the_search_space_is_edited(out: Path) -> None:
    wider = {"search_space": {"epochs": {"type": "int", "low": 1, "high": 12}}}
    edited = StudyPlan.from_plain({"name": "mine", "trials": 2} | wider)

    with open_study(edited, out, base=out):
        pass

    assert [trial.replicate_of for trial in read_study(out, name="mine").trials] == [None, None, 0]


def test_only_trials_that_are_named_are_claimed(out: Path) -> None:
    with open_study(PLAN, out, base=out) as opened:
        replicate(opened.storage, of=1)
        opened.storage.release_all()
    with open_study(PLAN, out, base=out) as opened:
        assert not opened.storage.has_unowned({0, 1})
        assert opened.storage.claim({0, 1}) is None
        assert opened.storage.claim({3}) == 3


def test_every_replicate_has_a_seed_of_its_own_that_is_always_the_same() -> None:
    seeds = [replicate_seed(seed, count) for seed in range(5) for count in range(1, 20)]

    assert len(set(seeds)) == len(seeds)
    assert replicate_seed(0, 1) == 3_964_924_996
