"""What actions take, which freeze-thaw divides by."""

from __future__ import annotations

from typing import Any

import pytest

from effv2_tune.search.engines.action_costs import StudyCosts
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.search.workload import BucketTime
from effv2_tune.study import StudyPlan, Trial
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.plan import RecordedClock, TargetSpec
from effv2_tune.study.trial import Environment, RungResult, Times
from effv2_tune.workers.messages import Ready

PLAN = StudyPlan.from_plain(
    {
        "name": "mine",
        "recipe": {"variant": "b0", "epochs": 4, "batch_size": 100},
        "search_space": {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "scale": "log"},
            "resolution": {"type": "choice", "values": [32, 64]},
            "batch_size": {"type": "choice", "values": [100, 200, 5000]},
        },
        "trials": 2,
    }
)
DATA = DataFacts(
    classes=10, image_shape=(8, 8, 3), train=1000, validation=100, test=100, digest="d"
)
WHERE = Environment(
    device_kind="x",
    device_count=1,
    backend="tensorflow",
    precision="float32",
    threads=1,
    host="here",
    versions={},
)
PLACE = Placement(backend="tensorflow", device_kind="x", device_count=1, precision="float32")


def config(resolution: int, batch: int = 100) -> dict[str, Any]:
    return {"weight_decay": 1e-3, "resolution": resolution, "batch_size": batch}


def trained(resolution: int, **changes: Any) -> Trial:
    recipe = PLAN.recipe_for(config(resolution))
    bucket = bucket_key(recipe, DATA, PLACE)
    return Trial(
        number=0,
        state="running",
        config=config(resolution),
        recipe=recipe,
        bucket=bucket,
        environment=WHERE,
        **changes,
    )


@pytest.fixture
def storage() -> MemoryStorage:
    opened = MemoryStorage("mine", PLAN.directions)
    opened.bind(Ready(environment=WHERE, data=DATA))
    return opened


def test_a_bucket_that_was_timed_has_exact_seconds(storage: MemoryStorage) -> None:
    trial = trained(32)
    assert trial.bucket is not None
    storage.keep_bucket_time(trial.bucket, BucketTime(label="b0@32", step_seconds=0.5))

    assert StudyCosts(PLAN, storage).given([trial]).seconds([config(32)]) == [4 * 10 * 0.5]


def test_other_buckets_are_in_proportion_to_their_multiplications(storage: MemoryStorage) -> None:
    trial = trained(32)
    assert trial.bucket is not None
    storage.keep_bucket_time(trial.bucket, BucketTime(label="b0@32", step_seconds=0.5))

    small, wide, large = (
        StudyCosts(PLAN, storage).given([trial]).seconds([config(32), config(32, 200), config(64)])
    )

    assert wide == pytest.approx(small)  # half the steps, each twice the work
    assert 3 * small < large < 5 * small


def test_what_cannot_be_trained_takes_forever(storage: MemoryStorage) -> None:
    assert StudyCosts(PLAN, storage).given([trained(32)]).seconds([config(32, 5000)]) == [1e12]


def test_before_the_first_trial_all_configs_take_as_long(storage: MemoryStorage) -> None:
    assert StudyCosts(PLAN, storage).given([]).seconds([config(32), config(64)]) == [1.0, 1.0]


def timed(storage: MemoryStorage, trial: Trial) -> Trial:
    assert trial.bucket is not None
    storage.keep_bucket_time(trial.bucket, BucketTime(label="b0", step_seconds=0.5))
    return trial


SLOW_START = Times(build=2.0, compile=16.0, measure=2.0, checkpoint=6.0)


def test_a_new_bucket_costs_what_others_took_to_build_compile_and_time(
    storage: MemoryStorage,
) -> None:
    trial = timed(storage, trained(32, times=SLOW_START, attempts=1))
    costs = StudyCosts(PLAN, storage).given([trial])

    assert costs.begin_seconds([config(32), config(64), config(32, 5000)]) == [0.0, 20.0, 0.0]


