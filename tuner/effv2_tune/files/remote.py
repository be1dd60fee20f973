"""Reads and writes files in a folder elsewhere: another disk, a bucket, whatever fsspec opens."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Their folders exist as soon as a file is in them; creating one may ask for rights on the bucket.
_OBJECT_STORES = {"gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "adl", "oci", "r2"}
_CHUNK = 1 << 20
_EXAMPLES = "Name a folder, such as /content/drive/MyDrive/study, or gs://bucket/study."


class RemoteError(Exception):
    """A remote folder cannot be reached, read or written; the text is the reason."""


class RemoteFolder:
    """A folder that is reached through fsspec.

    Args:
        uri: A path, or a URL such as ``gs://bucket/folder``.

    Attributes:
        uri: As given.
        path: Of a folder of this machine; None for any other.

    Raises:
        TuneError: The URL is malformed.
        ImportError: Its package is not installed.
    """

    def __init__(self, uri: str) -> None:
        # 0.15 s: not for studies without a mirror.
        from fsspec.core import url_to_fs

        try:
            self._fs, root = url_to_fs(uri if "://" in uri else str(Path(uri).expanduser()))
        except ImportError:  # the caller knows how to install it
            raise
        except Exception as error:
            raise TuneError(
                f"{uri!r} is not the address of a folder: {error}.", hint=_EXAMPLES
            ) from error
        self.uri = uri
        self._root = str(root).rstrip("/")
        protocol = self._fs.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self.path = Path(self._root or "/") if "file" in protocols else None
        self._has_folders = not protocols & _OBJECT_STORES

    def check(self) -> None:
        """Check that the folder can be reached.

        Raises:
            RemoteError: It cannot; or the folder around a local one is missing, as where a disk is
                not mounted: a folder created there would be lost with the machine.
        """
        if self.path is not None and not self.path.is_dir() and not self.path.parent.is_dir():
            raise RemoteError(f"there is no folder {self.path.parent}; is its disk mounted?")
        self.sizes("")

    def sizes(self, folder: str) -> dict[str, int]:
        """The names in a folder, with the sizes of files in bytes; empty where there is none."""
        with _remote_errors():
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        names = ((entry["name"].rstrip("/").rpartition("/")[2], entry) for entry in entries)
        return {name: entry.get("size") or 0 for name, entry in names if name}

    def tree(self) -> dict[str, tuple[int, str]]:
        """All files below the folder: bytes, and what changes with the content, by relative path.

        The URL may be that of a file: then it is the only one, by its own name.
        """
        with _remote_errors():
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
        if list(found) == [self._root]:
            ((path, entry),) = found.items()
            return {path.rpartition("/")[2]: (entry.get("size") or 0, _version(entry))}
        start = len(self._root) + 1
        return {
            path[start:]: (entry.get("size") or 0, _version(entry)) for path, entry in found.items()
        }

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece.

        Raises:
            RemoteError: It is missing, or cannot be read.
        """
        with _remote_errors(), self._fs.open(self._path(name), "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def read(self, name: str) -> bytes:
        """The content of a small file; see :meth:`chunks`."""
        return b"".join(self.chunks(name))

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write a file piece by piece; after an error nothing of it is left, where possible.

        Raises:
            RemoteError: The folder is full, or cannot be written.
        """
        path = self._path(name)
        with _remote_errors():
            if self._has_folders:
                self._make_parent(path)
            try:
                self._write(path, chunks)
            except BaseException:
                with suppress(Exception):
                    self._fs.rm_file(path)
                raise

    def _write(self, path: str, chunks: Iterable[bytes]) -> None:
        size = 0
        with self._fs.open(path, "wb") as file:
            for chunk in chunks:
                size += len(chunk)
                file.write(chunk)
        if self.path is not None:
            sync(Path(path))
        self._fs.invalidate_cache()
        if (found := self._fs.size(path)) != size:
            raise RemoteError(f"{path} has {found} bytes, {size} were written")

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content; a missing one is ignored."""
        with _remote_errors(), suppress(FileNotFoundError):
            self._fs.rm(self._path(name), recursive=True)

    def _make_parent(self, path: str) -> None:
        """Create the folder of a file; a local root only in a folder that exists."""
        if self.path is not None:
            self.path.mkdir(exist_ok=True)
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root or "/"


def _version(entry: dict[str, Any]) -> str:
    """What changes with the content of a file, as far as its store says."""
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
    return str(next((entry[name] for name in names if entry.get(name)), ""))


@contextmanager
def _remote_errors() -> Iterator[None]:
    """Raise whatever a file system raises, which may be an error of its own library."""
    try:
        yield
    except RemoteError:
        raise
    except OSError as error:
        raise RemoteError(_reason(error, error.strerror)) from error
    except Exception as error:
        raise RemoteError(_reason(error, None)) from error


def _reason(error: Exception, text: Any) -> str:
    lines = str(text or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
