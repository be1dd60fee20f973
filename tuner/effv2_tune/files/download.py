"""Downloads a file: resumes after interruptions, verifies the checksum."""

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
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Called with the bytes so far and the total (None if unknown).
OnBytes = Callable[[int, int | None], None]

_CHUNK_BYTES = 1 << 20
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Digest:
    """The expected checksum of a file.

    Attributes:
        algorithm: Its name in :mod:`hashlib`, such as md5.
        hexadecimal: The checksum.
    """

    algorithm: str
    hexadecimal: str

    def of(self, path: Path) -> str:
        """The checksum of ``path``."""
        with path.open("rb") as file:
            # MD5 detects broken downloads here, as its publishers use it; not attacks
            digest = hashlib.file_digest(
                file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)
            )
        return digest.hexdigest()

    def matches(self, path: Path) -> bool:
        """Whether ``path`` has this checksum."""
        return self.of(path) == self.hexadecimal


@dataclass(frozen=True)
class RetryPolicy:
    """How often to retry an address, and when.

    Attributes:
        attempts: Per address.
        timeout_seconds: Without data, after which a connection counts as lost.
        pause_seconds: Before the second attempt; doubled for each further one.
    """

    attempts: int = 4
    timeout_seconds: float = 30
    pause_seconds: float = 1


DEFAULT_RETRIES = RetryPolicy()


def fetch(
    urls: Sequence[str],
    destination: Path,
    *,
    digest: Digest,
    on_bytes: OnBytes,
    fallback_hint: str,
    retries: RetryPolicy = DEFAULT_RETRIES,
) -> Path:
    """Download a file unless ``destination`` has the expected checksum already.

    A download is written to ``<destination>.part``, resumed by an HTTP Range request after an
    interruption, and renamed once its checksum is verified: the file is never incomplete. Other
    processes that need the same file wait. The URLs are tried in order, each several times.

    Args:
        urls: The addresses of the file.
        destination: The path to write.
        digest: The expected checksum.
        on_bytes: Called with the progress.
        fallback_hint: How else the user can provide the file, for the error message.
        retries: Attempts, timeout and pauses.

    Raises:
        TuneError: If no URL provides the file, or the folder cannot be written.
    """
    hint = f"Set {CACHE_VARIABLE} to a folder on a disk with space."
    with disk_errors(f"{destination} cannot be written", hint=hint):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(destination.with_name(destination.name + ".lock")):
            if not (destination.is_file() and digest.matches(destination)):
                _Download(destination, digest, on_bytes, retries).run(urls, fallback_hint)
    return destination


@dataclass(frozen=True)
class _Download:
    """The download of one file."""

    destination: Path
    digest: Digest
    on_bytes: OnBytes
    retries: RetryPolicy

    def run(self, urls: Sequence[str], fallback_hint: str) -> None:
        """Write the destination, or raise."""
        part = self.destination.with_name(self.destination.name + ".part")
        errors = []
        for url in urls:
            resumed = part.exists()
            error_message = self._download_verified(url, part)
            if error_message is not None and resumed and not part.exists():
                # The partial file was of another file, or damaged: start over.
                error_message = self._download_verified(url, part)
            if error_message is None:
                durable_replace(part, self.destination)
                return
            errors.append(f"  {url}: {error_message}")
        kept = " The partial file is kept; rerun the same command to resume."
        raise TuneError(
            f"{self.destination.name} could not be downloaded:\n" + "\n".join(errors),
            hint=fallback_hint + (kept if part.exists() else ""),
            exit_code=EXIT_FAILED,
        )

    def _download_verified(self, url: str, part: Path) -> str | None:
        """Download ``url`` to ``part``, removed if its checksum differs; returns the error."""
        error_message = self._download_with_retries(url, part)
        if error_message is not None:
            return error_message
        checksum = self.digest.of(part)
        if checksum == self.digest.hexadecimal:
            return None
        part.unlink()
        return (
            f"provided another file than the published one: its {self.digest.algorithm} is "
            f"{checksum}, not {self.digest.hexadecimal}"
        )

    def _download_with_retries(self, url: str, part: Path) -> str | None:
        """Download ``url`` to ``part``; returns the error if all attempts failed."""
        error_message = None
        for attempt in range(self.retries.attempts):
            if attempt:
                time.sleep(self.retries.pause_seconds * 2 ** (attempt - 1))
            try:
                done, total = self._receive(url, part)
            except urllib.error.HTTPError as error:
                error_message = f"HTTP status {error.code} {error.reason}"
                error.close()
                if error.code == _RANGE_NOT_SATISFIABLE and part.exists():
                    return None  # ``part`` is complete, or too long: verify its checksum.
                if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                    return error_message
            except urllib.error.URLError as error:
                error_message = str(error.reason)
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                error_message = str(error) or type(error).__name__
            else:
                # urllib reports no error if the stream ends early.
                if total is None or done >= total:
                    return None
                error_message = f"the connection broke after {done:,} of {total:,} bytes"
        return error_message

    def _receive(self, url: str, part: Path) -> tuple[int, int | None]:
        """One attempt: (bytes in ``part`` afterwards, bytes of the whole file or None)."""
        done = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": "effv2-tune", "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        # The addresses are those of the catalog and of the datasets, or a test server.
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        timeout = self.retries.timeout_seconds
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            if done and response.status != _PARTIAL_CONTENT:
                done = 0  # The server does not resume: it sends the whole file.
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
