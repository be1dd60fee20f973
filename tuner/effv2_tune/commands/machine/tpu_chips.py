"""Describes the TPU chips of a machine: generation, memory, and the processes that hold them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.host import install_command
from effv2_tune.session.selftest import without_names
from effv2_tune.workers.accelerators import recognise
from effv2_tune.workers.topology import TOPOLOGIES, devices_per_chip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.host import Host, Packages


@dataclass(frozen=True)
class TpuChips:
    """The TPU chips of a machine.

    Attributes:
        count: How many.
        generation: Such as ``v5e``; empty if it is unknown.
        kind: JAX's name of the chips; likewise.
        memory_bytes: HBM of a chip, as in its datasheet; None likewise.
        device: The name of such a host for ``--device``; empty if there is none.
    """

    count: int
    generation: str
    kind: str
    memory_bytes: float | None
    device: str

    @classmethod
    def of(cls, host: Host) -> TpuChips | None:
        """Those of a machine; None if it has none."""
        if not host.tpu_chips:
            return None
        accelerator = recognise(host.tpu_kind) if host.tpu_kind else None
        if accelerator is None:
            return cls(host.tpu_chips, "", host.tpu_kind, None, "")
        names = [
            one.name
            for one in TOPOLOGIES.values()
            if (one.accelerator, one.chips) == (accelerator.name, host.tpu_chips)
        ]
        return cls(
            host.tpu_chips,
            accelerator.name,
            host.tpu_kind,
            # A device of v2 and v3 is one of two cores on a chip.
            devices_per_chip(accelerator.name) * accelerator.memory,
            names[0] if names else "",
        )

    def __str__(self) -> str:
        """Count, generation and memory."""
        if self.memory_bytes is None:
            return f"{self.count} chips of an unknown generation"
        each = self.memory_bytes / 1e9
        text = f"{self.count} x {self.generation} ({self.kind}), {each:g} GB of HBM each"
        return f"{text}; '--device {self.device}'" if self.device else text


def tpu_lines(host: Host, packages: Packages, versions: dict[str, str]) -> Iterator[str]:
    """What ``doctor`` shows of them; without any, whether their compiler is installed.

    Command lines of other processes have no home folder, user name or host name: the text is for
    bug reports.
    """
    chips = TpuChips.of(host)
    if chips is None:
        can_compile = "; libtpu can compile for one ('effv2-tune compile')"
        yield "none" + (can_compile if packages.libtpu else "")
        return
    yield str(chips)
    libtpu = versions.get("libtpu")
    yield f"libtpu {libtpu}" if libtpu else f"no libtpu; install it: {install_command('tpu')}"
    if host.tpu_hosts > 1:
        yield f"one of {host.tpu_hosts} hosts of a slice"
    for one in host.tpu_holders:
        yield f"{', '.join(one.devices)}: held by process {one.pid} ({without_names(one.command)})"
    for one in host.libtpu_holders:
        yield f"lock of libtpu: held by process {one.pid} ({without_names(one.command)})"
    if not (host.tpu_holders or host.libtpu_holders):
        hidden = "" if os.geteuid() == 0 else " of this user; with sudo, all processes are seen"
        yield f"held by no process{hidden}"
