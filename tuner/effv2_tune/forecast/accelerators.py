"""Lists accelerators: peak speed, memory bandwidth and memory size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from effv2_tune.errors import TuneError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

_TERA = 1e12
_GIGA = 1e9


@dataclass(frozen=True)
class Accelerator:
    """One chip, as in its datasheet.

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


_TPU_PAGE = "cloud.google.com/tpu/docs/v6e, table of v6e against v5e"
_TURING = "NVIDIA T4 datasheet; without bfloat16, it computes in float32"
_PASCAL = "NVIDIA P100 datasheet; without bfloat16, it computes in float32"
_A100 = "NVIDIA A100 datasheet"
_H100 = "NVIDIA H100 datasheet, half of the figures with sparsity"

#: Entries with more words first: an A100 of 80 GB is also an A100.
ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator(
        "v5e",
        "tpu",
        ("V5", "LITE"),
        "TPU v5 lite",
        197 * _TERA,
        819 * _GIGA,
        16 * _GIGA,
        _TPU_PAGE,
    ),
    Accelerator(
        "v6e",
        "tpu",
        ("V6", "LITE"),
        "TPU v6 lite",
        918 * _TERA,
        1640 * _GIGA,
        32 * _GIGA,
        _TPU_PAGE,
    ),
    Accelerator(
        "h100-pcie",
        "gpu",
        ("H100", "PCIE"),
        "NVIDIA H100 PCIe",
        756 * _TERA,
        2000 * _GIGA,
        80 * _GIGA,
        _H100,
    ),
    Accelerator(
        "h100",
        "gpu",
        ("H100",),
        "NVIDIA H100 80GB HBM3",
        989 * _TERA,
        3350 * _GIGA,
        80 * _GIGA,
        _H100,
    ),
    Accelerator(
        "a100-80gb",
        "gpu",
        ("A100", "80GB"),
        "NVIDIA A100-SXM4-80GB",
        312 * _TERA,
        2039 * _GIGA,
        80 * _GIGA,
        _A100,
    ),
    Accelerator(
        "a100",
        "gpu",
        ("A100",),
        "NVIDIA A100-SXM4-40GB",
        312 * _TERA,
        1555 * _GIGA,
        40 * _GIGA,
        _A100,
    ),
    Accelerator(
        "l4",
        "gpu",
        ("L4",),
        "NVIDIA L4",
        121 * _TERA,
        300 * _GIGA,
        24 * _GIGA,
        "NVIDIA L4 datasheet, half of the figure with sparsity",
    ),
    Accelerator(
        "t4",
        "gpu",
        ("T4",),
        "Tesla T4",
        8.1 * _TERA,
        320 * _GIGA,
        16 * _GIGA,
        _TURING,
        bytes_per_number=4,
    ),
    Accelerator(
        "p100",
        "gpu",
        ("P100",),
        "Tesla P100-PCIE-16GB",
        9.3 * _TERA,
        732 * _GIGA,
        16 * _GIGA,
        _PASCAL,
        bytes_per_number=4,
    ),
    Accelerator(
        "rtx3090",
        "gpu",
        ("RTX", "3090"),
        "NVIDIA GeForce RTX 3090",
        71 * _TERA,
        936 * _GIGA,
        24 * _GIGA,
        "NVIDIA Ampere GA102 whitepaper",
    ),
)


def recognise(device_kind: str) -> Accelerator | None:
    """The accelerator that a backend or a driver calls ``device_kind``; None for an unknown one."""
    words = set(re.findall(r"[A-Z0-9]+", device_kind.upper()))
    # JAX has called a v5e "TPU v5 lite" and "TPU v5e".
    words |= {part for word in words & {"V5E", "V6E"} for part in (word[:-1], "LITE")}
    return next((chip for chip in ACCELERATORS if words.issuperset(chip.words)), None)


def named(text: str) -> tuple[Accelerator, int]:
    """The accelerator and the count that ``v5e``, ``v5e-8`` or ``t4-2`` name.

    Raises:
        TuneError: There is none of that name.
    """
    known = {chip.name: chip for chip in ACCELERATORS}
    for name, count in _readings(text.lower()):
        if name in known:
            return known[name], count
    raise TuneError(
        f"Unknown device {text!r}{did_you_mean(text, known) or '.'}",
        hint=f"Known devices: {', '.join(known)}; with a count, as in v5e-8 or t4-2.",
    )


def _readings(text: str) -> Iterator[tuple[str, int]]:
    yield text, 1
    name, _, count = text.rpartition("-")
    if count.isdigit() and int(count) > 0:
        yield name, int(count)
