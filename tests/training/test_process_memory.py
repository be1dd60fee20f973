"""The memory of this process, and errors of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from effv2_tune.host import usable_bytes
from effv2_tune.training.process_memory import is_out_of_memory, resident_bytes

if TYPE_CHECKING:
    from pathlib import Path


class ResourceExhaustedError(Exception):
    """As TensorFlow names its own."""


class JaxRuntimeError(Exception):
    """As JAX names its own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (ResourceExhaustedError("OOM when allocating tensor with shape[9]"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), True),
        (JaxRuntimeError("INVALID_ARGUMENT: shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_recognized(error: Exception, *, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_process_has_less_memory_than_there_is() -> None:
    assert 0 < resident_bytes() < usable_bytes()


def test_pages_of_a_mapped_file_are_no_memory_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store"
    np.ones(50_000_000, np.uint8).tofile(path)
    before = resident_bytes()

    mapped = np.memmap(path, np.uint8, "r")
    assert mapped.sum() == 50_000_000
    with_file = resident_bytes()
    kept = np.array(mapped)

    assert with_file - before < 25_000_000
    assert resident_bytes() - with_file > 25_000_000
    assert kept.sum() == mapped.sum()
