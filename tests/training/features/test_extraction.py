"""A frozen backbone runs once: cached features train the same classifier as the images do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune import cli
from effv2_tune.data import load_dataset
from effv2_tune.errors import MistakesError, TuneError
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.network import preprocess, training_network
from effv2_tune.study.bucket import CACHED_FEATURES
from effv2_tune.study.loading import load_plan
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training import train
from effv2_tune.training.attempt import TrainingStoppedError
from effv2_tune.training.devices import open_device
from effv2_tune.training.features import extraction
from effv2_tune.training.features.cache import FeatureCache, FeatureFacts, FeatureKey
from effv2_tune.training.features.files import FeatureFile
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import Compiled, Train

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.workers.messages import Finished

IMAGES = {"train": 500, "validation": 150, "test": 101}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The original recipe, on digits, with weights of a network that was never trained."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    training_network("tiny", classes=7, resolution=32, seed=5).save_weights(path)
    return Recipe(
        variant="tiny",
        resolution=32,
        backbone="frozen",
        weights=str(path),
        epochs=6,
        batch_size=64,
        dropout=0.1,
        initial_learning_rate=1e-4,
        maximal_learning_rate=5e-2,
        label_smoothing=0.1,
        class_weight="balanced",
        ema=True,
        ema_momentum=0.9,
        select="best",
        data=DataSpec(**IMAGES),
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    """An empty cache, and blocks of eight images: real ones are larger than these data."""
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extraction, "DEVICE_BATCH", 8)
    monkeypatch.setattr(extraction, "BLOCK_BATCHES", 1)
    return FeatureCache()


def _trainer(recipe: Recipe, **settings: Any) -> Trainer:
    dataset = load_dataset(recipe.data, base=Path())
    return Trainer(dataset, open_device("tensorflow", hardware="cpu"), **settings)


@pytest.fixture(scope="module")
def trainer(recipe: Recipe) -> Callable[[], Trainer]:
    """Trainers that share the images, not the features."""
    dataset = load_dataset(recipe.data, base=Path())
    return lambda: Trainer(dataset, open_device("tensorflow", hardware="cpu"))


def _train(trainer: Trainer, recipe: Recipe, folder: Path) -> tuple[Finished, Compiled]:
    events: list[Any] = []
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.01, checkpoint=folder)
    finished = trainer.train_trial(request, on_event=events.append, should_continue=lambda _: True)
    assert finished.outcome == "complete", finished.reason
    return finished, events[0]


def _head(folder: Path) -> dict[str, np.ndarray]:
    kept = CheckpointFolder(folder).latest()
    assert kept is not None
    return {name: array for name, array in kept.arrays.items() if "/predictions/" in name}


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True, "alternating"])
def test_cached_features_train_the_classifier_that_the_images_train(
    recipe: Recipe,
    trainer: Callable[[], Trainer],
    cache: FeatureCache,
    tmp_path: Path,
    flip: bool | str,  # noqa: FBT001 - pytest gives it by name
) -> None:
    both = trainer()
    cached = recipe.with_settings(flip=flip)
    uncached = cached.with_settings(features="off")

    by_images, before = _train(both, uncached, tmp_path / "images")
    by_features, after = _train(both, cached, tmp_path / "features")

    for name, weights in _head(tmp_path / "images").items():
        difference = np.abs(_head(tmp_path / "features")[name] - weights).max()
        assert difference <= 1e-5 * np.abs(weights).max(), name
    assert by_images.scores is not None
    assert by_features.scores is not None
    assert by_features.selected_epoch == by_images.selected_epoch
    assert abs(by_features.scores.accuracy - by_images.scores.accuracy) * 150 < 1.5
    assert both.traces == 2
    # One bucket each, and only the cached one owes an extraction: of both views where it flips.
    assert (before.bucket.trainable, after.bucket.trainable) == ("frozen", CACHED_FEATURES)
    assert before.extraction_seconds == 0
    (entry,) = cache.entries()
    file = FeatureFile(entry.folder, "train", count=500, width=32, block=8)
    views = 2 if flip else 1
    assert after.extraction_seconds == pytest.approx((file.seconds() or 0) * 500 * views)
    assert entry.arrays == ("train", *(["train-mirrored"] if flip else []), "validation")
    # The test images' features are computed when they are asked for, and not before.
    counts = [
        both.test(one, tmp_path / f) for one, f in ((uncached, "images"), (cached, "features"))
    ]
    assert [int(count.images) for count in counts] == [101, 101]
    assert abs(int(counts[0].correct.sum()) - int(counts[1].correct.sum())) <= 1


@pytest.mark.slow
def test_cached_features_of_both_views_are_evaluated_as_the_images_are(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    both = trainer()
    cached = recipe.with_settings(evaluation_flip=True, epochs=3)
    uncached = cached.with_settings(features="off")

    by_images, _ = _train(both, uncached, tmp_path / "images")
    by_features, after = _train(both, cached, tmp_path / "features")

    for one, other in zip(by_images.curve, by_features.curve, strict=True):
        assert one.validation.loss == pytest.approx(other.validation.loss, rel=1e-4)
    # Only what is trained on costs training seconds: one view.
    (entry,) = cache.entries()
    file = FeatureFile(entry.folder, "train", count=500, width=32, block=8)
    assert after.extraction_seconds == pytest.approx((file.seconds() or 0) * 500)
    assert entry.arrays == ("train", "validation", "validation-mirrored")
    counts = [
        both.test(one, tmp_path / f) for one, f in ((uncached, "images"), (cached, "features"))
    ]
    assert counts[0].loss_sum == pytest.approx(counts[1].loss_sum, rel=1e-4)


@pytest.mark.slow
def test_a_second_process_finds_the_features_and_says_the_same_seconds(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    _, made = _train(trainer(), recipe, tmp_path / "one")
    _, found = _train(trainer(), recipe.with_settings(seed=1), tmp_path / "two")

    assert any("computed in" in note for note in made.notes)
    (note,) = found.notes
    assert note == f"features of tiny@32 found in {cache.entries()[0].folder}"
    assert found.extraction_seconds == made.extraction_seconds > 0


@pytest.mark.slow
def test_features_too_large_for_the_device_are_streamed_with_the_same_result(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path
) -> None:
    assert cache.entries() == []
    flipped = recipe.with_settings(flip=True, epochs=2)
    streaming = _trainer(recipe, resident_bytes=1000)

    _train(_trainer(recipe), flipped, tmp_path / "resident")
    _train(streaming, flipped, tmp_path / "streamed")

    for name, weights in _head(tmp_path / "resident").items():
        streamed = _head(tmp_path / "streamed")[name]
        assert np.abs(streamed - weights).max() <= 1e-5 * np.abs(weights).max(), name


@pytest.mark.slow
def test_trials_on_features_share_one_trace_and_a_killed_one_goes_on_bit_for_bit(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    assert cache.entries() == []
    searched = recipe.with_settings(flip=True, dropout=0.3, epochs=4)
    other = searched.with_settings(
        dropout=0.0, weight_decay=1e-2, maximal_learning_rate=1e-2, label_smoothing=0.0, seed=9
    )
    whole = _train(trainer(), searched, tmp_path / "whole")[0]
    eager = _trainer(recipe, checkpoint_seconds=0)
    _train(eager, other, tmp_path / "other")
    request = Train(
        trial=1, recipe=searched, rungs=(), step_seconds=0.1, checkpoint=tmp_path / "cut"
    )

    class KilledError(Exception):
        pass

    def kill(message: Any) -> None:
        if getattr(getattr(message, "epoch", None), "epoch", 0) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        eager.train_trial(request, on_event=kill, should_continue=lambda _: True)
    found = CheckpointFolder(tmp_path / "cut").latest()
    assert found is not None
    # Seven steps an epoch, three of them a window: the end of the second was never saved.
    assert (found.facts["epoch"], found.facts["step"]) == (1, 6)

    resumed = eager.train_trial(request, on_event=lambda _: None, should_continue=lambda _: True)

    assert resumed.traces == 1
    assert resumed.scores == whole.scores
    for name, weights in _head(tmp_path / "whole").items():
        assert np.array_equal(_head(tmp_path / "cut")[name], weights), name


@pytest.mark.slow
def test_a_backbone_whose_batch_does_not_fit_runs_on_smaller_ones_and_says_so(
    recipe: Recipe,
    trainer: Callable[[], Trainer],
    cache: FeatureCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from effv2_tune.training.backends.tensorflow.extraction import TensorFlowExtractor

    run = TensorFlowExtractor.run

    def run_what_fits(self: Any, split: Any, order: np.ndarray, *, mirrored: bool) -> np.ndarray:
        if order.shape[1] > 2:
            raise MemoryError("so many bytes")
        return run(self, split, order, mirrored=mirrored)

    monkeypatch.setattr(TensorFlowExtractor, "run", run_what_fits)

    _, compiled = _train(trainer(), recipe, tmp_path)

    assert compiled.notes[0].startswith("8 images at once do not fit for features of tiny@32: 4")
    assert compiled.notes[1].startswith("4 images at once do not fit for features of tiny@32: 2")
    monkeypatch.undo()
    (entry,) = cache.entries()
    features = FeatureFile(entry.folder, "train", count=500, width=32, block=8).read()
    assert features is not None
    dataset = load_dataset(recipe.data, base=Path())
    backbone = extraction.frozen_backbone(recipe, Path(), "float32")
    images = preprocess(dataset.train.images.astype("float32"), 32, scaling="tf")
    assert np.abs(features - np.asarray(backbone(images, training=False))).max() < 1e-5


@pytest.mark.slow
def test_damaged_features_are_found_said_and_only_they_are_computed_anew(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    _train(trainer(), recipe, tmp_path / "one")
    (entry,) = cache.entries()
    path = entry.folder / "train.npy"
    file = FeatureFile(entry.folder, "train", count=500, width=32, block=8)
    digest = file.digest()
    content = bytearray(path.read_bytes())
    content[file.position(80) + 5] ^= 1
    path.write_bytes(content[:-10])  # a bit in one block, and the end of the last one

    _, after = _train(trainer(), recipe.with_settings(seed=1), tmp_path / "two")

    assert after.notes[0] == (
        "cached features of tiny@32 were damaged: 2 of 63 blocks (train) are computed anew"
    )
    assert file.digest() == digest
    assert np.array_equal(np.load(path), file.read())


@pytest.mark.slow
def test_changed_images_under_the_same_path_are_noticed_and_said(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 8, 3), np.uint8)
    labels = np.arange(200) % 10
    path = tmp_path / "images.npz"
    data = DataSpec(name="npz", path=str(path), validation=40, test=40)
    notes = []
    for changed in range(2):
        images[0, 0, 0, 0] = changed
        np.savez(path, x=images, y=labels)
        own = recipe.with_settings(data=data, epochs=1)
        _, compiled = _train(_trainer(own), own, tmp_path / f"trial-{changed}")
        notes.append(compiled.notes)

    assert len(notes[0]) == 1
    assert "have changed since features were cached: they are computed anew" in notes[1][0]
    assert str(path) in notes[1][0]
    assert len(cache.entries()) == 2


@pytest.mark.slow
def test_the_final_training_exports_the_whole_network_and_counts_one_extraction(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path
) -> None:
    import keras

    result = train(recipe, out=tmp_path / "run", hardware="cpu")

    metrics = result.metrics
    assert metrics["extraction_seconds"] > 0
    assert metrics["train_seconds"] == pytest.approx(
        metrics["steps"] * metrics["times"]["step_bucket"] + metrics["extraction_seconds"]
    )
    assert "test" in cache.entries()[0].arrays
    test = load_dataset(recipe.data, base=Path()).test
    model = keras.saving.load_model(result.model_path)
    right = (model.predict(test.images, verbose=0).argmax(-1) == test.labels).sum()
    assert abs(int(right) - metrics["test_correct"]) <= 1


@pytest.mark.slow
def test_a_final_training_on_the_validation_images_too_extracts_them_as_training_images(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path
) -> None:
    data = recipe.data.model_copy(update={"train_on": "train+validation"})
    both = recipe.with_settings(data=data.model_dump(), select="last")

    metrics = train(both, out=tmp_path / "run", hardware="cpu").metrics

    assert metrics["validation"] is None
    assert metrics["train_count"] == len(load_dataset(data, base=Path()).train)
    arrays = cache.entries()[0].arrays
    assert {"train", "test"} <= set(arrays)
    assert not {name for name in arrays if name.startswith("validation")}


EXTRACT = """
import os, sys
from pathlib import Path
from effv2_tune.data import load_dataset
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.features import extraction
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer
from effv2_tune.errors import TuneError

