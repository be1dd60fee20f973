"""Configures how images are stored: size, folder, memory limit, cores."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from effv2_tune.data.progress import OnProgress, ignore_progress
from effv2_tune.errors import TuneError
from effv2_tune.files.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Fit = Literal["crop", "pad", "squash"]

#: Decoded images up to so many bytes stay in memory; more go to disk, once (all of CIFAR-10 is
#: 184 MB, and takes seconds to decode at every start of a worker).
MEMORY_LIMIT_BYTES = 64 * 2**20


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class StorageOptions:
    """How images are stored.

    Attributes:
        side: Side in pixels that the study specifies, or None.
        default_side: Side for images of mixed sizes if the study specifies none.
        fit: How an image of another shape becomes square.
        cache: Folder for downloads and decoded images.
        memory_limit: Decoded images of more bytes than this go to disk.
        cores: Threads that decode.
        on_progress: Called with the progress of downloads and decoding.
    """

    side: int | None = None
    default_side: int | None = None
    fit: Fit = "crop"
    cache: Path = field(default_factory=lambda: cache_folder("datasets"))
    memory_limit: int = MEMORY_LIMIT_BYTES
    cores: int = field(default_factory=available_cores)
    on_progress: OnProgress = ignore_progress

    def stored_side(self, sizes: Collection[tuple[int, int]]) -> int:
        """Side in pixels at which images of these (width, height) are stored.

        The specified one; else, if all images are squares of one size, that size; else the
        default.

        Raises:
            TuneError: If the images have several shapes and no size is specified.
        """
        if self.side is not None:
            return self.side
        distinct = sorted(set(sizes))
        if len(distinct) == 1 and distinct[0][0] == distinct[0][1]:
            return distinct[0][0]
        if self.default_side is None:
            width, height = distinct[-1]
            sizes_found = (
                f"The images have {len(distinct):,} different sizes (up to {width} x {height})"
                if len(distinct) > 1
                else f"The images are {width} x {height}, not square"
            )
            raise TuneError(
                f"{sizes_found}, and no storage size is specified.",
                hint="Add 'storage_size:', the side in pixels, to the study's data; the largest "
                "resolution that you want to try is a good choice.",
            )
        return self.default_side
