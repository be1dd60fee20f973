"""The forecast for a TPU agrees with what its compiler makes of the same programs."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.forecast.examples import DATA, bucket, target

from effv2_tune import catalog
from effv2_tune.forecast import roofline, tpu
from effv2_tune.forecast.memory_estimate import predict_memory
from effv2_tune.study.bucket import DataFacts


@given(
    name=st.sampled_from(["tiny", *catalog.VARIANTS]),
    resolution=st.sampled_from([32, 64, 224]),
    images=st.integers(1, 300),
)
def test_tiles_hold_every_number_and_more_of_them_for_more_images(
    name: str, resolution: int, images: int
) -> None:
    key, _ = bucket(target("v5e"), variant=name, resolution=resolution, batch_size=128)
    outputs = catalog.convolution_outputs(catalog.find_variant(name), resolution)
    numbers = sum(channels * pixels for channels, pixels in outputs)

    stored, of_more = (tpu.stored_activations(key, count) for count in (images, images + 1))

    assert images * numbers <= stored <= of_more


def test_a_batch_of_128_fills_the_lanes_and_one_of_16_leaves_them_half_empty() -> None:
    key, work = bucket(target("v5e"), variant="b0", resolution=224, batch_size=128)

    assert tpu.stored_activations(key, 128) == pytest.approx(128 * work.activations, rel=0.01)
    assert 1.7 < tpu.stored_activations(key, 16) / (16 * work.activations) < 1.9


def test_all_reduces_cost_latency_and_bytes_and_a_single_chip_has_none() -> None:
    seconds = {}
    for name in ("v5e", "v5e-4", "v5e-8"):
        where = target(name)
        key, work = bucket(where, variant="b0", resolution=224, batch_size=128)
        seconds[name] = tpu.all_reduce_seconds(work, key, where)
    frozen, head = bucket(target("v5e-8"), variant="b0", backbone="frozen", weights="imagenet")

    assert seconds["v5e"] == 0
    # 2 for each of 59 batch normalizations, and that of 11.8 MB of gradients.
    assert seconds["v5e-8"] == pytest.approx(119 * 8e-6 + 2 * 11.8e6 / 90e9, rel=0.01)
    assert seconds["v5e-4"] < seconds["v5e-8"]
    assert tpu.all_reduce_seconds(head, frozen, target("v5e-8")) < 1e-5


class Compiled(NamedTuple):
    """A training step that libtpu compiled, in mixed_bfloat16 with AdaBelief.

    Attributes:
        images: Resident ones; none where they are streamed.
        megabytes: Of HBM on a chip: arguments, temporary arrays and code.
        flops: In relation to those of its products alone.
    """

    variant: str
    pixels: int
    batch: int
    device: str
    side: int
    images: int
    ema: bool
    megabytes: float
    flops: float


COMPILED = [
    Compiled("tiny", 64, 512, "v5e-4", 32, 45_000, False, 162, 1.41),
    Compiled("b0", 32, 1024, "v5e-8", 32, 45_000, False, 281, 1.03),
    Compiled("b0", 224, 128, "v5e-8", 32, 45_000, False, 597, 1.09),
    Compiled("b0", 224, 128, "v5e", 32, 45_000, False, 1570, 1.09),
    Compiled("s", 384, 128, "v5e-8", 384, 8_000, True, 6341, 1.07),
    # The rows above are of libtpu 0.0.52, those below of 0.0.42.1 (benchmarks/tpu_compiler.py).
    Compiled("b0", 32, 128, "v5e-8", 32, 45_000, True, 315, 1.090),
    Compiled("b0", 224, 128, "v5e-8", 32, 45_000, True, 661, 1.077),
    Compiled("s", 384, 128, "v5e-8", 384, 0, True, 2806, 1.063),
]


@pytest.mark.parametrize(
    "step",
    COMPILED,
    ids=lambda step: f"{step.variant}@{step.pixels}, {step.megabytes} MB on {step.device}",
)
def test_memory_is_within_15_percent_of_the_compiled_step_and_flops_within_5(
    step: Compiled,
) -> None:
    where = target(step.device)
    data = DataFacts(
        classes=10,
        image_shape=(step.side, step.side, 3),
        train=step.images,
        validation=0,
        test=0,
        digest="0",
    )
    key, work = bucket(
        where,
        data,
        variant=step.variant,
        resolution=step.pixels,
        batch_size=step.batch,
        ema=step.ema,
    )

    memory = predict_memory(work, key, where, data, tier="resident")

    in_the_step = memory.total - memory.overhead  # the runtime is not
    assert in_the_step / 1e6 == pytest.approx(step.megabytes, rel=0.15)
    images = step.batch / where.placement.device_count
    flops = work.compiled_step_flops(images) / images
    assert flops / work.train_flops == pytest.approx(step.flops, rel=0.05)


class CompiledInference(NamedTuple):
    """An evaluation or extraction on eight chips, likewise.

    Attributes:
        images: Of a batch on each chip.
        milliseconds: Of a batch, as the compiler estimates it.
    """

    variant: str
    pixels: int
    images: int
    megabytes: float
    milliseconds: float
    flops: float


COMPILED_INFERENCE = [
    CompiledInference("b0", 224, 16, 192, 1.48, 1.04),
    CompiledInference("b0", 224, 128, 260, 5.9, 1.04),
    CompiledInference("xl", 512, 128, 3210, 356, 1.01),
]


@pytest.mark.parametrize(
    "batch",
    COMPILED_INFERENCE,
    ids=lambda batch: f"{batch.images} of {batch.variant}@{batch.pixels}",
)
def test_inference_takes_the_memory_and_the_time_of_the_compiled_programs(
    batch: CompiledInference,
) -> None:
    """Memory within 15 %, seconds within 30 %, FLOPs within 5 %."""
    where = target("v5e-8")
    key, work = bucket(
        where, variant=batch.variant, resolution=batch.pixels, batch_size=8 * batch.images
    )
    weights, images = 4 * work.parameters, DATA.train * 32 * 32 * 3

    memory = weights + images + tpu.inference_bytes(work, key, batch.images)
    seconds = 8 * batch.images * roofline.evaluation_seconds(work, key, where)

    assert memory / 1e6 == pytest.approx(batch.megabytes, rel=0.15)
    assert 1000 * seconds == pytest.approx(batch.milliseconds, rel=0.3)
    assert work.compiled_inference_flops / work.forward_flops == pytest.approx(
        batch.flops, rel=0.05
    )


@pytest.mark.parametrize(
    ("variant", "pixels", "milliseconds"), [("b0", 224, 5.9), ("xl", 512, 356)]
)
def test_extraction_takes_the_seconds_that_the_compiler_estimates_within_30_percent(
    variant: str, pixels: int, milliseconds: float
) -> None:
    where = target("v5e-8")
    key, work = bucket(where, variant=variant, resolution=pixels, batch_size=128)

    batch = 8 * 128 * roofline.extraction_seconds(work, key, where)

    assert 1000 * batch == pytest.approx(milliseconds, rel=0.3)
