"""Lists accelerators: peak speed, memory bandwidth and memory size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

_TERA = 1e12
_GIGA = 1e9


@dataclass(frozen=True)
class Accelerator:
    """One device, as in its datasheet: a chip, or one of the two cores of a TPU v2 or v3.

    Attributes:
        name: Its short name, for ``plan --device``.
        kind: ``gpu`` or ``tpu``.
        words: Words in the name that a backend reports, in capitals.
        device_kind: Its name as JAX reports it.
        flops: Peak operations per second in the precision of training: bfloat16 with float32
            accumulation, without sparsity; float32 if a chip has no bfloat16.
        bandwidth: Peak bytes per second between chip and memory.
        memory: Bytes.
        bytes_per_number: Of an element in that precision.
        cores: Its cores, which the names of TPU v4 and v5p count: a v4-8 has four chips.
        source: The datasheet.
    """

    name: str
    kind: Literal["gpu", "tpu"]
    words: tuple[str, ...]
    device_kind: str
    flops: float
    bandwidth: float
    memory: float
    source: str
    bytes_per_number: int = 2
    cores: int = 1


def _accelerator(row: Mapping[str, str]) -> Accelerator:
    return Accelerator(
        name=row["name"],
        kind="tpu" if row["kind"] == "tpu" else "gpu",
        words=tuple(row["words"].split()),
        device_kind=row["device_kind"],
        flops=float(row["teraflops"]) * _TERA,
        bandwidth=float(row["gigabytes_per_second"]) * _GIGA,
        memory=float(row["gigabytes"]) * _GIGA,
        source=row["source"],
        bytes_per_number=int(row["bytes_per_number"]),
        cores=int(row["cores"]),
    )


#: Entries with more words first: an A100 of 80 GB is also an A100.
ACCELERATORS = tuple(_accelerator(row) for row in read_table("accelerators"))


def recognise(device_kind: str) -> Accelerator | None:
    """The accelerator that a backend or a driver calls ``device_kind``; None for an unknown one."""
    words = set(re.findall(r"[A-Z0-9]+", device_kind.upper()))
    # JAX has called a v5e "TPU v5 lite" and "TPU v5e".
    words |= {part for word in words & {"V5E", "V6E"} for part in (word[:-1], "LITE")}
    words |= {word[:-1] for word in words & {"V5P"}}
    return next((chip for chip in ACCELERATORS if words.issuperset(chip.words)), None)


def named(text: str) -> tuple[Accelerator, int]:
    """The accelerator and the number of devices that ``v5e``, ``v5e-8`` or ``t4-2`` name.

    Raises:
        TuneError: There is none of that name.
    """
    known = {chip.name: chip for chip in ACCELERATORS}
    whole = text.lower()
    if whole in known:
        return known[whole], 1
    name, _, number = whole.rpartition("-")
    if name in known and number.isdecimal():
        devices, rest = divmod(int(number), known[name].cores)
        if devices and not rest:
            return known[name], devices
    raise TuneError(
        f"Unknown device {text!r}{did_you_mean(text, known) or '.'}",
        hint=f"Known devices: {', '.join(known)}; with a count, as in v5e-8 or t4-2.",
    )