extraction.DEVICE_BATCH, extraction.BLOCK_BATCHES = 8, 1
limit = os.environ.get("LARGEST_FILE")
if limit is not None:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
recipe = Recipe.model_validate_json(sys.argv[1])
dataset = load_dataset(recipe.data, base=Path())
trainer = Trainer(dataset, open_device("tensorflow", hardware="cpu"))
print("ready", flush=True)
if sys.stdin.readline():
    try:
        features = trainer._features.features(recipe, "float32")
    except TuneError as error:
        sys.exit(str(error))
    print("\\n".join(features.notes))
"""


def _extracting(recipe: Recipe, **more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", EXTRACT, recipe.model_dump_json()],
        env=dict(os.environ) | {"KERAS_BACKEND": "tensorflow"} | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _done(process: subprocess.Popen[str]) -> str:
    said, complaints = process.communicate("go\n", timeout=300)
    assert process.returncode == 0, complaints[-3000:]
    return said


@pytest.mark.slow
def test_an_extraction_that_is_killed_goes_on_without_what_is_done(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path
) -> None:
    whole = recipe.with_settings(data=DataSpec(validation=150, test=101))
    place = {"EFFV2_TUNE_CACHE": str(tmp_path / "undisturbed")}
    _done(_extracting(whole, **place))
    (undisturbed,) = FeatureCache(tmp_path / "undisturbed" / "features").entries()
    facts = {"count": 1546, "width": 32, "block": 8}
    expected = FeatureFile(undisturbed.folder, "train", **facts)

    process = _extracting(whole)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    journal = None
    while journal is None or len(journal.read_bytes().splitlines()) < 20:
        assert process.poll() is None, "it ended before it was killed"
        journal = next(cache.folder.glob("*/train.journal"), None)
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(journal.read_bytes().splitlines())
    assert journal.with_name("train.npy.part").exists()
    said = _done(_extracting(whole))

    blocks = -(-1546 // 8) + -(-150 // 8)
    # The line of the block that was being recorded may be torn; all others count.
    assert f"{done} of {blocks} blocks were there" in said or f"{done - 1} of {blocks}" in said
    (entry,) = cache.entries()
    assert FeatureFile(entry.folder, "train", **facts).digest() == expected.digest()


@pytest.mark.slow
def test_an_extraction_that_is_asked_to_stop_keeps_its_blocks(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.01, checkpoint=tmp_path / "of")
    asked = 0

    def should_stop(_: float) -> bool:
        nonlocal asked
        asked += 1
        return asked == 6

    extracting = trainer()
    options = {"on_event": lambda _: None, "should_continue": lambda _: True}
    with pytest.raises(TrainingStoppedError) as stopped:
        extracting.train_trial(request, should_stop=should_stop, **options)

    assert (asked, stopped.value.step) == (6, 0)
    (entry,) = cache.entries()
    assert len((entry.folder / "train.journal").read_text().splitlines()) == 5
    events: list[Any] = []
    options["on_event"] = events.append
    assert extracting.train_trial(request, **options).outcome == "complete"
    assert any("5 of 82 blocks were there" in note for note in events[0].notes)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_told_in_a_sentence_and_costs_nothing_that_was_done(
    recipe: Recipe, cache: FeatureCache
) -> None:
    # 500 images of 32 features are 64,000 bytes.
    process = _extracting(recipe, LARGEST_FILE="40000")
    _, complaint = process.communicate("go\n", timeout=300)

    assert process.returncode == 1
    sentence = complaint.splitlines()[-2]
    assert sentence.startswith(f"The features cannot be written to {cache.folder}")
    assert sentence.endswith("File too large.")
    assert "Traceback" not in complaint
    (entry,) = cache.entries()
    lines = (entry.folder / "train.journal").read_text().splitlines()
    assert len(lines) == (40000 - 128) // (8 * 32 * 4)
    assert f"{len(lines)} of 82 blocks were there" in _done(_extracting(recipe))


@pytest.mark.slow
def test_two_processes_that_want_the_same_features_compute_them_once(
    recipe: Recipe, cache: FeatureCache
) -> None:
    both = [_extracting(recipe) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    said = [_done_already(process) for process in both]

    assert sum("images computed" in one for one in said) == 1
    assert sum("found in" in one for one in said) == 1
    assert len(cache.entries()) == 1


def _done_already(process: subprocess.Popen[str]) -> str:
    said, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints[-3000:]
    return said


@pytest.mark.slow
def test_on_jax_a_split_is_streamed_or_not_whatever_the_others_are(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path, run_python: Callable[..., str]
) -> None:
    assert cache.entries() == []
    code = f"""
