"""The memory of this process, and errors of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.host import usable_bytes
from effv2_tune.training.process_memory import is_out_of_memory, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
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


PAGES_OF_A_FILE = """
import numpy as np
import sys
from effv2_tune.training.process_memory import resident_bytes

np.ones(50_000_000, np.uint8).tofile(sys.argv[1])
before = resident_bytes()
mapped = np.memmap(sys.argv[1], np.uint8, "r")
assert mapped.sum() == 50_000_000
with_file = resident_bytes()
kept = np.array(mapped)
with_copy = resident_bytes()
assert kept.sum() == mapped.sum()
print(with_file - before, with_copy - with_file)
"""

FREED_BETWEEN_KEPT = """
from effv2_tune.training.process_memory import resident_bytes, return_freed_memory

blocks = [bytearray(20_000) for _ in range(5_000)]
kept = blocks[::50]
before = resident_bytes()
del blocks
freed = resident_bytes()
return_freed_memory()
print(before - freed, before - resident_bytes(), len(kept))
"""


def test_pages_of_a_mapped_file_are_no_memory_of_the_process(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    # In a process of its own: the allocator of one that has run much has 50 MB free.
    out = run_python(f"import sys\nsys.argv[1:] = [{str(tmp_path / 'store')!r}]{PAGES_OF_A_FILE}")
    of_file, of_copy = map(int, out.split())

    assert of_file < 25_000_000
    assert of_copy > 25_000_000


def test_memory_freed_between_blocks_in_use_is_returned(run_python: Callable[..., str]) -> None:
    by_itself, on_request, _ = map(int, run_python(FREED_BETWEEN_KEPT).split())

    assert by_itself < 50_000_000
    assert on_request > 80_000_000
