"""Facts of a study: checksums, an index, versions of a bucket's time, and what contradicts them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.search.storage.earlier_version import remove_checksums

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT, TuneError
from effv2_tune.search import read_study
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.snapshot import database_url
from effv2_tune.search.supervisor import open_study
from effv2_tune.search.workload import BucketTime
from effv2_tune.study import load_plan
from effv2_tune.study.bucket import BucketKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Outcome

    Tune = Callable[..., Outcome]

BUCKET = BucketKey(
    backend="jax",
    device_kind="cpu",
    device_count=1,
    precision="float32",
    variant="b0",
    resolution=32,
    resize="bilinear",
    batch=8,
    classes=2,
    image_shape=(8, 8, 1),
    trainable="all",
    weights="none",
    optimizer=("sgd",),
    schedule="constant",
    augmentation=(),
    class_weighted=False,
)
ONE, TWO, THREE = (BucketTime(label="b0@32", step_seconds=seconds) for seconds in (0.1, 0.2, 0.3))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[DatabaseStorage]:
    with contextlib.closing(DatabaseStorage(database_url(tmp_path), "tiny")) as opened:
        yield opened


def execute(folder: Path, statement: str, *values: object) -> int:
    """Edit the database of a study; returns how many rows were changed."""
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        changed = database.execute(statement, values).rowcount
        database.commit()
    return changed


def stored(folder: Path, key: str) -> str:
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        query = "SELECT value_json FROM study_user_attributes WHERE key = ?"
        return str(database.execute(query, (f"effv2_tune:{key}",)).fetchone()[0])


def store(folder: Path, key: str, text: str) -> None:
    statement = "UPDATE study_user_attributes SET value_json = ? WHERE key = ?"
    assert execute(folder, statement, text, f"effv2_tune:{key}") == 1


def keys(folder: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        rows = database.execute("SELECT key FROM study_user_attributes ORDER BY key").fetchall()
    return [key.removeprefix("effv2_tune:") for (key,) in rows]


def changed(text: str) -> str:
    """Another value under the old checksum."""
    fact = json.loads(text)
    return json.dumps(fact | {"value": json.dumps("something else")})


def without_checksum(text: str) -> str:
    return str(json.loads(text)["value"])


DAMAGES: dict[str, Callable[[str], str]] = {
    "another value": changed,
    "without its checksum": without_checksum,
    "not JSON": lambda text: text[:-5],
    "a number": lambda _: "7",
    "null": lambda _: "null",
    "a list": lambda _: "[1, 2]",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damaged_fact_is_an_error_with_the_command_that_restores_the_backup(
    tune: Tune, study: Path, damage: Callable[[str], str]
) -> None:
    for key in keys(study):
        before = stored(study, key)
        store(study, key, damage(before))

        outcome = tune("status", "runs/small")

        assert outcome.code == EXIT_FAILED, key
        assert "The database runs/small/study.db is damaged." in outcome.err
        assert "cp runs/small/study.db.backup runs/small/study.db" in outcome.err
        store(study, key, before)


def test_every_missing_fact_is_an_error(tune: Tune, study: Path) -> None:
    for key in keys(study):
        before = stored(study, key)
        execute(study, "DELETE FROM study_user_attributes WHERE key = ?", f"effv2_tune:{key}")

        assert tune("status", "runs/small").code == EXIT_FAILED, key

        row = "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, ?, ?)"
        execute(study, row, f"effv2_tune:{key}", before)
    assert tune("status", "runs/small").code == 0


def test_exchanged_facts_are_an_error(tune: Tune, study: Path) -> None:
    one, two = (key for key in keys(study) if key.startswith("bucket:"))
    texts = stored(study, one), stored(study, two)
    store(study, one, texts[1])
    store(study, two, texts[0])

    assert "'bucket:" in tune("run", "study.yaml", "--trials", "5").err


def test_a_study_of_an_earlier_version_gets_checksums_when_it_is_resumed(
    tune: Tune, study: Path
) -> None:
    before = read_study(study)
    remove_checksums(study)

    assert read_study(study) == before
    assert tune("run", "study.yaml", "--trials", "5").code == 0
    assert all("sha256" in stored(study, key) for key in keys(study))


def test_a_fact_of_an_earlier_version_that_is_not_json_is_an_error(tune: Tune, study: Path) -> None:
    remove_checksums(study)
    store(study, "ended_by", '{"kind": "tri')

    outcome = tune("status", "runs/small")

    assert outcome.code == EXIT_FAILED
    assert "'ended_by' is damaged: it is not JSON" in outcome.err


def contradict_a_step_time(study: Path) -> None:
    remove_checksums(study)
    (key, *_) = (key for key in keys(study) if key.startswith("bucket:"))
    store(study, key, json.dumps(json.loads(stored(study, key)) | {"step_seconds": 0.932}))


def test_a_step_time_that_contradicts_the_trials_is_a_note_and_ends_a_run(
    tune: Tune, study: Path
) -> None:
    contradict_a_step_time(study)

    status, run = tune("status", "runs/small"), tune("run", "study.yaml", "--trials", "5")

    assert status.code == 0
    assert "and the study's step time of this bucket is 0.932 s" in status.out
    assert run.code == EXIT_FAILED
    assert "0.932 s" in run.err
    assert "cp runs/small/study.db.backup runs/small/study.db" in run.err
    assert len(read_study(study).trials) == 4


def test_step_times_that_contradict_their_trials_are_not_replayed(
    tune: Tune, folder: Path, study: Path
) -> None:
    text = (folder / "study.yaml").read_text().replace("name: small", "name: again")
    (folder / "again.yaml").write_text(f"{text}clock: {{recorded: {study}}}\n")
    assert tune("check", "again.yaml").code == 0
    contradict_a_step_time(study)

    outcome = tune("check", "again.yaml")

    assert outcome.code == EXIT_WRONG_INPUT
    assert "clock: The study in runs/small is damaged: Trial " in outcome.err


def test_a_missing_trial_is_an_error(tune: Tune, study: Path) -> None:
    for number in range(4):
        backup = (study / "study.db").read_bytes()
        assert execute(study, "DELETE FROM trials WHERE number = ?", number) == 1

        outcome = tune("status", "runs/small")

        assert outcome.code == EXIT_FAILED
        assert "is missing in Optuna's table" in outcome.err
        (study / "study.db").write_bytes(backup)


PARAMETERS = [
    "UPDATE trial_params SET param_value = param_value * 2 WHERE param_name = 'weight_decay'",
    "UPDATE trial_params SET distribution_json = replace(distribution_json, '0.1', '0.2')",
    "DELETE FROM trial_params WHERE param_id = 3",
    "UPDATE study_directions SET direction = 'MINIMIZE'",
    "UPDATE trial_values SET value_type = 'INF_POS'",
    "UPDATE trial_values SET objective = x'ff' WHERE trial_value_id = 3",
    "UPDATE trials SET datetime_start = '2026-99-99 00:00:00.000000'",
]


@pytest.mark.parametrize("statement", PARAMETERS)
def test_what_samplers_would_learn_wrongly_is_an_error(
    tune: Tune, study: Path, statement: str
) -> None:
    assert execute(study, statement)

    outcome = tune("run", "study.yaml", "--trials", "5")

    assert outcome.code == EXIT_FAILED
    assert "The database runs/small/study.db is damaged." in outcome.err
    assert "study.db.backup" in outcome.err


def test_a_damaged_index_of_sqlite_hides_no_trial(tune: Tune, study: Path) -> None:
    with contextlib.closing(sqlite3.connect(study / "study.db")) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_trials_study_id'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray((study / "study.db").read_bytes())
    content[(page - 1) * size + 4] = 2  # of the four entries
    (study / "study.db").write_bytes(content)

    outcome = tune("trials", "runs/small")

    assert outcome.code == EXIT_FAILED
    assert "is damaged" in outcome.err


def test_a_schema_that_is_not_utf8_is_an_error(tune: Tune, study: Path) -> None:
    content = (study / "study.db").read_bytes()
    content = content.replace(b"tabletrial_values", b"tabletrial_valu\xfe\xfe")
    content = content.replace(b"CREATE TABLE trial_values (", b"CREATE TABLE trial_values )")
    (study / "study.db").write_bytes(content)
    with (
        contextlib.closing(sqlite3.connect(study / "study.db")) as database,
        pytest.raises(UnicodeDecodeError),
    ):
        database.execute("SELECT * FROM studies")

    for command in (("status", "runs/small"), ("run", "study.yaml", "--trials", "5")):
        outcome = tune(*command)

        assert outcome.code == EXIT_FAILED
        assert "cp runs/small/study.db.backup runs/small/study.db" in outcome.err


def test_a_damaged_database_replaces_no_backup(tune: Tune, study: Path) -> None:
    backups = [(study / name).read_bytes() for name in ("study.db.backup",)]
    execute(study, "UPDATE study_user_attributes SET value_json = '{}'")

    assert tune("run", "study.yaml", "--trials", "9").code == EXIT_FAILED

    assert [(study / name).read_bytes() for name in ("study.db.backup",)] == backups


def test_a_restated_bucket_time_counts_and_the_earlier_ones_are_kept(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    assert storage.keep_bucket_time(BUCKET, ONE) == ONE
    assert storage.keep_bucket_time(BUCKET, TWO) == ONE

    assert storage.restate_bucket_time(BUCKET, TWO, replaces=ONE) == TWO
    assert storage.restate_bucket_time(BUCKET, ONE, replaces=TWO) == ONE

    assert storage.bucket_time(BUCKET) == ONE
    assert storage.keep_bucket_time(BUCKET, THREE) == ONE
    times = [key for key in keys(tmp_path) if key.startswith("bucket:")]
    assert times == [f"bucket:{BUCKET.digest}{version}" for version in ("", ":1", ":2")]


def test_the_newest_times_of_all_buckets_are_read_together(storage: DatabaseStorage) -> None:
    other = BUCKET.model_copy(update={"resolution": 64})
    storage.keep_bucket_time(BUCKET, ONE)
    storage.keep_bucket_time(other, THREE)
    storage.restate_bucket_time(BUCKET, TWO, replaces=ONE)

    assert storage.bucket_times() == {BUCKET.digest: TWO, other.digest: THREE}


def test_the_newest_intact_version_of_a_bucket_time_counts(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    storage.keep_bucket_time(BUCKET, ONE)
    storage.restate_bucket_time(BUCKET, TWO, replaces=ONE)
    storage.restate_bucket_time(BUCKET, THREE, replaces=TWO)
    first, second, third = (key for key in keys(tmp_path) if key.startswith("bucket:"))

    store(tmp_path, third, "rubbish")
    assert storage.bucket_time(BUCKET) == TWO
    store(tmp_path, first, changed(stored(tmp_path, first)))
    assert storage.bucket_time(BUCKET) == TWO
    assert storage.restate_bucket_time(BUCKET, ONE, replaces=TWO) == ONE
    assert storage.bucket_time(BUCKET) == ONE
    store(tmp_path, second, "null")
    store(tmp_path, third, "null")

    with pytest.raises(TuneError, match=f"'bucket:{BUCKET.digest}.* is damaged"):
        storage.bucket_time(BUCKET)


def test_a_damaged_version_is_a_note_where_an_earlier_one_is_intact(
    tune: Tune, study: Path
) -> None:
    plan = load_plan("study.yaml").plan
    with open_study(plan, study, base=study) as opened:
        bucket = opened.storage.trials()[0].bucket
        assert bucket is not None
        before = opened.storage.bucket_time(bucket)
        assert before is not None
        opened.storage.restate_bucket_time(bucket, THREE, replaces=before)
    assert read_study(study).bucket_times[bucket.digest] == THREE
    assert read_study(study).contradictions == ()
    store(study, f"bucket:{bucket.digest}:1", "{}")

    status, run = tune("status", "runs/small"), tune("run", "study.yaml", "--trials", "5")

    assert (status.code, run.code) == (0, 0)
    assert f"A version of bucket:{bucket.digest} is damaged" in status.out
    assert f"A version of bucket:{bucket.digest} is damaged" in run.err
    assert read_study(study).bucket_times[bucket.digest] == before


def restate(url: str, number: int, barrier: object) -> None:
    """Restate the bucket's time as one of several supervisors, all at once."""
    mine = BucketTime(label="b0@32", step_seconds=1.0 + number)
    with contextlib.closing(DatabaseStorage(url, "tiny")) as storage:
        barrier.wait()  # type: ignore[attr-defined]
        counts = storage.restate_bucket_time(BUCKET, mine, replaces=ONE)
        assert counts == storage.bucket_time(BUCKET)


def test_of_supervisors_that_restate_a_bucket_time_at_once_the_first_one_counts(
    tmp_path: Path, storage: DatabaseStorage
) -> None:
    storage.keep_bucket_time(BUCKET, ONE)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    others = [
        context.Process(target=restate, args=(database_url(tmp_path), number, barrier))
        for number in range(2)
    ]
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert [other.exitcode for other in others] == [0, 0]
    assert len([key for key in keys(tmp_path) if key.startswith("bucket:")]) == 2
    now = storage.bucket_time(BUCKET)
    assert now is not None
    assert now.step_seconds in (1.0, 2.0)
