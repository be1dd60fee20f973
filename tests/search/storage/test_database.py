"""Storage: leases held by real processes, two storages on one database, damaged records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING

import optuna
import pytest

from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.storage.base import (
    BudgetSpentError,
    LeaseLostError,
    TrialNumberTakenError,
)
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.records import add_checksum, verify_checksum
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.study.space import Space
from effv2_tune.study.trial import Measurement, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from effv2_tune.study.plan import StudyPlan

    MakePlan = Callable[..., StudyPlan]

SPACE = Space.model_validate({"x": {"type": "float", "low": 0.0, "high": 1.0}})


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DatabaseStorage]:
    with contextlib.closing(DatabaseStorage(database_url(tmp_path), "tiny")) as opened:
        yield opened


def another(tmp_path: Path, **options: float) -> DatabaseStorage:
    """A second supervisor on the same study."""
    return DatabaseStorage(database_url(tmp_path), "tiny", **options)  # type: ignore[arg-type]


def begin(storage: DatabaseStorage) -> Trial:
    asked = OptunaEngine(storage, SPACE, sampler="random").ask()
    trial = Trial(number=asked.number, state="running", config=asked.config)
    storage.save(trial)
    return trial


def told(trial: Trial, quality: float) -> Trial:
    measurement = Measurement(quality=quality, train_seconds=10.0)
    return trial.model_copy(update={"state": "complete", "measurement": measurement})


def test_a_new_trial_is_leased_from_its_first_moment(storage: DatabaseStorage) -> None:
    OptunaEngine(storage, SPACE).ask()

    with storage._rdb.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT trial_id, pid FROM leases").all()
    assert [tuple(row) for row in rows] == [(1, os.getpid())]


def test_of_two_who_tell_one_trial_the_first_counts_and_the_second_loses(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    other = another(tmp_path)
    trial = begin(storage)
    storage.release_all()
    assert other.claim() == trial.number
    other.finish(told(trial, 0.5))

    with pytest.raises(LeaseLostError):
        storage.finish(told(trial, 0.9))

    (kept,) = read_study_trials(tmp_path)
    assert kept.measurement == Measurement(quality=0.5, train_seconds=10.0)


def read_study_trials(tmp_path: Path) -> list[Trial]:
    return list(another(tmp_path).trials())


def test_a_lease_that_was_taken_over_is_reported_and_saves_nothing(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    other = another(tmp_path)
    trial = begin(storage)
    storage.release_all()
    storage._leases._tokens[1] = "the old token"
    assert other.claim() == trial.number

    assert storage.renew([trial.number]) == [trial.number]
    with pytest.raises(LeaseLostError):
        storage.save(trial.model_copy(update={"attempts": 7}))

    assert other.trials()[0].attempts == 0


def test_of_the_running_trials_those_are_read_again_that_have_changed(
    tmp_path: Path, storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, third = another(tmp_path), another(tmp_path)
    trial, _ = begin(storage), begin(storage)
    assert [one.attempts for one in reader.trials()] == [0, 0]
    texts, read = reader._reader._texts, []

    def texts_of(connection: sa.Connection, trial_ids: list[int]) -> dict[int, str]:
        read.append(list(trial_ids))
        return texts(connection, trial_ids)

    monkeypatch.setattr(reader._reader, "_texts", texts_of)
    storage.save(trial.model_copy(update={"attempts": 3}))

    assert [one.attempts for one in reader.trials()] == [3, 0]
    assert [one.attempts for one in reader.trials()] == [3, 0]
    assert read == [[1], []]

    storage.release_all()
    assert [one.attempts for one in reader.trials()] == [3, 0]
    assert third.claim() == trial.number
    third.save(trial.model_copy(update={"attempts": 4}))
    assert [one.attempts for one in reader.trials()] == [4, 0]


def test_nobody_takes_a_trial_from_a_living_owner(tmp_path: Path, storage: DatabaseStorage) -> None:
    begin(storage)

    assert another(tmp_path).claim() is None


def test_a_silent_owner_loses_its_trial_after_the_expiry(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    trial = begin(storage)
    other = another(tmp_path, expiry_seconds=0.2)

    assert other.claim() is None
    assert other.has_unowned()
    time.sleep(0.25)

    assert other.claim() == trial.number


def test_an_owner_that_renews_keeps_its_trial_whatever_its_clock_says(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    trial = begin(storage)
    other = another(tmp_path, expiry_seconds=2.0)
    for _ in range(25):
        assert other.claim() is None
        time.sleep(0.1)
        storage.renew([trial.number])

    assert not other.has_unowned()


def test_a_trial_is_held_elsewhere_once_its_owner_was_seen_to_renew_it(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    trial = begin(storage)
    other = another(tmp_path)
    other.claim()
    assert (other.held_elsewhere(), other.has_unowned()) == ([], True)

    storage.renew([trial.number])

    assert (other.held_elsewhere(), other.has_unowned()) == ([trial.number], False)
    assert storage.held_elsewhere() == []
    storage.finish(told(trial, 0.5))
    assert other.held_elsewhere() == []


def test_the_last_trial_is_begun_once_by_two_supervisors(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    one, two = (DatabaseStorage(url, "tiny", limit=1) for _ in range(2))

    OptunaEngine(one, SPACE).ask()

    with pytest.raises(BudgetSpentError):
        OptunaEngine(two, SPACE).ask()


def test_two_supervisors_that_ask_at_once_are_given_different_configs(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    one, two = (DatabaseStorage(url, "tiny") for _ in range(2))
    theirs = OptunaEngine(two, SPACE, seed=1)
    template, _ = theirs._sample(0)

    first = OptunaEngine(one, SPACE, seed=1).ask()

    with pytest.raises(TrialNumberTakenError):
        two.begin(template, 0)
    second = theirs.ask()
    assert (first.number, second.number) == (0, 1)
    assert first.config["x"] == template.params["x"]
    assert second.config != first.config


def test_a_trial_that_another_supervisor_ends_during_the_check_is_no_contradiction(
    tmp_path: Path, storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(another(tmp_path)) as other:
        running = begin(other)
        read = storage.optuna.get_all_trials
        moves = iter([lambda: other.finish(told(running, 0.5)), lambda: begin(other)])

        def read_after_a_move(*arguments: int, **options: bool) -> list[optuna.trial.FrozenTrial]:
            next(moves, lambda: None)()
            return read(*arguments, **options)

        monkeypatch.setattr(storage.optuna, "get_all_trials", read_after_a_move)

        assert storage.check_consistency(SPACE, ("maximize", "minimize")) == []
        assert next(moves, None) is None
        assert [trial.state for trial in storage.trials()] == ["complete", "running"]


def test_what_is_kept_once_is_what_was_kept_first(tmp_path: Path, storage: DatabaseStorage) -> None:
    other = another(tmp_path)

    assert storage.keep_once("device_kind", "A") == "A"
    assert other.keep_once("device_kind", "B") == "A"


def test_an_infeasible_trial_is_told_pruned_with_a_constraint(storage: DatabaseStorage) -> None:
    trial = begin(storage)

    storage.finish(trial.model_copy(update={"state": "infeasible", "reason": "too big"}))

    study = optuna.load_study(study_name="tiny", storage=storage.optuna)
    assert study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert study.trials[0].constraints == {"fits": 1.0}


def test_optuna_is_told_plain_quality_and_plain_seconds(storage: DatabaseStorage) -> None:
    storage.finish(told(begin(storage), 0.75))

    study = optuna.load_study(study_name="tiny", storage=storage.optuna)
    assert study.trials[0].values == [0.75, 10.0]
    assert study.trials[0].intermediate_values == {}


def test_a_record_of_before_deaths_were_counted_is_read(storage: DatabaseStorage) -> None:
    trial = begin(storage)
    written = json.loads(add_checksum(trial)["trial"])
    text = json.dumps({k: v for k, v in written.items() if k not in ("deaths", "death_step")})
    old = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "trial": text}

    assert verify_checksum(trial.number, old) == trial


def test_the_objectives_have_names_for_the_tools_of_optuna(
    storage: DatabaseStorage, tmp_path: Path
) -> None:
    storage.name_objectives(("loss", "train_seconds"))
    storage.name_objectives(("loss", "train_seconds"))

    study = optuna.load_study(study_name="tiny", storage=database_url(tmp_path))
    assert study.metric_names == ["loss", "train_seconds"]
