"""Fetches released weight files from a folder, the cache or the internet, and verifies them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import UnavailableError
from effv2_tune.files.cache import cache_folder
from effv2_tune.files.download import (
    DEFAULT_RETRIES,
    Digest,
    PublishedFile,
    RetryPolicy,
    fetch,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.catalog import WeightFile
    from effv2_tune.files.download import OnBytes

FOLDER_VARIABLE = "EFFV2_TUNE_WEIGHTS"


def weights_cache() -> Path:
    """Return the folder of downloaded weights: :func:`effv2_tune.files.cache.cache_folder`."""
    return cache_folder("weights")


def fetch_weights(
    file: WeightFile,
    *,
    folder: str | Path | None = None,
    cache: Path | None = None,
    progress: OnBytes | None = None,
    retries: RetryPolicy = DEFAULT_RETRIES,
) -> Path:
    """Return the path of a released weight file with a verified checksum.

    With a folder (here or in `EFFV2_TUNE_WEIGHTS`) the file must be there: nothing is downloaded.
    Otherwise it is downloaded into the cache once; an interrupted download resumes. Of several
    processes at once, one downloads.

    Args:
        file: Which file.
        folder: A folder of weight files, for machines without internet access.
        cache: Instead of `weights_cache()`.
        progress: Called with the bytes so far and the total (None if unknown), instead of a
            progress bar on stderr.
        retries: Attempts and pauses.

    Raises:
        TuneError: The file is not in the folder, cannot be downloaded, or its MD5 differs.
    """
    offline = folder or os.environ.get(FOLDER_VARIABLE)
    if offline:
        return _from_folder(file, Path(offline).expanduser())
    published = published_weights(file, cache=cache)
    if published.is_cached:
        return published.destination
    shown = progress_bar(file.file_name) if progress is None else contextlib.nullcontext(progress)
    with shown as on_bytes:
        return fetch(published, on_bytes=on_bytes, retries=retries)


def published_weights(file: WeightFile, *, cache: Path | None = None) -> PublishedFile:
    """Where a released weight file is published, and where it is cached.

    Args:
        file: Which file.
        cache: Instead of `weights_cache()`.
    """
    return PublishedFile(
        urls=[file.url],
        destination=(cache or weights_cache()) / file.file_name,
        digest=Digest("md5", file.md5),
        fallback_hint="Without internet access, put the weight files into a folder and set "
        f"{FOLDER_VARIABLE} to it, or use the path of a file as the weights.",
    )


def missing_weights(file: WeightFile) -> PublishedFile | None:
    """The download that a released weight file needs; None where it is on this machine.

    Raises:
        TuneError: The folder in `EFFV2_TUNE_WEIGHTS` lacks the file, or its MD5 differs.
    """
    if offline := os.environ.get(FOLDER_VARIABLE):
        _from_folder(file, Path(offline).expanduser())
        return None
    published = published_weights(file)
    return None if published.is_cached else published


def _from_folder(file: WeightFile, folder: Path) -> Path:
    path = folder / file.file_name
    if not path.is_file():
        raise UnavailableError(
            f"There is no {file.file_name} in the weights folder {folder}.",
            hint=f"Put it there from {file.url}, or unset {FOLDER_VARIABLE} to download it.",
        )
    digest = Digest("md5", file.md5)
    actual = digest.of(path)
    if actual != digest.hexadecimal:
        raise UnavailableError(
            f"{path} is not the released file: its MD5 is {actual}, not {file.md5}.",
            hint=f"Download it again from {file.url}.",
        )
    return path


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[OnBytes]:
    """Show bytes, speed and time left on stderr; one plain line if it is not a terminal.

    Args:
        description: What is downloaded.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"Downloading {description}", soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
