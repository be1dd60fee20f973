"""Finds the files that a study downloads, asks their servers for them, and downloads them."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune import catalog
from effv2_tune.errors import EXIT_FAILED, TuneError, joined
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.download import DEFAULT_RETRIES, RetryPolicy
from effv2_tune.network.pretrained.files import missing_weights
from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import human_bytes
from effv2_tune.search.events import Downloading
from effv2_tune.study.recipe import NATIVE, WEIGHT_SUFFIXES, native_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from effv2_tune.files.download import ByteCount, PublishedFile
    from effv2_tune.study import DataSpec, Settings

#: Of downloads.
RETRIES = DEFAULT_RETRIES
#: Of the question whether a server has a file.
REACH_RETRIES = RetryPolicy(attempts=2, timeout_seconds=15, pause_seconds=1)
#: The progress of a download is reported at most so many times.
_REPORTS = 20
_UNKNOWN_STEP = 16 << 20
#: The longest time that a signal waits for the requests to servers.
_JOIN_SECONDS = 0.2


def missing_files(
    data: DataSpec, settings: Iterable[Settings], *, base: Path
) -> list[PublishedFile]:
    """The files that are not on this machine yet; those that are there are verified.

    Args:
        data: The images of the study.
        settings: Every combination of variant, backbone and weights that a trial may have.
        base: Folder that the path of a weight file starts from.

    Raises:
        TuneError: The folder of weights lacks a file, or a weight file is damaged; all are named.
    """
    from effv2_tune.data import missing_downloads

    errors, missing = [], missing_downloads(data)
    for find in _weight_checks(settings, base):
        try:
            found = find()
        except TuneError as error:
            errors.append(error)
        else:
            missing += [] if found is None else [found]
    if errors:
        raise joined(errors)
    return missing


def _weight_checks(
    settings: Iterable[Settings], base: Path
) -> list[Callable[[], PublishedFile | None]]:
    """For each weight file once, a function that returns the download that it needs."""
    checks: dict[str, Callable[[], PublishedFile | None]] = {}
    for one in settings:
        weights = native_weights(one.variant) if one.weights == NATIVE else one.weights
        file = catalog.WEIGHT_FILES.get((one.variant, weights))
        if one.backbone == "scratch":
            continue
        if file is not None:
            checks[file.url] = partial(missing_weights, file)
        elif weights.endswith(WEIGHT_SUFFIXES):
            checks[weights] = partial(_check_own, base / Path(weights).expanduser())
    return list(checks.values())


def _check_own(path: Path) -> None:
    from effv2_tune.network.pretrained.weight_io import check_readable

    check_readable(path)


def reach(files: Sequence[PublishedFile]) -> int:
    """Ask the servers for files, and the disk for space, without downloading anything.

    Returns:
        How many bytes are to be downloaded; files of unknown size do not count.

    Raises:
        TuneError: A server cannot be reached, or does not have its file, or the disk is too full;
            with exit code 1, all files at once.
    """
    outcomes = _reached_together(files)
    errors = [outcome for outcome in outcomes if isinstance(outcome, TuneError)]
    if errors:
        raise joined(errors)
    counts = [outcome for outcome in outcomes if not isinstance(outcome, TuneError)]
    needed = [0 if total is None else max(total - done, 0) for done, total in counts]
    _check_space(files, needed)
    return sum(needed)


def _reached_together(files: Sequence[PublishedFile]) -> list[ByteCount | TuneError]:
    """The size of each file, or its error; servers that do not answer are waited for together."""
    outcomes: dict[int, ByteCount | TuneError] = {}

    def ask(position: int, file: PublishedFile) -> None:
        outcomes[position] = _reached(file)

    # Not a pool: its threads would be waited for after Ctrl-C, too.
    threads = [threading.Thread(target=ask, args=entry, daemon=True) for entry in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        # In short waits: a signal just before a wait is only handled after it.
        while thread.is_alive():
            thread.join(_JOIN_SECONDS)
    return [outcomes[position] for position in range(len(files))]


def _reached(file: PublishedFile) -> ByteCount | TuneError:
    try:
        return file.reach(REACH_RETRIES)
    except TuneError as error:
        return error


def _check_space(files: Sequence[PublishedFile], needed: Sequence[int]) -> None:
    """Refuse downloads that do not fit on their disks."""
    on_disk: dict[int, list[tuple[Path, int]]] = {}
    for file, count in zip(files, needed, strict=True):
        folder = next(path for path in file.destination.parents if path.exists())
        on_disk.setdefault(folder.stat().st_dev, []).append((folder, count))
    for entries in on_disk.values():
        folder, total = entries[0][0], sum(count for _, count in entries)
        free = shutil.disk_usage(folder).free
        if total > free:
            raise TuneError(
                f"{pluralized(len(entries), 'download')} need {human_bytes(total)}, and "
                f"{human_bytes(free)} are free in {folder}.",
                hint=f"Make room, or set {CACHE_VARIABLE} to a folder on another disk.",
                exit_code=EXIT_FAILED,
            )


def download(files: Sequence[PublishedFile]) -> Iterator[Downloading]:
    """Download files into the cache, after all of them were reached, and yield the progress.

    Raises:
        TuneError: As :func:`reach`; or a download fails, or provides another file.
    """
    reach(files)
    for file in files:
        reported: int | None = None
        for received, total in file.download(RETRIES):
            step = _UNKNOWN_STEP if total is None else total // _REPORTS
            if reported is None or received >= reported + step or received == total:
                reported = received
                yield Downloading(file=file.destination.name, received=received, total=total)
