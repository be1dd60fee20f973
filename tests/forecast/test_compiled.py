"""A bucket that was compiled for its device is forecast by what the compiler made of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.forecast.examples import DATA, bucket, target

from effv2_tune.forecast.compiled import CompiledForecast, compiled_forecast
from effv2_tune.forecast.memory_estimate import image_bytes, predict_memory
from effv2_tune.workers.compilations import Compilation, CompiledProgram

IMAGE = 32 * 32 * 3
WHERE = target("v5e-8")


def forecast(*programs: CompiledProgram, **settings: Any) -> CompiledForecast:
    key, work = bucket(WHERE, variant="b0", resolution=224, batch_size=1024, **settings)
    return compiled_forecast(
        Compilation(programs=programs, versions={}, device_kind=""),
        key=key,
        work=work,
        data=DATA,
        tier="resident",
        predicted=predict_memory(work, key, WHERE, DATA, tier="resident"),
    )


def program(kind: Any = "train", **facts: Any) -> CompiledProgram:
    split = "train" if kind == "train" else "validation"
    return CompiledProgram(kind=kind, split=split, compile_cpu_seconds=1.0, **facts)


def test_the_other_splits_and_the_other_programs_share_the_memory() -> None:
    train = program(argument_bytes=400, output_bytes=300, alias_bytes=290, temp_bytes=50)
    evaluate = program("evaluate", argument_bytes=100, code_bytes=7)

    found = forecast(train, evaluate)

    assert train.memory_bytes == 460
    assert found.memory == pytest.approx(460 + 7 + 15_000 * IMAGE)
    assert image_bytes(DATA) == 60_000 * IMAGE
    assert found.fits
    assert found.fitting_batch is None


def test_operations_are_those_of_one_image_over_all_devices() -> None:
    """Each of eight chips has an eighth of the batch of 1,024."""
    assert forecast(program(flops=128e9)).flops == pytest.approx(1e9)


def test_without_a_training_program_no_operations_are_known() -> None:
    assert forecast(program("evaluate", flops=1.0)).flops is None


def test_a_bucket_that_does_not_fit_names_a_batch_that_would() -> None:
    """Half of it would not: images and weights do not become less."""
    found = forecast(program(needed_bytes=int(33e9), reason="RESOURCE_EXHAUSTED"))

    assert not found.fits
    assert found.fitting_batch == 256


def test_where_images_and_weights_alone_do_not_fit_no_batch_does() -> None:
    found = forecast(program(needed_bytes=int(1e18), reason="RESOURCE_EXHAUSTED"))

    assert found.fitting_batch is None


def test_programs_that_fit_alone_may_not_fit_together() -> None:
    assert not forecast(program(temp_bytes=int(15.99e9))).fits
