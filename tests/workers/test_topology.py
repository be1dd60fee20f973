"""TPU hosts have the names that Google Cloud gives them."""

from __future__ import annotations

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.forecast.accelerators import named
from effv2_tune.workers.topology import TOPOLOGIES, find_topology, topology_of


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_plan_knows_every_host_that_can_be_compiled_for(name: str) -> None:
    accelerator, devices = named(name)

    assert (accelerator.name, devices) == (TOPOLOGIES[name].accelerator, TOPOLOGIES[name].devices)


def test_a_v5e_8_is_one_host_with_eight_chips() -> None:
    topology = find_topology("V5E-8")

    assert (topology.description, topology.host_bounds) == ("v5e:2x4", (2, 4, 1))


def test_a_v4_8_has_four_devices_and_a_v3_8_eight() -> None:
    assert [find_topology(name).devices for name in ("v4-8", "v3-8")] == [4, 8]


def test_an_unknown_host_is_a_wrong_input_that_names_the_known_ones() -> None:
    with pytest.raises(TuneError, match=r"'v5e-6', did you mean 'v5e-") as wrong:
        find_topology("v5e-6")

    assert wrong.value.exit_code == EXIT_WRONG_INPUT
    assert "v6e-8" in (wrong.value.hint or "")


def test_devices_are_found_by_their_number() -> None:
    assert topology_of("v4", 4) == find_topology("v4-8")
    with pytest.raises(TuneError, match="'h100-8'"):
        topology_of("h100", 8)
