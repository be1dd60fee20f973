"""Chooses the devices of a study's workers on this machine, and checks that it has them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.workers.accelerators import recognise
from effv2_tune.workers.devices import CHIP_BOUNDS, simulated_devices

if TYPE_CHECKING:
    from effv2_tune.host import Hardware
    from effv2_tune.study.plan import StudyPlan


def choose_device(plan: StudyPlan) -> Hardware:
    """The device and backend that the study's workers use on this machine.

    Raises:
        TuneError: The device cannot be used, or not by so many workers; or the workers run on a
            cluster.
    """
    if plan.cluster is not None:
        raise TuneError(
            "cluster: the workers of this study run on a Ray cluster, and this command uses the "
            "devices of this machine.",
            hint="Remove 'cluster:' from the study file; 'effv2-tune plan' takes the device of a "
            "node as --device, too.",
        )
    chosen = choose_hardware(plan.hardware, plan.backend, probe_host(), probe_packages())
    if chosen.kind == "cpu" and chosen.backend == "jax":
        chosen = replace(chosen, devices=simulated_devices())
    _check_devices(plan, chosen)
    _check_target(plan, chosen)
    return chosen


def device_name(hardware: Hardware) -> str:
    """The name of a device of this machine."""
    host = probe_host()
    if hardware.kind == "cpu":
        return host.cpu
    name = host.tpu_kind if hardware.kind == "tpu" else host.gpus[0]
    return name or hardware.kind.upper()


def _check_devices(plan: StudyPlan, chosen: Hardware) -> None:
    """Check that every worker gets its devices, or its processors.

    Raises:
        TuneError: There are too few, or the backend cannot use as many.
    """
    each = plan.devices_per_worker
    if each is not None and each > 1 and chosen.backend == "tensorflow":
        raise TuneError(
            f"devices_per_worker: {each} is too many for TensorFlow, which trains on one device.",
            hint="Use 'backend: jax', or remove 'devices_per_worker:'.",
        )
    if chosen.kind == "cpu" and chosen.devices == 1:
        _check_processors(plan.worker_count)
        return
    names = _names(chosen)
    if each is not None and each > chosen.devices:
        raise TuneError(
            f"devices_per_worker: {each} exceeds the {chosen.devices} {names} of this machine; "
            f"use at most {chosen.devices}.",
        )
    if each is not None and each % chosen.devices_per_chip:
        raise _divided_chip(f"devices_per_worker: {each}", chosen)
    most = chosen.devices // (each or chosen.devices_per_chip)
    if plan.worker_count > most:
        having = f" with {each} devices each" if each else ""
        raise TuneError(
            f"workers: {plan.worker_count}{having} exceeds the {chosen.devices} {names} of this "
            f"machine; use at most {most}.",
            hint="Workers that share a device run out of its memory.",
        )


def _check_target(plan: StudyPlan, chosen: Hardware) -> None:
    """Check that buckets can be timed here on the placement that training time is meant for.

    Raises:
        TuneError: The machine has another device, or too few; or the backend cannot use as many.
    """
    target = plan.target
    if target is None:
        return
    if target.devices > 1 and chosen.backend == "tensorflow":
        raise TuneError(
            f"target: {target.devices} devices are too many for TensorFlow, which trains on one.",
            hint="Use 'backend: jax', or remove 'target:'.",
        )
    if chosen.kind != "cpu" and target.devices > chosen.devices:
        raise TuneError(
            f"target: {target.devices} devices exceed the {chosen.devices} of this machine, and "
            "step times are measured on the target.",
            hint="Run the study on a machine like that of the final training.",
        )
    if chosen.kind == "tpu":
        _check_chips(target.devices, chosen)
    if target.device is None:
        return
    here = device_name(chosen)
    named = recognise(here)
    if named is None or named.name != target.device:
        raise TuneError(
            f"target: {target.device} is not the device of this machine ({here}), and step times "
            "are measured on the target.",
            hint="Run the study on a machine like that of the final training, or correct 'device:'"
            ".",
        )


def _check_chips(devices: int, chosen: Hardware) -> None:
    """Check that so many devices of a TPU host are chips that one process can have.

    Raises:
        TuneError: They are not.
    """
    if devices == chosen.devices:
        return
    chips, rest = divmod(devices, chosen.devices_per_chip)
    if rest:
        raise _divided_chip(f"target: {devices} devices", chosen)
    if chips not in CHIP_BOUNDS:
        sizes = ", ".join(str(count * chosen.devices_per_chip) for count in CHIP_BOUNDS)
        raise TuneError(
            f"target: {devices} of the {chosen.devices} {_names(chosen)} of this machine are no "
            f"rectangle that one process can have; use one of {sizes}."
        )


def _divided_chip(found: str, chosen: Hardware) -> TuneError:
    each = chosen.devices_per_chip
    return TuneError(
        f"{found} would divide a chip: JAX shows its {each} cores as devices, and one process owns "
        f"the chip; use a multiple of {each}."
    )


def _names(chosen: Hardware) -> str:
    if chosen.kind == "tpu":
        return "TPU chips" if chosen.devices_per_chip == 1 else "TPU cores"
    return {"gpu": "GPUs", "cpu": "simulated devices"}[chosen.kind]


def _check_processors(workers: int) -> None:
    processors = len(os.sched_getaffinity(0))
    if workers > processors:
        raise TuneError(
            f"workers: {workers} exceeds the {processors} processors of this machine; use at most "
            f"{processors}.",
            hint="Workers that share a processor distort each other's step times.",
        )