def test_a_paused_trial_costs_what_a_checkpoint_takes(storage: MemoryStorage) -> None:
    rungs = [RungResult(rung=k, epoch=k + 1, quality=0.1, projected_seconds=1.0) for k in (0, 1)]
    trial = timed(storage, trained(32, times=SLOW_START, attempts=1, rungs=tuple(rungs)))

    assert StudyCosts(PLAN, storage).given([trial]).continue_seconds(trial) == 2.0


def test_on_a_target_of_eight_devices_they_are_worth_an_eighth(storage: MemoryStorage) -> None:
    trial = trained(32, times=SLOW_START, attempts=1)
    assert trial.bucket is not None
    on_target = trial.bucket.model_copy(update={"device_count": 8})
    trial = timed(storage, trial.model_copy(update={"bucket": on_target}))
    plan = PLAN.model_copy(update={"target": TargetSpec(devices=8)})
    costs = StudyCosts(plan, storage).given([trial])

    assert costs.begin_seconds([config(64)]) == [2.0]  # 2.5, to one digit
    assert costs.continue_seconds(trial) == 0.8  # 0.75


def test_under_a_recorded_clock_nothing_that_was_measured_here_counts(
    storage: MemoryStorage,
) -> None:
    trial = timed(storage, trained(32, times=SLOW_START, attempts=1))
    plan = PLAN.model_copy(update={"clock": RecordedClock(recorded="before")})
    costs = StudyCosts(plan, storage).given([trial])

    assert (costs.begin_seconds([config(64)]), costs.continue_seconds(trial)) == ([0.0], 0.0)


def test_before_the_first_step_time_the_seconds_are_only_relative(storage: MemoryStorage) -> None:
    trial = trained(32)
    before = StudyCosts(PLAN, storage).given([trial])
    timed(storage, trial)

    assert not before.is_absolute
    assert StudyCosts(PLAN, storage).given([trial]).is_absolute
    assert not StudyCosts(PLAN, storage).given([]).is_absolute


def test_the_step_times_are_read_once_for_all_configs_of_a_decision(storage: MemoryStorage) -> None:
    trial = timed(storage, trained(32))
    costs = StudyCosts(PLAN, storage).given([trial])
    assert trial.bucket is not None
    known = BucketTime(label="b0", step_seconds=0.5)
    storage.restate_bucket_time(
        trial.bucket, known.model_copy(update={"step_seconds": 1.0}), replaces=known
    )

    assert costs.seconds([config(32)]) == [4 * 10 * 0.5]
    assert StudyCosts(PLAN, storage).given([trial]).seconds([config(32)]) == [4 * 10 * 1.0]


def test_with_stages_the_step_time_is_the_mean_over_the_epochs(storage: MemoryStorage) -> None:
    staged = PLAN.recipe.model_copy(update={"stages": 2, "resolution_from": 32})
    plan = PLAN.model_copy(update={"recipe": staged})
    small, large = timed(storage, trained(32, times=SLOW_START, attempts=1)), trained(64)
    assert large.bucket is not None
    half = StudyCosts(plan, storage).given([small]).begin_seconds([config(64)])
    storage.keep_bucket_time(large.bucket, BucketTime(label="", step_seconds=1.5))
    both = StudyCosts(plan, storage).given([small, large.model_copy(update={"number": 1})])

    assert half == [20.0]
    assert both.seconds([config(64)]) == [4 * 10 * (0.5 + 1.5) / 2]
    assert both.begin_seconds([config(64)]) == [0.0]


def test_the_extraction_before_the_first_part_of_a_training_counts(storage: MemoryStorage) -> None:
    first = {"backbone": "finetune", "weights": "imagenet", "head_epochs": 1}
    plan = PLAN.model_copy(update={"recipe": PLAN.recipe.model_copy(update=first)})
    head, layers = plan.recipe_for(config(64)).stage_recipes()
    for part, seconds, extraction in ((head, 0.1, 7.0), (layers, 1.5, 0.0)):
        time = BucketTime(label="", step_seconds=seconds, extraction_seconds=extraction)
        storage.keep_bucket_time(bucket_key(part, DATA, PLACE), time)

    costs = StudyCosts(plan, storage).given([trained(32)])

    assert costs.seconds([config(64)]) == pytest.approx([10 * 0.1 + 30 * 1.5 + 7])
