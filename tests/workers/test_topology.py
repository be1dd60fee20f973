"""TPU hosts have the names that Google Cloud gives them."""

from __future__ import annotations

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.workers.accelerators import named
from effv2_tune.workers.topology import TOPOLOGIES, devices_per_chip, find_topology, topology_of


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_plan_knows_every_host_that_can_be_compiled_for(name: str) -> None:
    accelerator, devices = named(name)

    assert (accelerator.name, devices) == (TOPOLOGIES[name].accelerator, TOPOLOGIES[name].devices)


def test_a_v5e_8_is_one_host_with_eight_chips() -> None:
    topology = find_topology("V5E-8")

    assert (topology.description, topology.host_bounds) == ("v5e:2x4", (2, 4, 1))


def test_a_v4_8_has_four_devices_and_a_v3_8_eight() -> None:
    assert [find_topology(name).devices for name in ("v4-8", "v3-8")] == [4, 8]


@pytest.mark.parametrize(
    ("name", "chips", "each"), [("v3-8", 4, 2), ("v2-8", 4, 2), ("v4-8", 4, 1), ("v5e-8", 8, 1)]
)
def test_a_host_has_chips_and_a_chip_of_v2_and_v3_two_devices_with_half_of_its_memory(
    name: str, chips: int, each: int
) -> None:
    topology = find_topology(name)

    assert topology.chips == chips
    assert devices_per_chip(topology.accelerator) == each
    assert topology.devices == chips * each
    hbm = {"v3": 32e9, "v2": 16e9, "v4": 32e9, "v5e": 16e9}[topology.accelerator]
    assert each * named(name)[0].memory == hbm


def test_devices_of_a_gpu_are_whole_chips() -> None:
    assert devices_per_chip("h100") == 1


def test_an_unknown_host_is_a_wrong_input_that_names_the_known_ones() -> None:
    with pytest.raises(TuneError, match=r"'v5e-6', did you mean 'v5e-") as wrong:
        find_topology("v5e-6")

    assert wrong.value.exit_code == EXIT_WRONG_INPUT
    assert "v6e-8" in (wrong.value.hint or "")


def test_devices_are_found_by_their_number() -> None:
    assert topology_of("v4", 4) == find_topology("v4-8")
    with pytest.raises(TuneError, match="'h100-8'"):
        topology_of("h100", 8)
