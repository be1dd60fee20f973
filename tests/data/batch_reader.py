"""Reads batches of CIFAR in a process of its own, so that a crash of it is seen.

Prints a line for each file: its name and the digest of its arrays, or the error message. A file
that is read is read by Python's own unpickler, too, which must find the same arrays.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import resource
import sys
import warnings
from pathlib import Path

import numpy as np

from effv2_tune.data.formats import read_batch
from effv2_tune.errors import TuneError

MEMORY = 4 << 30
PROCESSOR_SECONDS = 60


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    numbers = [np.arange(3, dtype=code) for code in ("u1", "i4", "i8")]
    before = [array.tolist() for array in numbers]
    for path in map(Path, sys.argv[1:]):
        sys.stdout.write(f"{path.name} {outcome(path.read_bytes())}\n")
        sys.stdout.flush()
    # A forged state must not have changed NumPy's own types of numbers.
    assert [array.tolist() for array in numbers] == before
    assert np.frombuffer(b"\1\0\0\0", "i4").tolist() == [1]


def outcome(content: bytes) -> str:
    try:
        part = read_batch(content, "test_batch", "labels")
    except TuneError as error:
        return str(error).replace("\n", " ")
    warnings.simplefilter("ignore")  # of the types of Python 2
    batch = pickle._Unpickler(io.BytesIO(content), encoding="bytes").load()  # type: ignore[attr-defined]
    images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(part.images, images)
    np.testing.assert_array_equal(part.labels, np.asarray(batch[b"labels"]))
    return hashlib.sha256(part.images.tobytes() + part.labels.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
