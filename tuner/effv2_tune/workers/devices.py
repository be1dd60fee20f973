"""Assigns the devices of a machine to its workers, by environment variables."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The chips of one process along the axes of its host, by their number. Chips with neighbouring
#: numbers are neighbours: a v5e-8 is 2 x 4. As in JAX's own tests with several processes on a host
#: (jax/_src/test_multiprocess.py) and in Ray (ray/_private/accelerators/tpu.py).
CHIP_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
_ONE_PROCESS = "1,1,1"
#: Of the first worker; each has two of its own.
_PROCESS_PORT, _MESH_CONTROLLER_PORT = 8476, 8576

#: Of a simulated device: all-reduces of one program that may wait at a time.
_THREADS_A_DEVICE = 4
_SIMULATED = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


def visible_devices(
    worker: int, *, hardware: str, each: int | None, machine: int, per_chip: int = 1
) -> dict[str, str]:
    """The environment variables that limit a worker to its share of the devices.

    Args:
        worker: From 0.
        hardware: ``cpu``, ``gpu`` or ``tpu``; on a CPU, JAX simulates the devices.
        each: How many each worker has; None for all that there are.
        machine: How many the machine has.
        per_chip: Devices of a chip of a TPU: chips are what a process can be limited to.
    """
    if each is None:
        return {}
    if hardware == "cpu":
        return _simulated(each)
    if each == machine:
        return {}
    mine = range(worker * each, (worker + 1) * each)
    if hardware == "tpu":
        return _chips(worker, [str(device // per_chip) for device in mine[::per_chip]])
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = listed.split(",") if listed else [str(number) for number in range(machine)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[number % len(names)] for number in mine)}


def own_devices(hardware: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The devices that :func:`visible_devices` limits this process to; none on a CPU."""
    variable = {"gpu": "CUDA_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_CHIPS"}.get(hardware, "")
    names = environment.get(variable, "")
    return tuple(f"{hardware}-{name}" for name in names.split(",") if name)


def simulated_devices(environment: Mapping[str, str] = os.environ) -> int:
    """How many devices JAX simulates on the CPU, as the environment says; 1 for none."""
    flag = _SIMULATED.search(environment.get("XLA_FLAGS", ""))
    return int(environment.get("JAX_NUM_CPU_DEVICES", flag.group(1) if flag else "1"))


def _chips(worker: int, chips: list[str]) -> dict[str, str]:
    """Those of libtpu, under their present and their older names.

    Without the bounds, libtpu locks all chips of the host for one process.
    """
    bounds, mine = CHIP_BOUNDS[len(chips)], ",".join(chips)
    port, controller = str(_PROCESS_PORT + worker), str(_MESH_CONTROLLER_PORT + worker)
    return {
        "TPU_VISIBLE_CHIPS": mine,
        "TPU_VISIBLE_DEVICES": mine,
        "TPU_CHIPS_PER_PROCESS_BOUNDS": bounds,
        "TPU_CHIPS_PER_HOST_BOUNDS": bounds,
        "TPU_PROCESS_BOUNDS": _ONE_PROCESS,
        "TPU_HOST_BOUNDS": _ONE_PROCESS,
        "TPU_PROCESS_ADDRESSES": f"localhost:{port}",
        "TPU_PROCESS_PORT": port,
        "CLOUD_TPU_TASK_ID": "0",
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{controller}",
        "TPU_MESH_CONTROLLER_PORT": controller,
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }


def _simulated(count: int) -> dict[str, str]:
    # Not by JAX_NUM_CPU_DEVICES alone: JAX refuses to start where the flag is set as well.
    flags = _SIMULATED.sub("", os.environ.get("XLA_FLAGS", "")).strip()
    return {
        "XLA_FLAGS": flags,
        "JAX_NUM_CPU_DEVICES": str(count),
        # On more devices than processors, several programs in flight can deadlock, and so can
        # several all-reduces of one: each blocks a thread of every device.
        **(
            {"JAX_CPU_ENABLE_ASYNC_DISPATCH": "false", "NPROC": str(_THREADS_A_DEVICE * count)}
            if count > 1
            else {}
        ),
    }
