"""A remote folder of data is copied to a machine once, and completed or updated later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import fsspec
import pytest

from effv2_tune.files.copied_folder import copied_folder, is_remote
from effv2_tune.files.remote import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fsspec.implementations.memory import MemoryFileSystem

URI = "memory://bucket/images"


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    """A bucket in memory, with three images."""
    fs: MemoryFileSystem = fsspec.filesystem("memory")
    for name, content in {"a/1.png": b"one", "a/2.png": b"two", "b/1.png": b"three"}.items():
        fs.pipe(f"/bucket/images/{name}", content)
    yield fs
    fs.rm("/bucket", recursive=True)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.usefixtures("bucket")
def test_a_folder_is_copied_once(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []

    folder = copied_folder(URI, tmp_path, lambda *done: progress.append(done))
    again = copied_folder(URI, tmp_path, lambda *_: pytest.fail("copied twice"))

    assert contents(folder) == {"a/1.png": b"one", "a/2.png": b"two", "b/1.png": b"three"}
    assert again == folder
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_what_has_changed_is_copied_again(tmp_path: Path, bucket: MemoryFileSystem) -> None:
    folder = copied_folder(URI, tmp_path)
    bucket.pipe("/bucket/images/a/1.png", b"ONE")
    bucket.pipe("/bucket/images/c/1.png", b"four")
    bucket.rm("/bucket/images/b", recursive=True)

    progress: list[tuple[int, int]] = []
    copied_folder(URI, tmp_path, lambda *done: progress.append(done))

    assert contents(folder) == {"a/1.png": b"ONE", "a/2.png": b"two", "c/1.png": b"four"}
    assert progress == [(1, 2), (2, 2)]
    assert not (folder / "b").exists()


@pytest.mark.usefixtures("bucket")
def test_a_damaged_copy_is_completed(tmp_path: Path) -> None:
    folder = copied_folder(URI, tmp_path)
    (folder / "a/1.png").unlink()
    (folder / "b/1.png").write_bytes(b"th")

    copied_folder(URI, tmp_path)

    assert contents(folder)["a/1.png"] == b"one"
    assert contents(folder)["b/1.png"] == b"three"


@pytest.mark.usefixtures("bucket")
def test_workers_of_one_machine_copy_it_once(tmp_path: Path) -> None:
    copies: list[tuple[int, int]] = []
    threads = [
        threading.Thread(
            target=copied_folder, args=(URI, tmp_path, lambda *done: copies.append(done))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(copies) == 3


@pytest.mark.usefixtures("bucket")
def test_one_file_is_copied_under_its_name(tmp_path: Path) -> None:
    file = copied_folder(f"{URI}/b/1.png", tmp_path)

    assert file.name == "1.png"
    assert file.read_bytes() == b"three"


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="there are no files"):
        copied_folder("memory://nothing/here", tmp_path)


@pytest.mark.parametrize(("path", "expected"), [("s3://b/x", True), ("a/b", False), ("/a", False)])
def test_urls_are_remote(path: str, *, expected: bool) -> None:
    assert is_remote(path) == expected
