"""Image files and datasets that several tests of data share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from effv2_tune.data import load_dataset
from effv2_tune.study.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from effv2_tune.data import Dataset

SEED = np.random.default_rng


FOLDER = DataSpec(name="folder", path="photos", test=0.2, validation=0.2, storage_size=16)


ON_DISK = 0  # bytes of decoded images that may stay in memory


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(SEED(seed).integers(0, 256, (height, width, 3), np.uint8))


def write_folder(root: Path, counts: dict[str, int], sizes: Iterable[tuple[int, int]]) -> None:
    sizes = list(sizes)
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            size = sizes[number % len(sizes)]
            picture(*size, seed=1000 * place + number).save(root / name / f"{number:03}.png")


def load(base: Path, spec: DataSpec = FOLDER, **settings: Any) -> Dataset:
    return load_dataset(spec, base=base, cache=base / "cache", **settings)


def assert_equal(one: Dataset, other: Dataset) -> None:
    assert one.digest == other.digest
    for mine, theirs in (
        (one.train, other.train),
        (one.validation, other.validation),
        (one.test, other.test),
    ):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.labels, theirs.labels)
