"""A TPU host says which programs it could not use of those that were compiled ahead of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.host import installed_versions
from effv2_tune.training.backends.jax.handover import VERSIONS, Entry, Handover, Record
from effv2_tune.workers.compilations import CompiledProgram

if TYPE_CHECKING:
    from pathlib import Path

HERE = installed_versions(VERSIONS)
TRAIN = CompiledProgram(kind="train", split="train", compile_cpu_seconds=1.0)


def entry_name(program: str, digit: str) -> str:
    return f"jit_{program}-{digit * 64}-cache"


def compiled_ahead(folder: Path, *, devices: int = 8, versions: dict[str, str] = HERE) -> None:
    folder.mkdir(exist_ok=True)
    file = entry_name("_train_many", "a")
    (folder / file).touch()
    entry = Entry(file=file, devices=devices, versions=versions, program=TRAIN)
    Record(entries={"key": entry}).write(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "0.10.2-TPU-v5-lite"


def test_a_run_that_uses_what_was_compiled_says_nothing(folder: Path) -> None:
    compiled_ahead(folder)
    handover = Handover(folder, 8)

    assert handover.take_notes() == ()
    (folder / entry_name("reference_work", "b")).touch()
    assert handover.take_notes() == ()


def test_a_program_that_was_compiled_again_is_reported_once(folder: Path) -> None:
    compiled_ahead(folder)
    handover = Handover(folder, 8)
    (folder / entry_name("_train_many", "c")).touch()

    (note,) = handover.take_notes()
    assert "jit__train_many" in note
    assert str(folder) in note
    assert handover.take_notes() == ()


def test_another_number_of_devices_is_reported(folder: Path) -> None:
    compiled_ahead(folder, devices=4)

    (note,) = Handover(folder, 8).take_notes()

    assert "for 4 devices, not for the 8" in note


def test_another_version_is_reported_also_from_the_folder_of_that_version(
    folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    compiled_ahead(tmp_path / "0.9.0-TPU-v5-lite", versions=HERE | {"jaxlib": "0.9.0"})
    compiled_ahead(tmp_path / "0.9.0-TPU-v6-lite", versions=HERE | {"jaxlib": "0.9.1"})

    (note,) = Handover(folder, 8).take_notes()

    assert "with jaxlib 0.9.0:" in note


def test_a_folder_without_a_record_or_with_a_damaged_one_says_nothing(folder: Path) -> None:
    folder.mkdir()
    (folder / entry_name("_train_many", "a")).touch()
    (folder / "ahead-of-time.json").write_text("{")
    handover = Handover(folder, 8)
    (folder / entry_name("_train_many", "b")).touch()

    assert handover.take_notes() == ()