from pathlib import Path
from effv2_tune.data import load_dataset
from effv2_tune.workers.messages import Train
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer
recipe = Recipe.model_validate_json({recipe.with_settings(epochs=2).model_dump_json()!r})
dataset, device = load_dataset(recipe.data, base=Path()), open_device("jax", hardware="cpu")
# Features of 500 training images take 64,000 bytes, those of 101 test images 12,928.
for name, limit in (("resident", 10**9), ("streamed", 50_000)):
    trainer = Trainer(dataset, device, resident_bytes=limit)
    folder = Path({str(tmp_path)!r}) / name
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.01, checkpoint=folder)
    trainer.train_trial(request, on_event=lambda _: None, should_continue=lambda _: True)
    counts = trainer.test(recipe, folder)
    data = trainer.bucket(recipe).features.device_data
    print(counts.images, int(counts.correct.sum()), *(type(data[n]).__name__ for n in
          ("train", "test")))
"""
    resident, streamed = run_python(code, KERAS_BACKEND="jax").splitlines()

    assert resident.split()[2:] == ["Resident", "Resident"]
    assert streamed.split()[2:] == ["Streamed", "Resident"]
    assert streamed.split()[:2] == resident.split()[:2]
    for name, weights in _head(tmp_path / "resident").items():
        difference = np.abs(_head(tmp_path / "streamed")[name] - weights).max()
        assert difference <= 1e-5 * np.abs(weights).max(), name


@pytest.mark.slow
def test_on_jax_cached_features_train_the_classifier_that_the_images_train(
    recipe: Recipe, cache: FeatureCache, tmp_path: Path, run_python: Callable[..., str]
) -> None:
    assert cache.entries() == []
    code = f"""
