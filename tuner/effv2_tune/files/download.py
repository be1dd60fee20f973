"""One file from the network: resumed when interrupted, trusted only when its digest is right."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import durable_replace
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Called with the bytes so far, and in all (None where the server does not say).
OnBytes = Callable[[int, int | None], None]

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

    def of(self, path: Path) -> str:
        """What the bytes of ``path`` do hash to."""
        with path.open("rb") as file:
            # MD5 guards against broken downloads here, as its publishers use it; not against people
            found = hashlib.file_digest(
                file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)
            )
        return found.hexdigest()

    def matches(self, path: Path) -> bool:
        """Whether ``path`` has these bytes."""
        return self.of(path) == self.hexadecimal


@dataclass(frozen=True)
class RetryPolicy:
    """How long to insist on an address.

    Attributes:
        attempts: Tries before the next address, or giving up.
        timeout_seconds: Silence after which a connection counts as lost.
        pause_seconds: Before the second attempt; it doubles from then on.
    """

    attempts: int = 4
    timeout_seconds: float = 30
    pause_seconds: float = 1


PATIENCE = RetryPolicy()


def fetch(
    urls: Sequence[str],
    destination: Path,
    *,
    digest: Digest,
    on_bytes: OnBytes,
    otherwise: str,
    patience: RetryPolicy = PATIENCE,
) -> Path:
    """Make sure that ``destination`` has the bytes of ``digest``, downloading them if need be.

    A download is written to ``<destination>.part``, continued by an HTTP Range request after an
    interruption, and renamed when its digest is right: the file is never there half. Other
    processes that want the same file wait. The URLs are tried in order, each several times.

    Args:
        urls: Where the file is published.
        destination: Where it belongs.
        digest: Of its bytes.
        on_bytes: Told how far it is.
        otherwise: How else a person can bring the file, as a sentence.
        patience: How long to insist.

    Raises:
        TuneError: If no URL gives the right bytes, or the folder cannot be written.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(destination.with_name(destination.name + ".lock")):
            if not (destination.is_file() and digest.matches(destination)):
                source = _Source(destination, digest, on_bytes, patience)
                source.download(urls, otherwise)
    except OSError as error:
        raise TuneError(
            f"{destination} cannot be written: {error.strerror or error}.",
            hint=f"Set {CACHE_VARIABLE} to a folder on a disk with space.",
            exit_code=EXIT_FAILED,
        ) from error
    return destination


@dataclass(frozen=True)
class _Source:
    """What is wanted, and how far one goes for it."""

    destination: Path
    digest: Digest
    on_bytes: OnBytes
    patience: RetryPolicy

    def download(self, urls: Sequence[str], otherwise: str) -> None:
        """Fill the destination with the right bytes, or raise."""
        part = self.destination.with_name(self.destination.name + ".part")
        troubles = []
        for url in urls:
            resumed = part.exists()
            trouble = self._right(url, part)
            if trouble is not None and resumed and not part.exists():
                # What lay there was of another file, or broken: once more from the start.
                trouble = self._right(url, part)
            if trouble is None:
                durable_replace(part, self.destination)
                return
            troubles.append(f"  {url}: {trouble}")
        kept = " What was received is kept, and the same command goes on there."
        raise TuneError(
            f"{self.destination.name} could not be downloaded:\n" + "\n".join(troubles),
            hint=otherwise + (kept if part.exists() else ""),
            exit_code=EXIT_FAILED,
        )

    def _right(self, url: str, part: Path) -> str | None:
        """Receive ``url`` into ``part``, which goes if it is whole and wrong; what is wrong."""
        trouble = self._whole(url, part)
        if trouble is not None:
            return trouble
        found = self.digest.of(part)
        if found == self.digest.hexadecimal:
            return None
        part.unlink()
        return (
            f"gave another file than the published one: its {self.digest.algorithm} is {found}, "
            f"not {self.digest.hexadecimal}"
        )

    def _whole(self, url: str, part: Path) -> str | None:
        """Receive all of ``url`` into ``part``; what went wrong if all attempts failed."""
        trouble = None
        for attempt in range(self.patience.attempts):
            if attempt:
                time.sleep(self.patience.pause_seconds * 2 ** (attempt - 1))
            try:
                done, total = self._receive(url, part)
            except urllib.error.HTTPError as error:
                trouble = f"HTTP status {error.code} {error.reason}"
                error.close()
                if error.code == _RANGE_NOT_SATISFIABLE and part.exists():
                    return None  # ``part`` is whole already, or too long: its digest tells.
                if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                    return trouble
            except urllib.error.URLError as error:
                trouble = str(error.reason)
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                trouble = str(error) or type(error).__name__
            else:
                # urllib takes an early end of the stream for the end.
                if total is None or done >= total:
                    return None
                trouble = f"the connection broke after {done:,} of {total:,} bytes"
        return trouble

    def _receive(self, url: str, part: Path) -> tuple[int, int | None]:
        """One attempt: (bytes in ``part`` afterwards, bytes of the whole file or None)."""
        done = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "effv2-tune", "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        # The addresses are those of the catalog and of the data sets, or a test's own server.
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        timeout = self.patience.timeout_seconds
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            if done and response.status != _PARTIAL_CONTENT:
                done = 0  # The server does not resume: what comes now is the whole file.
            length = response.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            self.on_bytes(done, total)
            with part.open("ab" if done else "wb") as file:
                while chunk := _read(response):
                    file.write(chunk)
                    done += len(chunk)
                    self.on_bytes(done, total)
        return done, total


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK_BYTES))
    except http.client.IncompleteRead as error:
        return error.partial
