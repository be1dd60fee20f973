"""`compile` and `plan --compile`: what the TPU's own compiler makes of the smallest network.

One compilation for a v5e-4, 16 images a chip, serves all tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.training.backends.jax.handover import Record
from effv2_tune.workers.compilations import CompiledProgram

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("libtpu") is None,
        reason="needs libtpu, the TPU's compiler: pip install -e '.[tpu-compiler]'",
    ),
]

#: So many images that no other array of the step is as large as all of them.
IMAGES = 20_000
STUDY = """\
name: tiny
data: {name: npz, path: images.npz, validation: 2000}
recipe:
  {variant: tiny, resolution: 32, batch_size: 64, epochs: 2, epsilon: 1e-7, ema: true, flip: true,
   crop_padding: 4}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
trials: 6
"""
#: Loss and correct predictions of a window: the only outputs that are no state.
SUMS = 2
#: Batch normalizations of the network.
NORMS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of black images."""
    folder = tmp_path_factory.mktemp("compile")
    arrays = {}
    for split, count in (("train", IMAGES + 2_000), ("test", 1_000)):
        arrays[f"x_{split}"] = np.zeros((count, 32, 32, 3), np.uint8)
        arrays[f"y_{split}"] = np.arange(count, dtype=np.int64) % 10
    np.savez_compressed(folder / "images.npz", **arrays)
    (folder / "study.yaml").write_text(STUDY)
    return folder


def effv2_tune(folder: Path, *arguments: str) -> str:
    """The output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "effv2_tune", *arguments],
        cwd=folder,
        # Without the flags with which the tests compile for the processor.
        env=os.environ | {"EFFV2_TUNE_CACHE": str(folder / "cache"), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Any:
    """The output of `compile --json`, the first time."""
    return json.loads(effv2_tune(folder, "compile", "study.yaml", "--device", "v5e-4", "--json"))


def program(compiled: Any, kind: str) -> CompiledProgram:
    facts = next(one for one in compiled["buckets"][0]["programs"] if one["kind"] == kind)
    return CompiledProgram.from_plain(
        {name: value for name, value in facts.items() if name != "memory_bytes"}
    )


@pytest.fixture(scope="module")
def train(compiled: Any) -> CompiledProgram:
    return program(compiled, "train")


@pytest.fixture(scope="module")
def evaluate(compiled: Any) -> CompiledProgram:
    return program(compiled, "evaluate")


def test_the_steps_compile_and_fit(compiled: Any) -> None:
    (bucket,) = compiled["buckets"]

    assert bucket["label"] == "tiny@32 batch 64"
    assert bucket["fits"]
    assert bucket["would_fit"] is None
    assert (compiled["device"]["device_kind"], compiled["device"]["device_count"]) == (
        "TPU v5 lite",
        4,
    )
    assert {"jax", "jaxlib", "libtpu"} <= set(compiled["versions"])


def test_a_step_updates_all_state_in_place(train: CompiledProgram) -> None:
    assert train.outputs > 100
    assert train.aliased == train.outputs - SUMS


def test_devices_exchange_reductions_alone_and_the_host_nothing(
    train: CompiledProgram, evaluate: CompiledProgram
) -> None:
    for one in (train, evaluate):
        assert one.host_transfers == 0
        assert one.all_gathers == 0


def test_resident_images_are_not_copied(train: CompiledProgram, evaluate: CompiledProgram) -> None:
    assert train.image_copies == 0
    assert evaluate.image_copies == 0


def test_a_step_reduces_statistics_of_each_norm_and_all_gradients_at_once(
    train: CompiledProgram, evaluate: CompiledProgram
) -> None:
    assert train.all_reduces <= 2 * NORMS + 1
    assert evaluate.all_reduces == 1


def test_figures_are_those_of_a_step_on_one_device(compiled: Any, train: CompiledProgram) -> None:
    """Images are most of what a step takes as input, and `plan` counts its operations."""
    images = IMAGES * 32 * 32 * 3

    assert images < train.argument_bytes < 2 * images
    assert train.argument_bytes < train.memory_bytes < 16e9
    assert train.memory_bytes < compiled["buckets"][0]["memory_bytes"]
    assert 0 < train.step_seconds < 0.1
    assert train.compile_cpu_seconds > 1


def test_the_programs_are_in_the_cache_and_recorded_beside_it(
    folder: Path, compiled: Any, train: CompiledProgram
) -> None:
    (kept,) = (folder / "cache" / "compiled").iterdir()
    entries = Record.read(kept).entries.values()

    assert compiled["folder"] == str(kept)
    assert kept.name.endswith("-TPU-v5-lite")
    assert {entry.program.kind for entry in entries} == {"train", "evaluate"}
    assert all((kept / entry.file).is_file() for entry in entries)
    assert {entry.file for entry in entries} == {path.name for path in kept.glob("jit_*-cache")}
    assert train.cache_key.startswith("jit__train_many-")
    assert {entry.devices for entry in entries} == {4}


def test_what_was_compiled_is_found_again_and_shown_in_80_columns(
    folder: Path, compiled: Any
) -> None:
    del compiled
    printed = effv2_tune(folder, "compile", "study.yaml", "--device", "v5e-4").splitlines()

    assert max(len(line) for line in printed if str(folder) not in line) <= 80
    rows = [line.split() for line in printed]
    assert ["tiny@32", "batch", "64,", "100", "%", "of", "the", "trials"] in rows
    assert [row[0] for row in rows if row and row[0] in ("train", "evaluate")] == [
        "train",
        "evaluate",
    ]
    assert "* found in the cache" in printed
    assert any(line.startswith("  fits: ") for line in printed)


def test_a_plan_takes_memory_and_operations_from_the_compiler(folder: Path, compiled: Any) -> None:
    arguments = ("study.yaml", "--device", "v5e-4", "--compile", "largest", "--json")
    (bucket,) = json.loads(effv2_tune(folder, "plan", *arguments))["buckets"]

    assert bucket["fits"]
    assert bucket["compiled"]["memory_bytes"] == compiled["buckets"][0]["memory_bytes"]
    assert bucket["compiled"]["train_flops"] == pytest.approx(bucket["train_flops"], rel=0.5)
