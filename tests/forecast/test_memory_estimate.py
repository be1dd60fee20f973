"""Predicted memory agrees with measured memory."""

from __future__ import annotations

import pytest
from tests.forecast.examples import DATA, TIMM, bucket, target

from effv2_tune.forecast.memory_estimate import image_tier, predict_memory
from effv2_tune.forecast.target import target_of
from effv2_tune.study.bucket import DataFacts
from effv2_tune.workers.accelerators import named

DIGITS = DataFacts(
    classes=10, image_shape=(8, 8, 3), train=1_293, validation=144, test=360, digest="0"
)

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


def test_a_frozen_network_keeps_nothing_and_a_batch_too_large_is_marked() -> None:
    where = target("t4")
    settings = {"variant": "s", "resolution": 384, "batch_size": 64}
    needed = []
    for more in ({}, {"backbone": "frozen", "weights": "imagenet", "features": "off"}):
        key, work = bucket(where, **settings, **more)
        needed.append(predict_memory(work, key, where, DATA, tier="resident"))

    assert [one.fits for one in needed] == [False, True]
    assert needed[0].limit == 0.75 * 16e9  # JAX takes three quarters


@pytest.mark.parametrize("device", [None, "t4", "v5e"])
def test_an_evaluation_of_large_images_needs_memory_and_a_small_one_none(
    device: str | None,
) -> None:
    where = target(device)

    def needed(evaluation: int | str) -> float:
        settings = {"variant": "b0", "resolution": 64, "batch_size": 64}
        key, work = bucket(where, **settings, evaluation_resolution=evaluation)
        return predict_memory(work, key, where, DATA, tier="resident").total

    assert needed("same") == needed(96) < needed(768)


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
