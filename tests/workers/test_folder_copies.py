"""Copies of checkpoint folders: only what has changed is copied, and the folders end up equal."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.workers.folder_copies import FolderChanges, copy_of, write_copy

CONTENTS = st.dictionaries(st.sampled_from("abc"), st.binary(max_size=4))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_a_checkpoint_is_copied_once_and_one_that_is_gone_is_removed(tmp_path: Path) -> None:
    node, study = tmp_path / "node" / "trial-3", tmp_path / "study"
    changes = FolderChanges(node)
    assert changes.read() is None

    fill(node, {"step-1": b"first"})
    first = changes.read()
    assert first is not None
    write_copy(study, first)
    (node / "step-1").unlink()
    (node / "step-2").write_bytes(b"second")
    second = changes.read()
    assert second is not None
    write_copy(study, second)

    assert second.contents == {"step-2": b"second"}
    assert files_in(study / "trial-3") == {"step-2": b"second"}
    assert changes.read() is None


def test_a_file_that_is_being_written_is_not_copied(tmp_path: Path) -> None:
    fill(tmp_path / "trial", {"step-1.12-0123abcd.writing": b"fir"})

    assert copy_of(tmp_path / "trial").names == frozenset()


def test_a_folder_that_does_not_exist_is_copied_as_an_empty_one(tmp_path: Path) -> None:
    write_copy(tmp_path / "study", copy_of(tmp_path / "trial-3"))

    assert files_in(tmp_path / "study" / "trial-3") == {}


@settings(max_examples=25, deadline=None)
@given(before=CONTENTS, after=CONTENTS)
def test_after_a_copy_both_folders_are_equal(
    tmp_path_factory: object, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    tmp_path = Path(tmp_path_factory.mktemp("copies"))  # type: ignore[attr-defined]
    node, study = tmp_path / "node" / "trial", tmp_path / "study"
    changes = FolderChanges(node)
    for files in (before, after):
        fill(node, files)
        copy = changes.read()
        if copy is not None:
            write_copy(study, copy)

    assert files_in(node) == (files_in(study / "trial") if (study / "trial").is_dir() else {})
