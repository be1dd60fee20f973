"""What is predicted to fit in place of a bucket that does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.forecast.examples import DATA, bucket, target

from effv2_tune.forecast.alternatives import Alternatives, Misfit
from effv2_tune.forecast.memory_estimate import predict_memory

CHIPS = target("v5e-8")
SETTINGS: dict[str, Any] = {"variant": "xl", "resolution": 512, "batch_size": 1024}


def misfit(where: Any = CHIPS, *, known: float | None = None, **changes: Any) -> Misfit:
    """XL at 512 px, 128 images on each of eight chips with 16 GB."""
    key, _ = bucket(where, **SETTINGS)
    count = where.placement.device_count
    facts = {"machine": count, "divisor": count} | changes
    return Misfit(key=key, target=where, data=DATA, tier="resident", known=known, **facts)


def fits(where: Any, **changes: Any) -> bool:
    key, work = bucket(where, **SETTINGS | changes)
    return predict_memory(work, key, where, DATA, tier="resident").fits


def test_the_largest_batch_on_a_chip_is_a_multiple_of_eight_and_more_would_not_fit() -> None:
    batch = misfit().alternatives().batch

    assert batch is not None
    assert batch % 64 == 0
    assert fits(CHIPS, batch_size=batch)
    assert not fits(CHIPS, batch_size=batch + 64)


def test_the_largest_resolution_is_a_multiple_of_32_and_more_would_not_fit() -> None:
    resolution = misfit().alternatives().resolution

    assert resolution is not None
    assert resolution % 32 == 0
    assert fits(CHIPS, resolution=resolution)
    assert not fits(CHIPS, resolution=resolution + 32)


def test_hosts_with_more_memory_fit_what_does_not_fit_here() -> None:
    key, work = bucket(CHIPS, **SETTINGS | {"batch_size": 256})
    needed = predict_memory(work, key, CHIPS, DATA, tier="resident").total
    hosts = replace(misfit(), key=key).alternatives().hosts

    assert 16e9 < needed < 32e9
    assert "v6e-8" in hosts
    assert not {"v5e-8", "v5e-1", "v3-8", "v2-8"} & {*hosts}


def test_a_worker_with_a_chip_of_eight_may_have_more_of_them() -> None:
    where = target("v5e")
    found = replace(
        misfit(where, machine=8), key=bucket(where, variant="s", resolution=384, batch_size=512)[0]
    ).alternatives()

    assert found.devices_per_worker in (2, 4, 8)
    # Eight workers with a chip each need a host with as many.
    assert {*found.hosts} <= {"v6e-8"}
    assert misfit(where, machine=1).alternatives().devices_per_worker is None


def test_batches_stay_multiples_of_the_devices_of_the_target() -> None:
    where = target("v5e")
    key = bucket(where, variant="s", resolution=384, batch_size=1024)[0]

    batch = replace(misfit(where, machine=8, divisor=8), key=key).alternatives().batch

    assert batch is not None
    assert batch % 8 == 0


def test_what_the_compiler_found_corrects_the_prediction() -> None:
    """A step that takes twice its prediction leaves room for about half of the images."""
    key, work = bucket(CHIPS, **SETTINGS)
    predicted = predict_memory(work, key, CHIPS, DATA, tier="resident")
    known = predicted.weights + predicted.images + 2 * predicted.activations

    batches = [misfit().alternatives().batch, misfit(known=known).alternatives().batch]

    assert batches[0] is not None
    assert batches[1] is not None
    assert 0.3 < batches[1] / batches[0] < 0.7


def test_what_does_not_fit_though_it_is_predicted_to_is_not_proposed_again() -> None:
    key, work = bucket(CHIPS, variant="b0", resolution=224, batch_size=128)
    assert predict_memory(work, key, CHIPS, DATA, tier="resident").fits

    found = replace(misfit(known=16.1e9), key=key).alternatives()

    assert found.batch is not None
    assert found.batch < 128
    assert found.resolution is not None
    assert found.resolution < 224


def test_where_weights_alone_exceed_the_memory_a_smaller_network_is_the_way() -> None:
    small = replace(CHIPS, memory=1e9)

    found = replace(misfit(), target=small, key=misfit().key).alternatives()

    assert (found.batch, found.resolution, found.devices_per_worker) == (None, None, None)
    assert str(Alternatives()) == "a smaller network may fit"


@pytest.mark.parametrize("where", [target("t4"), target()])
def test_no_host_is_named_for_other_devices_than_tpus(where: Any) -> None:
    assert misfit(where).alternatives().hosts == ()


def test_all_are_named_in_one_line() -> None:
    found = Alternatives(batch=64, resolution=448, devices_per_worker=2, hosts=("v6e-8", "v4-8"))

    assert str(found) == (
        "estimated to fit: batch 64; 448 px; 2 devices per worker; device v6e-8 or v4-8"
    )