import sys
from pathlib import Path
import numpy as np
from effv2_tune.data import load_dataset
from effv2_tune.workers.messages import Train
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer
cached = Recipe.model_validate_json({recipe.with_settings(flip=True).model_dump_json()!r})
trainer = Trainer(load_dataset(cached.data, base=Path()), open_device("jax", hardware="cpu"))
for name, recipe in (("images", cached.with_settings(features="off")), ("features", cached)):
    folder = Path({str(tmp_path)!r}) / name
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.01, checkpoint=folder)
    done = trainer.train_trial(request, on_event=lambda _: None, should_continue=lambda _: True)
    print(done.scores.accuracy)
assert trainer.traces == 2
assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)
"""
    accuracies = run_python(code, KERAS_BACKEND="jax", JAX_NUM_CPU_DEVICES="2").split()

    assert abs(float(accuracies[0]) - float(accuracies[1])) * 150 < 1.5
    for name, weights in _head(tmp_path / "images").items():
        difference = np.abs(_head(tmp_path / "features")[name] - weights).max()
        assert difference <= 1e-5 * np.abs(weights).max(), name


KEY = FeatureKey(
    data="d",
    variant="tiny",
    resolution=32,
    resize="bilinear",
    weights="w",
    scaling="tf",
    backend="jax",
    device_kind="cpu",
    device_count=1,
    threads=2,
    version="0.10.2",
    precision="float32",
)
CHANGES: dict[str, Any] = {
    "data": "e",
    "variant": "b0",
    "resolution": 64,
    "resize": "bicubic",
    "weights": "v",
    "scaling": "torch",
    "backend": "tensorflow",
    "device_kind": "TPU v5 lite",
    "device_count": 8,
    "threads": 1,
    "version": "0.11.0",
    "precision": "mixed_bfloat16",
    "format": 0,
}


def test_features_of_anything_else_have_another_key() -> None:
    keys = [KEY.model_copy(update={name: value}).digest for name, value in CHANGES.items()]

    assert CHANGES.keys() == FeatureKey.model_fields.keys()
    assert len({KEY.digest, *keys}) == len(CHANGES) + 1


STUDY = """
name: probe
recipe: {{backbone: frozen, weights: imagenet, features: {features}, {more}}}
search_space:
  weight_decay: {{type: float, low: 1e-6, high: 1e-3, scale: log}}
  {searched}
