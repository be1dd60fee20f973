"""Stores versions of a set of files in a remote folder, so that a torn upload is never used.

No store can be relied on to rename, and several writers may use one folder. So each writer has a
folder of its own there, with a file for every content, named by its SHA-256, and a small file for
every version, which lists the contents and is written last::

    0001-3fa9c1d2/claim.json
    0001-3fa9c1d2/objects/<sha256>
    0001-3fa9c1d2/version-00000001.json

The last two versions are kept: one is complete while another is written, or is found damaged.
"""

from __future__ import annotations

import hashlib
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from effv2_tune.files.atomic import replacing
from effv2_tune.files.checked_json import decode_checked, encode_checked
from effv2_tune.files.remote import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from effv2_tune.files.remote import RemoteFolder

_CLAIM = "claim.json"
_WRITER = re.compile(r"(\d{4,})-[0-9a-f]{8}")
_VERSION = re.compile(r"version-(\d{8,})\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT_VERSIONS = 2
_FORMAT = 1
_CHUNK = 1 << 20


class DamagedVersionError(Exception):
    """A file of a version is missing, or is not the one that was written."""


@dataclass(frozen=True)
class Content:
    """The content of a file.

    Attributes:
        sha256: In hexadecimal digits.
        size: In bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class Version:
    """A complete version of the files of one writer.

    Attributes:
        writer: The name of its folder.
        sequence: From 1 upwards.
        host: The machine that wrote it.
        time: When, in ISO format.
        facts: Whatever the writer says of it.
        files: By the path that the writer gives to each.
    """

    writer: str
    sequence: int
    host: str
    time: str
    facts: Mapping[str, Any]
    files: Mapping[str, Content]


def writers_of(folder: RemoteFolder) -> list[str]:
    """The names of all writers, the newest last."""
    return sorted(filter(_WRITER.fullmatch, folder.sizes("")), key=_age)


def next_writer(folder: RemoteFolder, token: str) -> str:
    """A name that is newer than those of all writers.

    Args:
        folder: Of the versions.
        token: Eight hexadecimal digits, which no other writer has.
    """
    generations = [_age(name)[0] for name in writers_of(folder)]
    return f"{max(generations, default=0) + 1:04d}-{token}"


def versions_of(
    folder: RemoteFolder, writer: str, *, is_path: Callable[[str], bool]
) -> Iterator[Version]:
    """The intact versions of a writer, the newest first.

    Args:
        folder: Of the versions.
        writer: One of :func:`writers_of`.
        is_path: Whether a file may have this path; a version with any other is not used.
    """
    for sequence in sorted(_sequences(folder.sizes(writer)), reverse=True):
        content = folder.read(f"{writer}/{_version_name(sequence)}")
        version = _parsed(writer, sequence, decode_checked(content))
        if version is not None and all(map(is_path, version.files)):
            yield version


def newest_versions(folder: RemoteFolder, *, is_path: Callable[[str], bool]) -> Iterator[Version]:
    """The intact versions of all writers, the newest first; see :func:`versions_of`."""
    for writer in reversed(writers_of(folder)):
        yield from versions_of(folder, writer, is_path=is_path)


def download(folder: RemoteFolder, version: Version, path: str, target: Path) -> None:
    """Write a file of a version to this disk, atomically, once its checksum is verified.

    Raises:
        DamagedVersionError: It is missing, or its checksum differs.
        RemoteError: It cannot be read.
        OSError: The target cannot be written.
    """
    content = version.files[path]
    name = _object_name(version.writer, content.sha256)
    if folder.sizes(f"{version.writer}/objects").get(content.sha256) != content.size:
        raise DamagedVersionError(f"{folder.uri}/{name} is missing or truncated")
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        for chunk in folder.chunks(name):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != content.sha256:
            raise DamagedVersionError(f"{folder.uri}/{name} is damaged")


def has_versions(folder: RemoteFolder) -> bool:
    """Whether a version was written, intact or not."""
    return any(_sequences(folder.sizes(writer)) for writer in writers_of(folder))


class VersionWriter:
    """Writes the versions of one writer.

    Args:
        folder: Of the versions.
        name: Of the writer: an earlier one of this folder, or a new one.

    Attributes:
        name: As given.
    """

    def __init__(self, folder: RemoteFolder, name: str) -> None:
        self.name = name
        self._folder = folder
        self._sequence = 0
        self._stored: dict[str, int] = {}

    def begin(self) -> None:
        """Begin a version: find out what is there, as somebody may have removed it.

        Raises:
            RemoteError: The folder cannot be used, here and in all other methods.
        """
        names = self._folder.sizes(self.name)
        self._sequence = max(_sequences(names), default=0)
        self._stored = self._folder.sizes(f"{self.name}/objects")
        if _CLAIM not in names:
            # At once, so that an older writer notices.
            self._write(_CLAIM, encode_checked(_signature()))

    def newer_host(self) -> str | None:
        """The machine of a newer writer; None where this one is the newest."""
        newest = max([*writers_of(self._folder), self.name], key=_age)
        if newest == self.name:
            return None
        try:
            claim = decode_checked(self._folder.read(f"{newest}/{_CLAIM}"))
        except RemoteError:
            claim = None
        return str((claim or {}).get("host", "another machine"))

    def has(self, content: Content) -> bool:
        """Whether a content is there, whole."""
        # A size that differs: an upload that was torn.
        return self._stored.get(content.sha256) == content.size

    def put(self, source: IO[bytes], on_chunk: Callable[[], None] = lambda: None) -> Content:
        """Write a content unless it is there.

        Args:
            source: An open file, at its start.
            on_chunk: Called often; what it raises gives up.
        """
        digest = hashlib.sha256()
        for chunk in _chunks(source, on_chunk):
            digest.update(chunk)
        content = Content(digest.hexdigest(), source.tell())
        if not self.has(content):
            source.seek(0)
            chunks = _chunks(source, on_chunk)
            self._folder.write(_object_name(self.name, content.sha256), chunks)
            self._stored[content.sha256] = content.size
        return content

    def commit(self, facts: Mapping[str, Any], files: Mapping[str, Content]) -> None:
        """Write a version, then remove what only versions before the last one had.

        One that equals the last is not written: the one before would be removed for nothing.
        """
        newest = next(versions_of(self._folder, self.name, is_path=lambda _: True), None)
        if newest is not None and (newest.facts, newest.files) == (facts, files):
            return
        self._sequence += 1
        listed = {path: [content.sha256, content.size] for path, content in files.items()}
        value = {"format": _FORMAT, **_signature(), "facts": dict(facts), "files": listed}
        self._write(_version_name(self._sequence), encode_checked(value))
        self._remove_expired()

    def remove_older_writers(self) -> None:
        """Remove the folders of all writers before this one, once it has as many versions."""
        if len(_sequences(self._folder.sizes(self.name))) < _KEPT_VERSIONS:
            return
        for name in writers_of(self._folder):
            if _age(name) < _age(self.name):
                self._folder.remove(name)

    def _remove_expired(self) -> None:
        sequences = sorted(_sequences(self._folder.sizes(self.name)))
        for sequence in sequences[:-_KEPT_VERSIONS]:
            self._folder.remove(f"{self.name}/{_version_name(sequence)}")
        kept = versions_of(self._folder, self.name, is_path=lambda _: True)
        used = {content.sha256 for version in kept for content in version.files.values()}
        for sha256 in self._stored.keys() - used:
            self._folder.remove(_object_name(self.name, sha256))
            del self._stored[sha256]

    def _write(self, name: str, content: bytes) -> None:
        self._folder.write(f"{self.name}/{name}", [content])


def _age(writer: str) -> tuple[int, str]:
    """The order of writers; of two that began at once, the token decides."""
    return int(writer.partition("-")[0]), writer


def _chunks(source: IO[bytes], on_chunk: Callable[[], None]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        on_chunk()
        yield chunk


def _signature() -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "time": now}


def _parsed(writer: str, sequence: int, value: Any) -> Version | None:
    """A version from its file; None if that is of another format, or damaged."""
    try:
        if value["format"] != _FORMAT:
            return None
        files = {
            str(path): Content(str(sha), int(size)) for path, (sha, size) in value["files"].items()
        }
        if not all(_SHA256.fullmatch(content.sha256) for content in files.values()):
            return None
        return Version(
            writer, sequence, str(value["host"]), str(value["time"]), dict(value["facts"]), files
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _sequences(names: Mapping[str, int]) -> list[int]:
    matches = map(_VERSION.fullmatch, names)
    return [int(match[1]) for match in matches if match]


def _version_name(sequence: int) -> str:
    return f"version-{sequence:08d}.json"


def _object_name(writer: str, sha256: str) -> str:
    return f"{writer}/objects/{sha256}"
