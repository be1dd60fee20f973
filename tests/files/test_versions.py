"""Versions in a remote folder: a torn or damaged one is never used, the one before it is."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from effv2_tune.files.remote import RemoteFolder
from effv2_tune.files.versions import (
    DamagedVersionError,
    VersionWriter,
    download,
    newest_versions,
    next_writer,
    writers_of,
)

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: RemoteFolder, writer: str, **files: bytes) -> VersionWriter:
    one = VersionWriter(folder, writer)
    one.begin()
    one.commit({}, {name: one.put(io.BytesIO(content)) for name, content in files.items()})
    return one


def contents(folder: RemoteFolder, target: Path) -> list[dict[str, bytes | None]]:
    """The files of each version, the newest first; None for a damaged one."""
    found = []
    for version in newest_versions(folder, is_path=lambda _: True):
        files: dict[str, bytes | None] = {}
        for path in version.files:
            try:
                download(folder, version, path, target / path)
                files[path] = (target / path).read_bytes()
            except DamagedVersionError:
                files[path] = None
        found.append(files)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> RemoteFolder:
    return RemoteFolder(str(tmp_path / "remote"))


def test_the_last_two_versions_are_there_and_nothing_of_older_ones(
    folder: RemoteFolder, tmp_path: Path
) -> None:
    for number in b"1234":
        write(folder, "0001-00000000", same=b"same", other=bytes([number]))

    assert contents(folder, tmp_path) == [
        {"same": b"same", "other": b"4"},
        {"same": b"same", "other": b"3"},
    ]
    assert len(folder.sizes("0001-00000000/objects")) == 3


def test_a_version_that_equals_the_last_does_not_replace_the_one_before(
    folder: RemoteFolder, tmp_path: Path
) -> None:
    for content in (b"1", b"2", b"2", b"2"):
        write(folder, "0001-00000000", a=content)

    assert contents(folder, tmp_path) == [{"a": b"2"}, {"a": b"1"}]


def test_the_newest_writer_comes_first(folder: RemoteFolder, tmp_path: Path) -> None:
    old = write(folder, next_writer(folder, "ffffffff"), a=b"old")
    assert old.newer_host() is None

    new = write(folder, next_writer(folder, "00000000"), a=b"new")

    assert writers_of(folder) == ["0001-ffffffff", "0002-00000000"]
    assert contents(folder, tmp_path) == [{"a": b"new"}, {"a": b"old"}]
    assert old.newer_host() is not None
    assert new.newer_host() is None
    new.remove_older_writers()
    assert len(writers_of(folder)) == 2
    new = write(folder, new.name, a=b"newer")
    new.remove_older_writers()
    assert writers_of(folder) == ["0002-00000000"]


def test_every_truncated_or_changed_byte_is_found(folder: RemoteFolder, tmp_path: Path) -> None:
    write(folder, "0001-00000000", a=b"first")
    write(folder, "0001-00000000", a=b"second")
    root, kept = tmp_path / "remote", tmp_path / "kept"
    shutil.copytree(root, kept)
    intact = [{"a": b"second"}, {"a": b"first"}]
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert len(files) == 5

    for name in files:
        content = (kept / name).read_bytes()
        for position in range(0, len(content), max(1, len(content) // 25)):
            changed = bytearray(content)
            changed[position] ^= 1 << (position % 8)
            for damaged in (bytes(changed), content[:position]):
                (root / name).write_bytes(damaged)
                found = contents(folder, tmp_path / "target")
                # Each version is the one that was written, is reported as damaged, or is left out.
                assert all(one in [*intact, {"a": None}] for one in found), (name, position)
                assert any(one in intact for one in found)
        (root / name).write_bytes(content)


def test_a_torn_upload_is_repeated(folder: RemoteFolder, tmp_path: Path) -> None:
    write(folder, "0001-00000000", a=b"whole")
    (torn,) = (tmp_path / "remote/0001-00000000/objects").iterdir()
    torn.write_bytes(b"wh")

    write(folder, "0001-00000000", a=b"whole")

    assert contents(folder, tmp_path)[0] == {"a": b"whole"}


def test_a_mirror_that_is_removed_meanwhile_is_written_whole(
    folder: RemoteFolder, tmp_path: Path
) -> None:
    writer = write(folder, "0001-00000000", a=b"whole")
    shutil.rmtree(tmp_path / "remote")

    writer.begin()
    writer.commit({}, {"a": writer.put(io.BytesIO(b"whole"))})

    assert contents(folder, tmp_path) == [{"a": b"whole"}]


@pytest.mark.parametrize("path", ["../escaped", "/etc/passwd", "a/../../b"])
def test_a_version_with_a_path_that_is_not_expected_is_not_used(
    folder: RemoteFolder, path: str
) -> None:
    write(folder, "0001-00000000", **{path: b"x"})

    assert list(newest_versions(folder, is_path=lambda one: one == "expected")) == []


@pytest.mark.parametrize("value", [None, [], 1, {"format": 2}, {"format": 1, "files": []}])
def test_a_version_of_another_format_is_not_used(
    folder: RemoteFolder, tmp_path: Path, value: object
) -> None:
    from effv2_tune.files.checked_json import encode_checked

    write(folder, "0001-00000000", a=b"1")
    (version,) = (tmp_path / "remote/0001-00000000").glob("version-*")
    version.write_bytes(encode_checked(value))
    version.with_name("version-00000009.json").write_bytes(json.dumps(value).encode())

    assert list(newest_versions(folder, is_path=lambda _: True)) == []
