"""Editing a study file between two runs: what may change, and what its trials are then worth."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.search.engines.optuna import OptunaEngine
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.snapshot import database_url, read_study
from effv2_tune.search.supervisor import open_study
from effv2_tune.study import Measurement, Space, StudyPlan, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.trial import FrozenTrial

SPACE: dict[str, Any] = {
    "variant": {"type": "choice", "values": ["b0", "b1", "b2"]},
    "epochs": {"type": "int", "low": 1, "high": 9},
}


def plan(**changes: Any) -> StudyPlan:
    written = {"name": "mine", "search_space": SPACE, "trials": 3} | changes
    return StudyPlan.model_validate_json(json.dumps(written))


def told(storage: DatabaseStorage, space: Space, config: dict[str, Any], quality: float) -> int:
    """Train a trial without training."""
    asked = OptunaEngine(storage, space, sampler="random", enqueue=[config] * 99).ask()
    assert asked.config == config
    trial = Trial(
        number=asked.number,
        state="complete",
        config=config,
        measurement=Measurement(quality=quality, train_seconds=10.0 + asked.number),
    )
    storage.finish(trial)
    return asked.number


def study(out: Path, configs: list[dict[str, Any]]) -> None:
    trials = max(3, len(configs))
    with open_study(plan(trials=trials), out, base=out) as opened:
        for index, config in enumerate(configs):
            told(opened.storage, opened.plan.search_space, config, 0.5 + 0.1 * index)


def states(out: Path) -> list[str]:
    return [trial.state for trial in read_study(out, name="mine").trials]


@pytest.mark.parametrize(
    "changes",
    [{"recipe": {"epochs": 3}}, {"data": {"name": "digits", "test": 0.3}}, {"quality": "loss"}],
)
def test_what_trials_mean_may_not_change(tmp_path: Path, changes: dict[str, Any]) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 1}])

    with pytest.raises(TuneError, match="its trials are not comparable") as caught:
        open_study(plan(**changes), tmp_path, base=tmp_path)

    assert f"--warm-start {tmp_path}" in (caught.value.hint or "")
    assert states(tmp_path) == ["complete"]


def test_trials_count_where_they_lie_in_the_edited_space(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 1}, {"variant": "b2", "epochs": 2}])
    narrower = SPACE | {"variant": {"type": "choice", "values": ["b1", "b2"]}}

    with open_study(plan(search_space=narrower), tmp_path, base=tmp_path) as opened:
        trials = opened.storage.trials()
        optuna_trials = opened.storage.optuna.get_all_trials(opened.storage._study_id)

    assert [trial.state for trial in trials] == ["failed", "complete"]
    assert trials[0].reason == "outside the search space since it was edited (it was complete)"
    assert trials[0].config == {"variant": "b0", "epochs": 1}
    assert read_study(tmp_path, name="mine").front() == [1]
    assert optuna_trials[1].params == {"variant": "b2", "epochs": 2}
    assert optuna_trials[1].values == [0.6, 11.0]
    assert optuna_trials[1].distributions["variant"].choices == ("b1", "b2")


def test_a_space_widened_again_brings_its_trials_back(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 1}, {"variant": "b2", "epochs": 9}])
    before = read_study(tmp_path, name="mine").trials
    narrower = SPACE | {"epochs": {"type": "int", "low": 2, "high": 4}}

    open_study(plan(search_space=narrower), tmp_path, base=tmp_path).storage.close()
    assert states(tmp_path) == ["failed", "failed"]
    open_study(plan(), tmp_path, base=tmp_path).storage.close()

    assert read_study(tmp_path, name="mine").trials == before


def test_a_trial_outside_takes_no_place_in_the_budget(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": v, "epochs": 1} for v in ("b0", "b1", "b2")])
    narrower = SPACE | {"variant": {"type": "choice", "values": ["b1", "b2"]}}

    with open_study(plan(search_space=narrower), tmp_path, base=tmp_path) as opened:
        space = opened.plan.search_space
        number = told(opened.storage, space, {"variant": "b1", "epochs": 5}, 0.9)

    assert number == 3
    assert states(tmp_path) == ["failed", "complete", "complete", "complete"]


def test_a_parameter_may_change_its_kind_and_its_scale(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 2}, {"variant": "b0", "epochs": 3}])
    other = {
        "variant": {"type": "fixed", "value": "b0"},
        "epochs": {"type": "choice", "values": [2, 4]},
    }

    open_study(plan(search_space=other), tmp_path, base=tmp_path).storage.close()

    assert states(tmp_path) == ["complete", "failed"]


def test_a_study_that_is_running_keeps_its_space(tmp_path: Path) -> None:
    with open_study(plan(), tmp_path, base=tmp_path) as running:
        OptunaEngine(running.storage, plan().search_space, sampler="random").ask()
        other = SPACE | {"epochs": {"type": "int", "low": 2, "high": 4}}

        with pytest.raises(TuneError, match="so its search space cannot change"):
            open_study(plan(search_space=other), tmp_path, base=tmp_path)


def test_the_study_as_it_was_stays_in_the_database(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 1}])
    narrower = SPACE | {"epochs": {"type": "int", "low": 2, "high": 4}}

    open_study(plan(search_space=narrower), tmp_path, base=tmp_path).storage.close()

    before = DatabaseStorage(database_url(tmp_path), "mine@0")
    assert [trial.state for trial in before.trials()] == ["complete"]
    before.close()


def test_a_new_study_may_begin_with_configs_of_another(tmp_path: Path) -> None:
    first = [{"variant": "b1", "epochs": 7}]

    with open_study(plan(), tmp_path, base=tmp_path, first=first) as opened:
        assert opened._enqueued() == first
    with open_study(plan(), tmp_path, base=tmp_path) as again:
        assert again._enqueued() == first


MANY = [{"variant": "b0", "epochs": 1 + index % 9} for index in range(40)]
NARROWER = SPACE | {"epochs": {"type": "int", "low": 2, "high": 4}}
IN_NARROWER = ["complete" if 2 <= config["epochs"] <= 4 else "failed" for config in MANY]

OPEN = """
    import sys
    from pathlib import Path
    from effv2_tune.search.supervisor import open_study
    from effv2_tune.study import StudyPlan
    plan, out = StudyPlan.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    open_study(plan, out, base=out).storage.close()
