"""A bucket that was compiled for its device is forecast by what the compiler made of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.forecast.examples import DATA, bucket, target

from effv2_tune.forecast.compiled import CompiledForecast, compiled_forecast
from effv2_tune.forecast.memory_estimate import image_bytes
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
        target=WHERE,
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


def test_operations_are_those_of_one_image_over_all_devices() -> None:
    """Each of eight chips has an eighth of the batch of 1,024."""
    assert forecast(program(flops=128e9)).flops == pytest.approx(1e9)


def test_without_a_training_program_no_operations_are_known() -> None:
    assert forecast(program("evaluate", flops=1.0)).flops is None


def test_the_memory_of_a_refused_bucket_is_known_if_the_compiler_states_it() -> None:
    stated = forecast(program(needed_bytes=int(33e9), reason="RESOURCE_EXHAUSTED"))
    unknown = forecast(program(reason="RESOURCE_EXHAUSTED"))

    assert not stated.fits
    assert stated.known_memory == stated.memory > 33e9
    assert not unknown.fits
    assert unknown.known_memory is None


def test_programs_that_fit_alone_may_not_fit_together() -> None:
    assert not forecast(program(temp_bytes=int(15.99e9))).fits