trials: 3
"""


@pytest.mark.parametrize(
    ("more", "searched"),
    [("cutout: 0.2", ""), ("", "mixup: {type: float, low: 0.0, high: 0.4}")],
)
def test_features_that_are_required_are_refused_where_images_change(
    tmp_path: Path, more: str, searched: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(features="require", more=more, searched=searched))

    with pytest.raises(MistakesError) as error:
        load_plan(path)

    kind = "cutout" if more else "mixup"
    assert f"features cannot be cached while images change ({kind})" in str(error.value)
    assert error.value.exit_code == 2
    path.write_text(STUDY.format(features="auto", more=more, searched=searched))
    load_plan(path)
    path.write_text(STUDY.format(features="require", more="flip: true", searched=""))
    load_plan(path)


@pytest.mark.slow
def test_where_images_change_the_backbone_runs_in_every_step_and_that_is_said(
    recipe: Recipe, trainer: Callable[[], Trainer], cache: FeatureCache, tmp_path: Path
) -> None:
    _, compiled = _train(trainer(), recipe.with_settings(cutout=0.3, epochs=1), tmp_path)

    assert compiled.bucket.trainable == "frozen"
    (note,) = compiled.notes
    assert note.startswith("features cannot be cached while images change (cutout): the frozen")
    assert cache.entries() == []


def _written(cache: FeatureCache, key: FeatureKey, rows: int = 100) -> Path:
    """A feature set on disk, as an extraction leaves it."""
    facts = FeatureFacts(key=key, source="digits", weights_name="imagenet")
    with cache.exclusive(facts, on_wait=lambda: None) as folder:
        file = FeatureFile(folder, "train", count=rows, width=8, block=64)
        gaps = file.missing()
        with file.writing() as writer:
            for start in gaps:
                block = np.full((min(64, rows - start), 8), start, np.float32)
                writer.write(start, block, 0.25)
        file.finish()
    return folder


def test_the_least_recently_used_features_make_room_but_never_those_in_work(
    tmp_path: Path,
) -> None:
    cache = FeatureCache(tmp_path, limit=12_000)
    keys = [KEY.model_copy(update={"data": name}) for name in ("old", "new", "busy")]
    folders = [_written(cache, key) for key in keys]
    for age, place in enumerate((1, 0, 2)):  # the first one was used again since
        os.utime(folders[place] / "features.json", (age, age))
    facts = FeatureFacts(key=keys[1], source="digits", weights_name="imagenet")

    with cache.exclusive(facts, on_wait=lambda: None):
        os.utime(folders[1] / "features.json", (0, 0))
        removed = cache.evict(4_000, keep=keys[2])

    assert [entry.folder for entry in removed] == [folders[0]]
    assert sorted(entry.folder for entry in cache.entries()) == sorted(folders[1:])
    with pytest.raises(TuneError, match=r"need 1000000\.0 GB; the disk of .* has"):
        cache.evict(10**15, keep=keys[2])


def test_a_command_lists_features_and_clears_them(
    cache: FeatureCache, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _written(cache, KEY)
    torn = folder / "validation.npy.part"
    torn.write_bytes(b"begun")

    assert cli.run(["features"]) == 0
    listed = capsys.readouterr().out
    assert "tiny@32  imagenet  digits  train, validation (unfinished)  0.000 GB" in listed
    assert f"1 set, 0.00 of 20 GB, in {cache.folder}" in listed
    assert cli.run(["doctor", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["features"]["sets"]
    assert said["key"]["data"] == "d"
    assert said["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert cli.run(["features", "--clear"]) == 0
    assert not folder.exists()
    assert "0 sets, 0.00 of 20 GB" in capsys.readouterr().out


def test_a_limit_that_is_no_number_is_told(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache.limit == 20e9
    monkeypatch.setenv("EFFV2_TUNE_FEATURES_GB", "plenty")

    assert cli.run(["features"]) == 2
    assert "EFFV2_TUNE_FEATURES_GB is 'plenty', which is not a finite number of gigabytes." in (
        capsys.readouterr().err
    )
