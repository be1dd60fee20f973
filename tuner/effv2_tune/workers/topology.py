"""Names the TPU hosts that can be compiled for, and their topologies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.study.base import Value
from effv2_tune.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping


class Topology(Value):
    """The TPU chips of one host.

    Attributes:
        name: As Google Cloud names such a host: the generation, and the number of chips; of v2, v3,
            v4 and v5p the number of cores, two on a chip.
        accelerator: In the table of accelerators.
        devices: How many JAX shows: one for each chip; of v2 and v3 one for each core.
        description: As `jax.experimental.topologies.get_topology_desc` takes it.
        host_bounds: Chips of the host along each axis. Without them, ``v5e:2x4`` is two hosts with
            four chips each, for which other programs are compiled.
        accelerator_type: As the TPU runtime takes it.
        chip_config: Whether the two cores of a chip are one device: ``megacore``, else ``default``.
        hertz: Clock rate, which converts estimated cycles to seconds: the peak speed divided by the
            operations of the matrix units per cycle. For a v6e, four units of 256 x 256: by the
            compiler's estimate of a large product, two could not be as fast.
    """

    name: str
    accelerator: str
    devices: int
    description: str
    host_bounds: tuple[int, int, int]
    accelerator_type: str
    chip_config: str
    hertz: float

    @property
    def chips(self) -> int:
        """Of the host."""
        return math.prod(self.host_bounds)


def _topology(row: Mapping[str, str]) -> Topology:
    x, y, z = (int(bound) for bound in row["host_bounds"].split(","))
    return Topology(
        name=row["name"],
        accelerator=row["accelerator"],
        devices=int(row["devices"]),
        description=row["topology"],
        host_bounds=(x, y, z),
        accelerator_type=row["accelerator_type"],
        chip_config=row["chip_config"],
        hertz=float(row["gigahertz"]) * 1e9,
    )


#: By name.
TOPOLOGIES = {row["name"]: _topology(row) for row in read_table("topologies")}


def find_topology(name: str) -> Topology:
    """The topology of a TPU host that can be compiled for.

    Raises:
        TuneError: There is none of that name.
    """
    if (found := TOPOLOGIES.get(name.lower())) is not None:
        return found
    raise TuneError(
        f"There is no compiler for device {name!r}{did_you_mean(name, TOPOLOGIES) or '.'}",
        hint=f"Known TPU hosts: {', '.join(TOPOLOGIES)}.",
    )


def devices_per_chip(accelerator: str) -> int:
    """How many devices JAX shows for a chip; 1 where the accelerator is no TPU of the table.

    Args:
        accelerator: In the table of accelerators.
    """
    known = (one for one in TOPOLOGIES.values() if one.accelerator == accelerator)
    return next((one.devices // one.chips for one in known), 1)


def topology_of(accelerator: str, devices: int) -> Topology:
    """The topology of some devices of one host.

    Args:
        accelerator: In the table of accelerators.
        devices: How many share a training.

    Raises:
        TuneError: There is no host with so many.
    """
    known = [one for one in TOPOLOGIES.values() if one.accelerator == accelerator]
    found = next((one for one in known if one.devices == devices), None)
    return find_topology(f"{accelerator}-{devices}") if found is None else found
