"""What a study will take: figures of others and of our own that the arithmetic must give again."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from effv2_tune import catalog
from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.forecast import roofline
from effv2_tune.forecast.accelerators import ACCELERATORS, named, recognise
from effv2_tune.forecast.buckets import buckets_of, draw_config, fewest_epochs
from effv2_tune.forecast.cost import count_sessions
from effv2_tune.forecast.disk import kept_trials
from effv2_tune.forecast.memory_estimate import image_tier, predict_memory
from effv2_tune.forecast.study import StudyForecast, forecast_study
from effv2_tune.forecast.target import Target, target_of
from effv2_tune.forecast.times import KnownTime, same_work
from effv2_tune.forecast.work import Work, work_of
from effv2_tune.host import Hardware
from effv2_tune.session.forecast import target_here
from effv2_tune.study.bucket import BucketKey, DataFacts, bucket_key
from effv2_tune.study.loading import load_plan
from effv2_tune.study.plan import StudyPlan
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.space import Space

DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=45_000, validation=5_000, test=10_000, digest="0"
)
DIGITS = DataFacts(
    classes=10, image_shape=(8, 8, 3), train=1_293, validation=144, test=360, digest="0"
)

#: Images per second in training on an RTX 3090: huggingface/pytorch-image-models,
#: results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv; variant, batch, size.
TIMM = [
    ("b0", 512, 192, 3428.08),
    ("b1", 512, 192, 2548.95),
    ("b2", 512, 208, 1951.52),
    ("b3", 256, 240, 1041.71),
    ("t", 256, 224, 1098.86),
    ("s", 128, 288, 559.15),
    ("s", 128, 300, 488.25),
    ("m", 64, 320, 246.55),
    ("m", 48, 384, 173.37),
    ("l", 32, 384, 97.56),
    ("xl", 16, 384, 62.14),
]

#: Peak resident gigabytes of a worker that `plan --measure` has had train: docs/plan.md.
RESIDENT = [
    ("tensorflow", "tiny", 32, 128, 0.98),
    ("tensorflow", "b0", 32, 32, 1.41),
    ("tensorflow", "b0", 32, 128, 1.46),
    ("tensorflow", "b0", 96, 64, 1.99),
    ("tensorflow", "b0", 160, 32, 2.28),
    ("tensorflow", "s", 96, 16, 2.32),
    ("jax", "tiny", 32, 128, 0.98),
    ("jax", "b0", 64, 32, 1.99),
]


def target(device: str | None = None, *, backend: Any = "tensorflow") -> Target:
    if device is None:
        return target_of(
            None,
            kind="cpu",
            backend=backend,
            device_kind="Slow CPU",
            count=1,
            memory=16e9,
            cores=2,
        )
    chip, count = named(device)
    return target_of(chip, kind=chip.kind, backend="jax", device_kind=chip.device_kind, count=count)


def bucket(where: Target, data: DataFacts = DATA, **settings: Any) -> tuple[BucketKey, Work]:
    key = bucket_key(Recipe(optimizer="adamw", epsilon=1e-7, **settings), data, where.placement)
    return key, work_of(key)


def plan_of(**changes: Any) -> StudyPlan:
    space = {
        "variant": {"type": "choice", "values": ["b0", "s"]},
        "epochs": {"type": "int", "low": 4, "high": 12, "step": 4},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "scale": "log"},
    }
    plan = {
        "name": "forecast",
        "recipe": {"resolution": 64, "schedule": "constant"},
        "search_space": space,
        "trials": 100,
        "search": {"halving": {"enabled": False}},
    }
    return StudyPlan.model_validate(plan | changes)


def forecast(plan: StudyPlan, where: Target, **known: KnownTime) -> StudyForecast:
    times = {same_work(one.key).digest: one for one in known.values()}
    return forecast_study(plan, DATA, where, on_disk=False, feature_limit=int(20e9), known=times)


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("TPU v5 lite", "v5e"),
        ("TPU v5e", "v5e"),
        ("TPU v6 lite", "v6e"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", None),
        ("TPU v4", None),
        ("AMD EPYC", None),
    ],
)
def test_a_device_is_known_by_the_name_that_its_driver_gives(
    reported: str, name: str | None
) -> None:
    found = recognise(reported)

    assert (None if found is None else found.name) == name


def test_every_device_of_the_table_is_recognised_by_its_own_name() -> None:
    assert [recognise(chip.device_kind) for chip in ACCELERATORS] == list(ACCELERATORS)


def test_a_person_names_a_device_and_how_many() -> None:
    assert (named("v5e-8")[0].name, named("v5e-8")[1]) == ("v5e", 8)
    assert (named("T4-2")[0].name, named("T4-2")[1]) == ("t4", 2)
    assert (named("a100-80gb")[0].memory, named("a100-80gb")[1]) == (80e9, 1)
    with pytest.raises(TuneError, match=r"Unknown device 'v5a', did you mean 'v5e'") as wrong:
        named("v5a")
    assert wrong.value.exit_code == EXIT_WRONG_INPUT
    assert "v6e" in (wrong.value.hint or "")


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "batch", "pixels", "measured"), TIMM)
def test_the_roofline_gives_each_row_of_timms_table_within_7_percent(
    variant: str, batch: int, pixels: int, measured: float
) -> None:
    where = target("rtx3090")
    data = DATA.model_copy(update={"classes": 1000})
    key, work = bucket(where, data, variant=variant, batch_size=batch, resolution=pixels)

    predicted = batch / roofline.step_seconds(work, key, where)

    assert predicted == pytest.approx(measured, rel=0.07)


def test_the_roofline_of_a_cpu_gives_the_step_that_it_was_taken_from() -> None:
    key, work = bucket(target(), batch_size=128, resolution=32)

    assert roofline.step_seconds(work, key, target()) == pytest.approx(0.21, rel=0.35)


def test_devices_share_a_batch_and_a_chip_without_bfloat16_is_slower_for_it() -> None:
    key, work = bucket(target("v5e"), batch_size=1024, resolution=224)
    one, eight = (roofline.step_seconds(work, key, target(name)) for name in ("v5e", "v5e-8"))
    older, newer = (roofline.step_seconds(work, key, target(name)) for name in ("t4", "l4"))

    assert 7 < one / eight < 8
    assert older > 2 * newer  # though both have the same bandwidth within 7 %


def test_an_unknown_device_has_no_roofline() -> None:
    where = target_of(None, kind="gpu", backend="jax", device_kind="NVIDIA X", count=1)

    found = forecast(plan_of(), where)

    assert not roofline.can_predict(where)
    assert [one.time for one in found.buckets] == [None, None]
    assert found.cost is None
    assert all(one.fits for one in found.buckets)  # nothing says otherwise


def test_a_timed_bucket_counts_and_corrects_the_roofline_of_the_others() -> None:
    where = target()
    alone = {one.share.key.variant: one for one in forecast(plan_of(), where).buckets}
    guess = alone["b0"].time
    assert guess is not None
    timed = KnownTime(
        key=alone["b0"].share.key.model_copy(update={"weights": "imagenet"}),
        step_seconds=2 * guess.step_seconds,
        source="recorded",
        origin="recorded by study x",
        start_seconds=30.0,
    )

    found = {one.share.key.variant: one for one in forecast(plan_of(), where, b0=timed).buckets}

    times = {name: one.time for name, one in found.items()}
    assert times["b0"] is not None
    assert times["s"] is not None
    assert alone["s"].time is not None
    assert (times["b0"].source, times["s"].source) == ("recorded", "scaled")
    assert times["b0"].step_seconds == timed.step_seconds
    assert times["s"].step_seconds == pytest.approx(2 * alone["s"].time.step_seconds)
    assert found["b0"].trial is not None
    assert found["b0"].trial.epoch == pytest.approx(351 * timed.step_seconds)


def test_what_did_not_fit_when_it_was_tried_takes_no_time_and_is_marked() -> None:
    where = target()
    before = forecast(plan_of(), where)
    small, large = before.buckets
    killed = KnownTime(
        key=large.share.key, step_seconds=None, source="measured", origin="now", reason="killed"
    )

    after = forecast(plan_of(), where, s=killed)

    assert [one.fits for one in after.buckets] == [True, False]
    assert before.cost is not None
    assert after.cost is not None
    assert small.trial is not None
    assert after.cost.hours < before.cost.hours
    assert after.cost.hours == pytest.approx(100 * small.trial.longest / 3600, rel=1e-6)


def test_cached_features_are_extracted_once_for_all_trials_of_a_network() -> None:
    plan = plan_of(recipe={"resolution": 64, "backbone": "frozen", "weights": "imagenet"})

    found = forecast(plan, target("v5e"))

    trials = [one.trial for one in found.buckets if one.trial is not None]
    once = sum(trial.extraction_once for trial in trials)
    assert [one.share.key.takes_features for one in found.buckets] == [True, True]
    assert all(trial.extraction > 10 * trial.epoch for trial in trials)
    assert found.cost is not None
    steps = sum(
        100 * one.share.share * one.trial.longest for one in found.buckets if one.trial is not None
    )
    assert found.cost.hours * 3600 == pytest.approx(once + steps)
    assert found.disk.features == 2 * 60_000 * 1280 * 4
    space = {
        "flip": {"type": "choice", "values": [False, True]},
        "variant": {"type": "choice", "values": ["b0"]},
    }
    mirrored = forecast(
        plan.model_copy(update={"search_space": Space.model_validate(space)}), target("v5e")
    )
    assert mirrored.disk.features == (60_000 + 45_000) * 1280 * 4  # one set, with a second side
    assert found.disk.checkpoints == 3 * (1 + 2) * 4 * (1280 + 1) * 10


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "variant", "pixels", "batch", "measured"), RESIDENT)
def test_predicted_memory_is_what_a_worker_was_measured_to_take(
    backend: str, variant: str, pixels: int, batch: int, measured: float
) -> None:
    where = target(backend=backend)
    key, work = bucket(where, DIGITS, variant=variant, resolution=pixels, batch_size=batch)

    predicted = predict_memory(work, key, where, DIGITS, tier="resident")

    assert predicted.total / 1e9 == pytest.approx(measured, rel=0.2)
    assert predicted.fits


@pytest.mark.parametrize(("variant", "batch", "pixels", "speed"), TIMM)
def test_what_timm_trained_on_24_gigabytes_is_predicted_to_fit_and_four_times_that_is_not(
    variant: str, batch: int, pixels: int, speed: float
) -> None:
    assert speed
    where = target("rtx3090")
    needed = []
    for count in (batch, 4 * batch):
        key, work = bucket(where, variant=variant, batch_size=count, resolution=pixels)
        needed.append(predict_memory(work, key, where, DATA, tier="resident").total)

    assert needed[0] < 24e9 < needed[1]


@pytest.mark.parametrize(("cores", "measured"), [(1, 0.22e-3), (2, 0.26e-3)])
def test_a_classifiers_step_on_a_cpu_is_within_a_factor_of_three(
    cores: int, measured: float
) -> None:
    # B0 in batches of 128 on an Intel Xeon: benchmarks/results/frozen.md, and with two threads.
    where = replace(target(), cores=cores)
    settings = {"variant": "b0", "resolution": 64, "backbone": "frozen", "weights": "imagenet"}
    key, work = bucket(where, batch_size=128, **settings)

    assert key.takes_features
    assert measured / 3 < roofline.step_seconds(work, key, where) < measured * 3


def test_a_frozen_network_keeps_nothing_and_a_batch_too_large_is_marked() -> None:
    where = target("t4")
    settings = {"variant": "s", "resolution": 384, "batch_size": 64}
    needed = []
    for more in ({}, {"backbone": "frozen", "weights": "imagenet", "features": "off"}):
        key, work = bucket(where, **settings, **more)
        needed.append(predict_memory(work, key, where, DATA, tier="resident"))

    assert [one.fits for one in needed] == [False, True]
    assert needed[0].limit == 0.75 * 16e9  # JAX takes three quarters


def test_images_stay_on_the_device_up_to_a_quarter_of_its_memory() -> None:
    cpu = target()
    tensorflow = target_of(
        named("t4")[0], kind="gpu", backend="tensorflow", device_kind="Tesla T4", count=1
    )

    assert image_tier(int(4e9), cpu, on_disk=True) == "resident"
    assert image_tier(int(4.1e9), cpu, on_disk=True) == "store"
    assert image_tier(int(4.1e9), cpu, on_disk=False) == "streamed"
    assert image_tier(2 * 2**30, tensorflow, on_disk=False) == "resident"
    assert image_tier(int(3e9), tensorflow, on_disk=False) == "streamed"
    assert image_tier(int(3.9e9), target("v5e"), on_disk=False) == "resident"


def test_the_widest_layer_is_the_first_at_full_width() -> None:
    b0 = catalog.find_variant("b0")

    # 112 x 112 pixels, and a fused block that widens 16 channels to 64 halves them first.
    assert catalog.count_widest_activation(b0, 224) == 112 * 112 * 32


# --- how often, how long, on which disk -----------------------------------------------------------


def test_buckets_have_their_share_of_the_trials_and_their_mean_epochs() -> None:
    found = buckets_of(plan_of(), DATA, target().placement)

    assert sum(one.share for one in found) == pytest.approx(1)
    assert {one.key.variant for one in found} == {"b0", "s"}
    for one in found:
        assert one.share == pytest.approx(0.5, abs=0.06)
        assert one.epochs == pytest.approx(8, abs=0.5)
        assert one.fewest_epochs == one.epochs
        assert one.epoch_steps == 45_000 // 128


def test_configs_are_drawn_evenly_on_their_scale_and_lie_in_the_space() -> None:
    space = StudyPlan.model_validate(
        {
            "name": "x",
            "trials": 1,
            "search_space": {
                "optimizer": {"type": "choice", "values": ["sgd", "adamw"]},
                "momentum": {
                    "type": "float",
                    "low": 0.5,
                    "high": 0.9,
                    "when": {"optimizer": "sgd"},
                },
                "epochs": {"type": "int", "low": 1, "high": 100, "scale": "log"},
                "initial_learning_rate": {
                    "type": "float",
                    "low": 1e-6,
                    "high": 1e-2,
                    "scale": "log",
                },
                "maximal_learning_rate": {
                    "type": "float",
                    "low": 1e-4,
                    "high": 1e-1,
                    "scale": "log",
                },
            },
        }
    ).search_space
    generator = random.Random(0)  # noqa: S311 - no secret

    drawn = [draw_config(space, generator) for _ in range(400)]

    assert all(space.contains(config) for config in drawn)
    assert {"momentum" in one for one in drawn if one["optimizer"] == "adamw"} == {False}
    middle = sum(math.log10(one["epochs"]) for one in drawn) / len(drawn)
    assert 0.8 < middle < 1.1  # and not 1.7, the logarithm of the middle


def test_halving_that_stops_all_it_may_leaves_a_fraction_of_the_epochs() -> None:
    plan = plan_of(search={"halving": {"enabled": True, "rungs": (0.1, 0.2, 0.4), "keep": 0.25}})
    recipe = plan.recipe_for({"epochs": 100})

    assert fewest_epochs(plan, recipe) == 10 + 10 / 4 + 20 / 16 + 60 / 64
    assert fewest_epochs(plan_of(), recipe) == 100


def test_a_study_costs_its_trials_or_its_hours_whichever_ends_it() -> None:
    where = target("v5e-8")
    by_trials = forecast(plan_of(), where).cost
    assert by_trials is not None
    half = by_trials.hours / 2
    by_hours = forecast(plan_of(hours=half), where).cost
    by_devices = forecast(plan_of(accelerator_hours=8 * half), where).cost
    endless = forecast(plan_of(trials=None, stop_when={"trials": 20}), where).cost

    assert (by_trials.limited_by, by_trials.trials) == ("trials", 100)
    assert by_trials.device_hours == 8 * by_trials.hours
    assert by_hours is not None
    assert (by_hours.limited_by, by_hours.hours) == ("hours", half)
    assert by_hours.trials in (49, 50)
    assert by_devices is not None
    assert by_devices.limited_by == "accelerator_hours"
    assert by_devices.hours == pytest.approx(half)
    assert endless is not None
    assert (endless.limited_by, endless.trials) == ("stop_when", 100)
    assert [count_sessions(hours, 9) for hours in (0.1, 9, 9.1, 28)] == [1, 1, 2, 4]


def test_gpus_with_a_worker_each_halve_the_hours_and_not_the_device_hours() -> None:
    one, two = (forecast(plan_of(workers=workers), target("t4")).cost for workers in (1, 2))

    assert one is not None
    assert two is not None
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.device_hours == pytest.approx(one.device_hours)


def test_disk_holds_three_checkpoints_of_each_worker_and_the_weights_that_are_kept() -> None:
    disks = {
        keep: forecast(plan_of(keep=keep, workers=2), target()).disk
        for keep in ("none", "front", "all")
    }
    large = catalog.find_variant("s")
    weights = catalog.count_parameters(large, 10)
    state = 2 * (weights - catalog.count_moving_statistics(large))

    assert {disk.checkpoints for disk in disks.values()} == {2 * 3 * 4 * (weights + state)}
    assert disks["none"].kept_weights == 0
    assert disks["all"].kept_weights > 5 * disks["front"].kept_weights > 0
    # 3 (1 + 1/2 + ... + 1/100) = 15.6
    assert [kept_trials("front", trials) for trials in (1, 5, 100)] == [1, 5, 16]


def test_workers_that_share_a_cpu_train_side_by_side_each_with_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    alone = load_plan("quickstart").plan
    four = alone.model_copy(update={"workers": 4})
    cpu = Hardware(kind="cpu", backend="tensorflow", devices=1, why="")

    assert target_here(alone, cpu).cores == 8
    assert target_here(four, cpu).cores == 2
