"""Downloads published files: resumes after interruptions, verifies the checksum."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import UnavailableError
from effv2_tune.files.atomic import durable_replace
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.locks import exclusive_lock
from effv2_tune.heartbeat import advance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The bytes so far and the total (None if unknown).
ByteCount = tuple[int, int | None]
#: Called with the bytes so far and the total (None if unknown).
OnBytes = Callable[[int, int | None], None]
#: Yields the progress of an attempt; returns its error, or None.
_Attempt = Generator[ByteCount, None, str | None]

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


@dataclass(frozen=True)
class PublishedFile:
    """A file that is published on the internet, and its place in the cache.

    Attributes:
        urls: Its addresses, in the order of preference.
        destination: Where it is kept.
        digest: The expected checksum.
        fallback_hint: How else the user can provide the file, for the error message.
    """

    urls: Sequence[str]
    destination: Path
    digest: Digest
    fallback_hint: str

    @property
    def is_cached(self) -> bool:
        """Whether it is in its place, with the expected checksum."""
        return self.destination.is_file() and self.digest.matches(self.destination)

    @property
    def part(self) -> Path:
        """Where an unfinished download is kept."""
        return self.destination.with_name(self.destination.name + ".part")

    def download(self, retries: RetryPolicy = DEFAULT_RETRIES) -> Generator[ByteCount]:
        """Download it, unless it is cached, and yield the progress.

        A download is written to ``<destination>.part``, resumed by an HTTP Range request after an
        interruption, and renamed once its checksum is verified: the file is never incomplete. Other
        processes that need the same file wait. The URLs are tried in order, each several times.

        Raises:
            TuneError: If no URL provides the file, or the folder cannot be written; with exit code
                1, as the place failed and not the input.
        """
        hint = f"Set {CACHE_VARIABLE} to a folder on a disk with space."
        with disk_errors(f"{self.destination} cannot be written", hint=hint):
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(self.destination.with_name(self.destination.name + ".lock")):
                if not self.is_cached:
                    yield from _Download(self, retries).run()

    def reach(self, retries: RetryPolicy = DEFAULT_RETRIES) -> ByteCount:
        """Ask the servers for the size of the file, without downloading it.

        Returns:
            The bytes of an unfinished download, and of the whole file (None if unknown).

        Raises:
            TuneError: If no URL provides the file; with exit code 1.
        """
        return next(_Download(self, retries).ask())


def fetch(
    file: PublishedFile, *, on_bytes: OnBytes, retries: RetryPolicy = DEFAULT_RETRIES
) -> Path:
    """Download a file unless it is cached; raises as :meth:`PublishedFile.download`.

    Args:
        file: The file.
        on_bytes: Called with the progress.
        retries: Attempts, timeout and pauses.

    Returns:
        The path of the file.
    """
    for done, total in file.download(retries):
        on_bytes(done, total)
    return file.destination


@dataclass(frozen=True)
class _Download:
    """The download of one file."""

    file: PublishedFile
    retries: RetryPolicy

    def run(self) -> Generator[ByteCount]:
        """Write the destination, or raise."""
        part = self.file.part
        errors = []
        for url in self.file.urls:
            resumed = part.exists()
            error_message = yield from self._download_verified(url)
            if error_message is not None and resumed and not part.exists():
                # The partial file was of another file, or damaged: start over.
                error_message = yield from self._download_verified(url)
            if error_message is None:
                durable_replace(part, self.file.destination)
                return
            errors.append(f"  {url}: {error_message}")
        raise self._error(errors)

    def ask(self) -> Generator[ByteCount]:
        """Yield the size of the file at the first URL that provides it, or raise."""
        errors = []
        for url in self.file.urls:
            error_message = yield from self._retried(partial(self._ask, url))
            if error_message is None:
                return
            errors.append(f"  {url}: {error_message}")
        raise self._error(errors)

    def _error(self, errors: Sequence[str]) -> UnavailableError:
        kept = " The partial file is kept; rerun the same command to resume."
        return UnavailableError(
            f"{self.file.destination.name} could not be downloaded:\n" + "\n".join(errors),
            hint=self.file.fallback_hint + (kept if self.file.part.exists() else ""),
        )

    def _download_verified(self, url: str) -> _Attempt:
        """Download ``url``, and remove the file if its checksum differs; returns the error."""
        part, digest = self.file.part, self.file.digest
        error_message = yield from self._retried(partial(self._receive, url))
        if error_message is not None:
            return error_message
        checksum = digest.of(part)
        if checksum == digest.hexadecimal:
            return None
        part.unlink()
        return (
            f"provided another file than the published one: its {digest.algorithm} is "
            f"{checksum}, not {digest.hexadecimal}"
        )

    def _retried(self, attempt: Callable[[], _Attempt]) -> _Attempt:
        """Repeat ``attempt`` until it succeeds; returns the error if all attempts failed."""
        error_message = None
        for number in range(self.retries.attempts):
            if number:
                time.sleep(self.retries.pause_seconds * 2 ** (number - 1))
            try:
                error_message = yield from attempt()
            except urllib.error.HTTPError as error:
                error_message = f"HTTP status {error.code} {error.reason}"
                error.close()
                if error.code == _RANGE_NOT_SATISFIABLE and self.file.part.exists():
                    return None  # The part is complete, or too long: verify its checksum.
                if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                    return error_message
            except urllib.error.URLError as error:
                error_message = str(error.reason)
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                error_message = str(error) or type(error).__name__
            else:
                if error_message is None:
                    return None
        return error_message

    def _receive(self, url: str) -> _Attempt:
        """Append the rest of the file to its part; returns the error if the stream ended early."""
        part = self.file.part
        done = part.stat().st_size if part.exists() else 0
        with self._opened(url, f"bytes={done}-" if done else None) as response:
            if done and response.status != _PARTIAL_CONTENT:
                done = 0  # The server does not resume: it sends the whole file.
            length = response.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            yield done, total
            with part.open("ab" if done else "wb") as file:
                while chunk := _read(response):
                    file.write(chunk)
                    done += len(chunk)
                    advance()
                    yield done, total
        # urllib reports no error if the stream ends early.
        if total is not None and done < total:
            return f"the connection broke after {done:,} of {total:,} bytes"
        return None

    def _ask(self, url: str) -> _Attempt:
        """Yield the bytes of the unfinished download and of the whole file."""
        part = self.file.part
        # Not HEAD: servers that sign their addresses refuse it.
        with self._opened(url, "bytes=0-0") as response:
            size = response.headers.get("Content-Length")
            if response.status == _PARTIAL_CONTENT:
                size = response.headers.get("Content-Range", "").rpartition("/")[-1]
        done = part.stat().st_size if part.exists() else 0
        yield done, int(size) if size and size.isdecimal() else None
        return None

    def _opened(self, url: str, byte_range: str | None) -> Any:
        headers = {"User-Agent": "effv2-tune", "Accept-Encoding": "identity"}
        if byte_range is not None:
            headers["Range"] = byte_range
        # The addresses are those of the catalog and of the datasets, or a test server.
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        opener = urllib.request.build_opener(_TlsKept)
        return opener.open(request, timeout=self.retries.timeout_seconds)


class _TlsKept(urllib.request.HTTPRedirectHandler):
    """Refuses a redirection from https to http, where anyone on the way can replace the file."""

    def redirect_request(self, req: Any, *rest: Any) -> Any:
        newurl = str(rest[-1])
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, *rest)


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(_CHUNK_BYTES))
    except http.client.IncompleteRead as error:
        return error.partial
    except (TimeoutError, ConnectionError):
        raise
    except OSError as error:  # such as a lost route: not an error of the disk
        raise ConnectionError(str(error)) from error
