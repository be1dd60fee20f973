"""Weight files on this machine: from a folder, the cache, or the network; always checked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.files.cache import cache_folder
from effv2_tune.files.download import PATIENCE, Digest, RetryPolicy, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.catalog import WeightFile
    from effv2_tune.files.download import OnBytes

FOLDER_VARIABLE = "EFFV2_TUNE_WEIGHTS"


def weights_cache() -> Path:
    """Where downloaded weights are kept: see :func:`effv2_tune.files.cache.cache_folder`."""
    return cache_folder("weights")


def fetch_weights(
    file: WeightFile,
    *,
    folder: str | Path | None = None,
    cache: Path | None = None,
    progress: OnBytes | None = None,
    patience: RetryPolicy = PATIENCE,
) -> Path:
    """The path of a released weight file whose bytes are right.

    Where a folder is given (here or by `EFFV2_TUNE_WEIGHTS`), it must be there: nothing is
    downloaded. Otherwise it is taken from the cache, and downloaded into it once; a download that
    was interrupted goes on where it stopped. Several processes may ask at once: one downloads.

    Args:
        file: Which file.
        folder: A folder of weight files, for machines without a network.
        cache: Instead of `weights_cache()`.
        progress: Called with the bytes so far and in all (None if the server does not say);
            instead of a progress bar on stderr.
        patience: How long to insist.

    Raises:
        TuneError: The file is not in the folder, cannot be downloaded, or its MD5 differs.
    """
    offline = folder or os.environ.get(FOLDER_VARIABLE)
    if offline:
        return _from_folder(file, Path(offline).expanduser())
    target = (cache or weights_cache()) / file.file_name
    digest = Digest("md5", file.md5)
    if target.is_file() and digest.matches(target):
        return target
    shown = progress_bar(file.file_name) if progress is None else contextlib.nullcontext(progress)
    with shown as on_bytes:
        return fetch(
            [file.url],
            target,
            digest=digest,
            on_bytes=on_bytes,
            otherwise=f"Without a network, put {file.file_name} into a folder and name it by "
            f"{FOLDER_VARIABLE}, or give the path of a file as the weights.",
            patience=patience,
        )


def _from_folder(file: WeightFile, folder: Path) -> Path:
    path = folder / file.file_name
    if not path.is_file():
        raise TuneError(
            f"There is no {file.file_name} in {folder}, the folder given for weights.",
            hint=f"Put it there from {file.url}, or unset {FOLDER_VARIABLE} to download it.",
        )
    digest = Digest("md5", file.md5)
    found = digest.of(path)
    if found != digest.hexadecimal:
        raise TuneError(
            f"{path} is not the released file: its MD5 is {found}, not {file.md5}.",
            hint=f"Get it again from {file.url}.",
        )
    return path


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[OnBytes]:
    """A bar on stderr that shows bytes, speed and time left; one plain line where no terminal is.

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
