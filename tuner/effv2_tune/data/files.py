"""Reads image files: decodes them on all cores, and reports all unreadable ones at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from effv2_tune.data.decode import UnreadableImageError, decode, size_of
from effv2_tune.data.progress import Progress
from effv2_tune.data.store import ImageStore, SizeRecord
from effv2_tune.errors import TuneError
from effv2_tune.heartbeat import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from effv2_tune.data.dataset import Images
    from effv2_tune.data.pool import Indices
    from effv2_tune.data.storage_options import StorageOptions

#: Suffixes of image files, in lower case.
IMAGE_ENDINGS = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_IMAGES_PER_TASK = 64
#: Lines of a list in a message.
SHOWN = 10
PATH_HINT = "Correct 'path:'; it is read relative to the study file."

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FileImages:
    """Images in files, by position in the pool.

    Attributes:
        paths: The files.
    """

    paths: tuple[Path, ...]

    def gather(self, wanted: Sequence[Indices], options: StorageOptions) -> list[Images]:
        """One array for each array of positions, in memory or as parts of one memory map."""
        paths = [self.paths[position] for position in np.concatenate(wanted)]
        identities = [_identity(path) for path in paths]
        record = SizeRecord.of(options.cache / "decoded", key=identities)
        sizes = record.read() or _sizes(paths, options)
        side = options.stored_side(sizes)
        shape = (len(paths), side, side, 3)
        if np.prod(shape) <= options.memory_limit:
            images = _decoded(shape, paths, options)
        else:
            store = ImageStore.of(
                options.cache / "decoded",
                key=(side, options.fit, identities),
                shape=shape,
                block=_IMAGES_PER_TASK,
            )
            images = _stored(store, paths, options)
            record.write(sizes)
        return np.split(images, np.cumsum([len(positions) for positions in wanted])[:-1])


def _identity(path: Path) -> tuple[str, int, int]:
    """Path, size and modification time: they change whenever the file does."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _decoded(
    shape: tuple[int, int, int, int], paths: Sequence[Path], options: StorageOptions
) -> Images:
    """The images of ``paths``, decoded into memory."""
    images = np.empty(shape, np.uint8)

    def put(start: int, block: Images) -> None:
        images[start : start + len(block)] = block

    starts = range(0, len(paths), _IMAGES_PER_TASK)
    _decode_blocks(paths, starts, shape[1], options, put=put)
    return images


def _stored(store: ImageStore, paths: Sequence[Path], options: StorageOptions) -> Images:
    """The images of ``store``, decoded from ``paths`` where it does not have them yet."""
    with store.exclusive():
        images = store.read()
        if images is None:
            with store.filling() as (writer, missing):
                side = store.shape[1]
                _decode_blocks(paths, missing, side, options, put=writer.put, record=writer.record)
            images = store.finish()
    return images


def _sizes(paths: Sequence[Path], options: StorageOptions) -> set[tuple[int, int]]:
    """The distinct (width, height) of the images."""
    blocks = [
        paths[start : start + _IMAGES_PER_TASK] for start in range(0, len(paths), _IMAGES_PER_TASK)
    ]
    unreadable: list[UnreadableImageError] = []
    sizes: set[tuple[int, int]] = set()

    def sizes_of(block: Sequence[Path]) -> set[tuple[int, int]]:
        found = (_try(unreadable, size_of, path) for path in block)
        return {size for size in found if size is not None}

    for done, (_, found) in enumerate(_map_in_order(sizes_of, blocks, options.cores), start=1):
        sizes |= found
        count = min(done * _IMAGES_PER_TASK, len(paths))
        options.on_progress(Progress("reading the sizes of images", count, len(paths), "images"))
    _refuse(unreadable, len(paths))
    return sizes


def _decode_blocks(
    paths: Sequence[Path],
    starts: Sequence[int],
    side: int,
    options: StorageOptions,
    *,
    put: Callable[[int, Images], Result],
    record: Callable[[int, Result], None] = lambda *_: None,
) -> None:
    """Decode the blocks of files that begin at ``starts``.

    Args:
        paths: All files.
        starts: Positions of the first files of the blocks.
        side: Of the decoded images, in pixels.
        options: Fit, number of threads, progress.
        put: Called with each block by the thread that decoded it, so that none waits in memory.
        record: Called with the results of ``put`` in the order of ``starts``, by this thread.

    Raises:
        TuneError: Images are unreadable; blocks that contain one are not put.
    """
    unreadable: list[UnreadableImageError] = []

    def decode_one(path: Path) -> Images:
        return decode(path, side, options.fit)

    def decode_block(start: int) -> Result | None:
        files = paths[start : start + _IMAGES_PER_TASK]
        block = np.empty((len(files), side, side, 3), np.uint8)
        complete = True
        for row, path in enumerate(files):
            image = _try(unreadable, decode_one, path)
            if image is None:
                complete = False
            else:
                block[row] = image
        return put(start, block) if complete else None

    sizes = {start: min(_IMAGES_PER_TASK, len(paths) - start) for start in starts}
    done = len(paths) - sum(sizes.values())
    for start, result in _map_in_order(decode_block, starts, options.cores):
        if result is not None:
            record(start, result)
        done += sizes[start]
        options.on_progress(Progress("decoding images", done, len(paths), "images"))
    _refuse(unreadable, len(paths))


def _try(
    unreadable: list[UnreadableImageError], read: Callable[[Path], Result], path: Path
) -> Result | None:
    """The result of ``read`` for a file; None if it fails, and the error joins ``unreadable``."""
    try:
        return read(path)
    except UnreadableImageError as error:
        unreadable.append(error)
        return None


def _map_in_order(
    work: Callable[[Task], Result], tasks: Sequence[Task], cores: int
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, in order, computed by ``cores`` threads a little ahead.

    Threads suffice: Pillow releases the interpreter lock while it decodes and resizes.
    """
    with ThreadPoolExecutor(cores) as threads:
        waiting = iter(tasks)
        ahead = [(task, threads.submit(work, task)) for task in islice(waiting, 4 * cores)]
        try:
            while ahead:
                task, result = ahead.pop(0)
                yield task, result.result()
                advance()
                ahead += [(later, threads.submit(work, later)) for later in islice(waiting, 1)]
        finally:
            threads.shutdown(cancel_futures=True)


def _refuse(unreadable: Sequence[UnreadableImageError], count: int) -> None:
    if not unreadable:
        return
    listed = sorted((str(error.path), error.reason) for error in unreadable)
    lines = shortened([f"{path}: {reason}" for path, reason in listed])
    noun = "image" if len(listed) == 1 else "images"
    raise TuneError(
        f"{len(listed):,} of {count:,} images cannot be read:\n{lines}",
        hint=f"Repair or remove the {noun}, then run the same command again.",
    )


def require_file(path: Path) -> None:
    """Refuse a ``path:`` at which there is no file.

    Raises:
        TuneError: There is none.
    """
    if not path.is_file():
        raise TuneError(f"There is no file {path}.", hint=PATH_HINT)


def shortened(lines: Sequence[str]) -> str:
    """The first lines of a list in a message, indented, and the number of the others."""
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return "\n".join(f"  {line}" for line in [*lines[:SHOWN], *more])
