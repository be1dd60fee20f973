"""Weight files on this machine: from a folder, the cache, or the network; always checked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from effv2_tune.catalog import WeightFile

    Progress = Callable[[int, int | None], None]

CACHE_VARIABLE = "EFFV2_TUNE_CACHE"
FOLDER_VARIABLE = "EFFV2_TUNE_WEIGHTS"

_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 4
_TIMEOUT_SECONDS = 30
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


def weights_cache() -> Path:
    """Where downloaded weights are kept.

    `$EFFV2_TUNE_CACHE/weights`, else `$XDG_CACHE_HOME/effv2-tune/weights`, else
    `~/.cache/effv2-tune/weights`.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser() / "weights"
    shared = os.environ.get("XDG_CACHE_HOME")
    root = Path(shared) if shared else Path.home() / ".cache"
    return root / "effv2-tune" / "weights"


def fetch_weights(
    file: WeightFile,
    *,
    folder: str | Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    pause_seconds: float = 1.0,
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
        pause_seconds: Before the second attempt; each further one waits twice as long.

    Raises:
        TuneError: The file is not in the folder, cannot be downloaded, or its MD5 differs.
    """
    offline = folder or os.environ.get(FOLDER_VARIABLE)
    if offline:
        return _from_folder(file, Path(offline).expanduser())
    target = (cache or weights_cache()) / file.file_name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.with_name(f"{target.name}.lock")):
            if not (target.is_file() and _md5(target) == file.md5):
                _download_reporting(file, target, progress, pause_seconds)
    except OSError as error:
        raise TuneError(
            f"The weights cannot be kept in {target.parent}: {error.strerror or error}.",
            hint=f"Set {CACHE_VARIABLE} to a folder with room.",
            exit_code=EXIT_FAILED,
        ) from error
    return target


def _from_folder(file: WeightFile, folder: Path) -> Path:
    path = folder / file.file_name
    if not path.is_file():
        raise TuneError(
            f"There is no {file.file_name} in {folder}, the folder given for weights.",
            hint=f"Put it there from {file.url}, or unset {FOLDER_VARIABLE} to download it.",
        )
    found = _md5(path)
    if found != file.md5:
        raise TuneError(
            f"{path} is not the released file: its MD5 is {found}, not {file.md5}.",
            hint=f"Get it again from {file.url}.",
        )
    return path


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock `path`."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download_reporting(
    file: WeightFile, target: Path, progress: Progress | None, pause_seconds: float
) -> None:
    if progress is not None:
        _download(file, target, progress, pause_seconds)
        return
    with progress_bar(file.file_name) as bar:
        _download(file, target, bar, pause_seconds)


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
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


def _download(file: WeightFile, target: Path, progress: Progress, pause_seconds: float) -> None:
    """Fill `target` with the right bytes, or raise: it is never there half."""
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _receive_all(file, part, progress, pause_seconds)
    found = _md5(part)
    if found != file.md5 and resumed:
        # What lay there was of another file, or broken: once more from the start.
        part.unlink()
        _receive_all(file, part, progress, pause_seconds)
        found = _md5(part)
    if found != file.md5:
        part.unlink()
        raise TuneError(
            f"{file.url} gave another file than the released one: its MD5 is {found}, "
            f"not {file.md5}.",
            hint=_other_ways(file),
            exit_code=EXIT_FAILED,
        )
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
    part.replace(target)


def _receive_all(file: WeightFile, part: Path, progress: Progress, pause_seconds: float) -> None:
    """Append to `part` until the server says that it is whole, over several attempts."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_seconds * 2 ** (attempt - 1))
        try:
            done, total = _receive(file.url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code == _RANGE_NOT_SATISFIABLE:
                return  # `part` is whole already, or too long: its MD5 tells.
            reason = f"the server said {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        else:
            if total is None or done >= total:
                return
            reason = f"the connection broke after {done:,} of {total:,} bytes"
    raise TuneError(
        f"{file.url} could not be downloaded: {reason}.",
        hint=f"What was received is kept, and the same command goes on there. {_other_ways(file)}",
        exit_code=EXIT_FAILED,
    )


def _receive(url: str, part: Path, progress: Progress) -> tuple[int, int | None]:
    """One attempt: (bytes in `part` afterwards, bytes of the whole file or None)."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the catalog's own URLs
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
        if done and response.status != _PARTIAL_CONTENT:
            done = 0  # The server does not resume: what comes now is the whole file.
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        progress(done, total)
        with part.open("ab" if done else "wb") as out:
            while chunk := _read(response):
                out.write(chunk)
                done += len(chunk)
                progress(done, total)
    return done, total


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK_BYTES))
    except http.client.IncompleteRead as error:
        return error.partial


def _other_ways(file: WeightFile) -> str:
    return (
        f"Without a network, put {file.file_name} into a folder and name it by {FOLDER_VARIABLE}, "
        "or give the path of a file as the weights."
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
