"""Images that come as files: found broken all at once, decoded on all cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from effv2_tune.data.decode import UnreadableImageError, decode, size_of
from effv2_tune.data.progress import Progress
from effv2_tune.data.store import SizeRecord, Store
from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data.dataset import Images
    from effv2_tune.data.pool import Indices
    from effv2_tune.data.storage_options import StorageOptions

#: Endings of the files that are taken for images, in small letters.
IMAGE_ENDINGS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_IMAGES_PER_TASK = 64
_BROKEN_SHOWN = 10

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FileImages:
    """Images in files, by position in the pool.

    Attributes:
        paths: The files.
    """

    paths: tuple[Path, ...]

    def gather(self, wanted: Sequence[Indices], storing: StorageOptions) -> list[Images]:
        """One array for each array of positions, in memory or as parts of one memory map."""
        paths = [self.paths[position] for position in np.concatenate(wanted)]
        files = [_identity(path) for path in paths]
        known_sizes = SizeRecord.of(storing.cache / "decoded", key=files)
        sizes = known_sizes.read() or _sizes(paths, storing)
        side = storing.stored_side(sizes)
        if len(paths) * side * side * 3 <= storing.memory_limit:
            images = np.empty((len(paths), side, side, 3), np.uint8)
            _decode_into(images, paths, range(0, len(paths), _IMAGES_PER_TASK), storing)
        else:
            store = Store.of(
                storing.cache / "decoded",
                key=(side, storing.fit, files),
                shape=(len(paths), side, side, 3),
                block=_IMAGES_PER_TASK,
            )
            images = _stored(store, paths, storing)
            known_sizes.write(sizes)
        return np.split(images, np.cumsum([len(positions) for positions in wanted])[:-1])


def _identity(path: Path) -> tuple[str, int, int]:
    """What tells a file from another, or from itself after a change: place, bytes, time."""
    found = path.stat()
    return str(path.absolute()), found.st_size, found.st_mtime_ns


def _stored(store: Store, paths: Sequence[Path], storing: StorageOptions) -> Images:
    """The images of ``store``, decoded from ``paths`` where it does not have them yet."""
    with store.alone():
        images = store.read()
        if images is None:
            with store.writing() as (partial, missing, block_is_done):
                _decode_into(partial, paths, missing, storing, block_is_done)
            images = store.finish()
    return images


def _sizes(paths: Sequence[Path], storing: StorageOptions) -> set[tuple[int, int]]:
    """The different (width, height) of the images."""
    blocks = [
        paths[start : start + _IMAGES_PER_TASK] for start in range(0, len(paths), _IMAGES_PER_TASK)
    ]
    broken: list[UnreadableImageError] = []
    sizes: set[tuple[int, int]] = set()

    def look(block: Sequence[Path]) -> set[tuple[int, int]]:
        return {size for path in block if (size := _tried(broken, size_of, path)) is not None}

    for done, (_, found) in enumerate(_on_all(look, blocks, storing.cores), start=1):
        sizes |= found
        count = min(done * _IMAGES_PER_TASK, len(paths))
        storing.on_progress(Progress("reading the sizes of images", count, len(paths), "images"))
    _refuse(broken, len(paths))
    return sizes


def _decode_into(
    images: Images,
    paths: Sequence[Path],
    starts: Sequence[int],
    storing: StorageOptions,
    block_is_done: Callable[[int], None] = lambda _: None,
) -> None:
    """Decode the blocks of files that begin at ``starts`` into the same places of ``images``."""
    broken: list[UnreadableImageError] = []
    side = images.shape[1]

    def fill(start: int) -> None:
        for place in range(start, min(start + _IMAGES_PER_TASK, len(paths))):
            decoded = _tried(broken, lambda path: decode(path, side, storing.fit), paths[place])
            if decoded is not None:
                images[place] = decoded

    sizes = {start: min(_IMAGES_PER_TASK, len(paths) - start) for start in starts}
    done = len(paths) - sum(sizes.values())
    for start, _ in _on_all(fill, starts, storing.cores):
        if not broken:
            block_is_done(start)
        done += sizes[start]
        storing.on_progress(Progress("decoding images", done, len(paths), "images"))
    _refuse(broken, len(paths))


def _tried(
    broken: list[UnreadableImageError], read: Callable[[Path], Result], path: Path
) -> Result | None:
    """What ``read`` makes of a file; where it cannot, the mistake joins ``broken``."""
    try:
        return read(path)
    except UnreadableImageError as error:
        broken.append(error)
        return None


def _on_all(
    work: Callable[[Task], Result], tasks: Sequence[Task], cores: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, in order, computed by ``cores`` threads a little ahead.

    Threads are enough: Pillow lets go of the interpreter lock while it decodes and resizes.
    """
    with ThreadPoolExecutor(cores) as threads:
        waiting = iter(tasks)
        ahead = [(task, threads.submit(work, task)) for task in islice(waiting, 4 * cores)]
        try:
            while ahead:
                task, result = ahead.pop(0)
                yield task, result.result()
                ahead += [(later, threads.submit(work, later)) for later in islice(waiting, 1)]
        finally:
            threads.shutdown(cancel_futures=True)


def _refuse(broken: Sequence[UnreadableImageError], count: int) -> None:
    if not broken:
        return
    listed = sorted((str(error.path), error.reason) for error in broken)
    lines = [f"  {path}: {reason}" for path, reason in listed[:_BROKEN_SHOWN]]
    if len(listed) > _BROKEN_SHOWN:
        lines.append(f"  and {len(listed) - _BROKEN_SHOWN:,} more")
    noun = "image" if len(listed) == 1 else "images"
    raise TuneError(
        f"{len(listed):,} of {count:,} images cannot be read:\n" + "\n".join(lines),
        hint=f"Repair or remove the {noun}, then run the same command again.",
    )