"""


def copied(out: Path) -> int:
    """Trials of the half-made study; of an earlier one until it is discarded."""
    query = (
        "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = 'mine@new'"
    )
    with contextlib.closing(sqlite3.connect(out / "study.db")) as connection:
        return int(connection.execute(query).fetchone()[0])


def leases(out: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(out / "study.db")) as connection:
        return connection.execute("SELECT trial_id, study_id FROM leases").fetchall()


def kill_while_copying(plan: StudyPlan, out: Path, before: int) -> None:
    """Start the migration in another process, and kill it when it has copied a few trials."""
    written = plan.model_dump_json(exclude_unset=True)
    command = [sys.executable, "-c", textwrap.dedent(OPEN), written, str(out)]
    with subprocess.Popen(command) as migration:
        # The trials of the attempt before are discarded first.
        while before and copied(out) >= before:
            assert migration.poll() is None
            time.sleep(0.002)
        while copied(out) < 5:
            assert migration.poll() is None
            time.sleep(0.002)
        migration.kill()


def test_a_migration_that_is_killed_begins_again(tmp_path: Path) -> None:
    study(tmp_path, MANY)
    edited = plan(search_space=NARROWER, trials=40)
    before = read_study(tmp_path, name="mine").trials

    for _ in range(2):
        kill_while_copying(edited, tmp_path, copied(tmp_path))
        assert 5 <= copied(tmp_path) < len(MANY)
        assert read_study(tmp_path, name="mine").trials == before

    open_study(edited, tmp_path, base=tmp_path).storage.close()
    assert states(tmp_path) == IN_NARROWER
    assert leases(tmp_path) == []
    open_study(plan(), tmp_path, base=tmp_path).storage.close()
    assert read_study(tmp_path, name="mine").trials == before


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("is_written", [False, True])
def test_a_migration_that_is_interrupted_at_any_trial_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, *, is_written: bool
) -> None:
    study(tmp_path, MANY[:4])
    with open_study(plan(trials=5), tmp_path, base=tmp_path) as opened:
        asked = OptunaEngine(opened.storage, plan().search_space, sampler="random").ask()
        opened.storage.save(Trial(number=asked.number, state="running", config=asked.config))
        opened.storage.release_all()
    add = DatabaseStorage.add

    def interrupted(storage: DatabaseStorage, template: FrozenTrial) -> None:
        is_last = len(storage.trials()) == count
        if is_written or not is_last:
            add(storage, template)
        if is_last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseStorage, "add", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                open_study(plan(search_space=NARROWER), tmp_path, base=tmp_path)

    open_study(plan(search_space=NARROWER), tmp_path, base=tmp_path).storage.close()
    assert states(tmp_path)[:4] == IN_NARROWER[:4]


def test_leases_of_deleted_trials_do_not_block_new_ones(tmp_path: Path) -> None:
    """Versions before 0.2 left them in the databases of migrations that were killed."""
    study(tmp_path, MANY[:1])
    row = "INSERT INTO leases VALUES (2, 2, 'token', 0, 'host', 'boot', 1, '1')"
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection, connection:
        connection.execute(row)

    with open_study(plan(trials=2), tmp_path, base=tmp_path) as opened:
        assert told(opened.storage, opened.plan.search_space, MANY[1], 0.9) == 1


def test_optuna_knows_the_names_of_the_objectives_after_an_edit_too(tmp_path: Path) -> None:
    study(tmp_path, [{"variant": "b0", "epochs": 3}])
    narrower = SPACE | {"variant": {"type": "choice", "values": ["b0", "b1"]}}

    open_study(plan(search_space=narrower), tmp_path, base=tmp_path).storage.close()

    mine = optuna.load_study(study_name="mine", storage=database_url(tmp_path))
    assert mine.metric_names == ["accuracy", "train_seconds"]
