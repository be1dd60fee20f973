"""The roofline reproduces published and measured training speeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.forecast.examples import DATA, TIMM, bucket, forecast, plan_of, target

from effv2_tune.forecast import roofline
from effv2_tune.forecast.target import target_of


@pytest.mark.parametrize(("variant", "batch", "pixels", "measured"), TIMM)
def test_the_roofline_gives_each_row_of_timms_table_within_7_percent(
    variant: str, batch: int, pixels: int, measured: float
) -> None:
    where = target("rtx3090")
    data = DATA.model_copy(update={"classes": 1000})
    key, work = bucket(where, data, variant=variant, batch_size=batch, resolution=pixels)

    predicted = batch / roofline.step_seconds(work, key, where)

    assert predicted == pytest.approx(measured, rel=0.07)


#: Images per second in inference on the same GPU: benchmark-infer-amp-nhwc-pt113-cu117-rtx3090.csv.
TIMM_INFERENCE = [
    ("b0", 224, 9930.95),
    ("b1", 240, 6476.52),
    ("b2", 260, 4718.26),
    ("b3", 300, 2654.14),
    ("t", 288, 2601.49),
    ("s", 384, 1219.16),
    ("m", 480, 458.93),
    ("l", 480, 257.29),
    ("xl", 512, 161.32),
]


@pytest.mark.parametrize(("variant", "pixels", "measured"), TIMM_INFERENCE)
def test_the_roofline_gives_each_row_of_timms_table_of_inference_within_10_percent(
    variant: str, pixels: int, measured: float
) -> None:
    where = target("rtx3090")
    data = DATA.model_copy(update={"classes": 1000})
    key, work = bucket(where, data, variant=variant, resolution=pixels)

    assert 1 / roofline.evaluation_seconds(work, key, where) == pytest.approx(measured, rel=0.1)
    assert 1 / roofline.extraction_seconds(work, key, where) == pytest.approx(measured, rel=0.1)


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
