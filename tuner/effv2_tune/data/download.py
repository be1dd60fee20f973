"""One file from the network: resumed when interrupted, trusted only when its digest is right."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.data.progress import OnProgress, Progress, say_nothing
from effv2_tune.errors import EXIT_FAILED, TuneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CHUNK_BYTES = 1 << 20
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Digest:
    """What the bytes of a file must hash to.

    Attributes:
        algorithm: A name that :mod:`hashlib` knows, such as md5.
        hexadecimal: The expected digest.
    """

    algorithm: str
    hexadecimal: str

    def matches(self, path: Path) -> bool:
        """Whether ``path`` has these bytes."""
        with path.open("rb") as file:
            # MD5 guards against broken downloads here, as its publishers use it; not against people
            found = hashlib.file_digest(
                file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)
            )
        return found.hexdigest() == self.hexadecimal


@dataclass(frozen=True)
class Patience:
    """How long to insist on an address.

    Attributes:
        attempts: Tries before the next address, or giving up.
        timeout_seconds: Silence after which a connection counts as lost.
        pause_seconds: Before the second attempt; it doubles from then on.
    """

    attempts: int = 4
    timeout_seconds: float = 30
    pause_seconds: float = 1


PATIENCE = Patience()


def fetch(
    urls: Sequence[str],
    destination: Path,
    *,
    digest: Digest,
    on_progress: OnProgress = say_nothing,
    patience: Patience = PATIENCE,
) -> Path:
    """Make sure that ``destination`` has the bytes of ``digest``, downloading them if need be.

    A download is written to ``<destination>.part``, continued by an HTTP Range request after an
    interruption, and renamed when its digest is right. Other processes that want the same file
    wait. The URLs are tried in order, each several times.

    Raises:
        TuneError: If no URL gives the right bytes, or the folder cannot be written.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _alone(destination.with_name(destination.name + ".lock")):
            if not (destination.exists() and digest.matches(destination)):
                _download(urls, destination, digest, on_progress=on_progress, patience=patience)
    except OSError as error:
        raise TuneError(
            f"{destination} cannot be written ({error}).",
            hint="Set EFFV2_TUNE_CACHE to a folder on a disk with space.",
            exit_code=EXIT_FAILED,
        ) from error
    return destination


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(
    urls: Sequence[str],
    destination: Path,
    digest: Digest,
    *,
    on_progress: OnProgress,
    patience: Patience,
) -> None:
    part = destination.with_name(destination.name + ".part")
    troubles = []
    for url in urls:
        trouble = _receive_whole(url, part, on_progress, patience)
        if trouble is None and digest.matches(part):
            part.rename(destination)
            return
        if trouble is None:
            part.unlink()
            trouble = f"its {digest.algorithm} is not {digest.hexadecimal}"
        troubles.append(f"  {url}: {trouble}")
    raise TuneError(
        f"{destination.name} could not be downloaded:\n" + "\n".join(troubles),
        hint="Run the same command again to continue, or fetch the file by other means and give "
        "its place as 'path:' in the study's data.",
        exit_code=EXIT_FAILED,
    )


def _receive_whole(url: str, part: Path, on_progress: OnProgress, patience: Patience) -> str | None:
    """Receive all of ``url`` into ``part``; what went wrong if all attempts failed."""
    trouble = None
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause_seconds * 2 ** (attempt - 1))
        try:
            _receive(url, part, on_progress, patience.timeout_seconds)
        except urllib.error.HTTPError as error:
            trouble = f"HTTP status {error.code} {error.reason}"
            error.close()
            if error.code == _RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
            elif error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                return trouble
        except urllib.error.URLError as error:
            trouble = str(error.reason)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            trouble = str(error) or type(error).__name__
        else:
            return None
    return trouble


def _receive(url: str, part: Path, on_progress: OnProgress, timeout_seconds: float) -> None:
    """Append what is missing of ``url`` to ``part``; start anew where the server cannot do that."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "effv2-tune", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    # The addresses are those in known.py, or a test's own server.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout_seconds) as response:  # noqa: S310
        if response.status != _PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                on_progress(Progress(f"downloading {part.stem}", have, total, "bytes"))
    if total is not None and have < total:  # urllib takes an early end of the stream for the end
        raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")
