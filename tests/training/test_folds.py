"""Cross-validation: a trial is trained on every fold, and scored on the images of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from effv2_tune.data import Split, load_dataset
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.network import preprocess, training_network
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.attempt import TrainingStoppedError
from effv2_tune.training.devices import open_device
from effv2_tune.training.features.extraction import frozen_backbone
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import EpochEnded, Train

if TYPE_CHECKING:
    from effv2_tune.data import Dataset
    from effv2_tune.workers.messages import Finished, RungReached

# Folds of 134, 133 and 133 images.
RECIPE = Recipe(
    variant="tiny",
    resolution=32,
    epochs=2,
    batch_size=32,
    optimizer="adamw",
    epsilon=1e-7,
    schedule="constant",
    maximal_learning_rate=5e-3,
    select="best",
    ema=True,
    ema_momentum=0.9,
    data=DataSpec(train=400, folds=3),
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(RECIPE.data, base=Path())


def _trainer(dataset: Dataset, **settings: Any) -> Trainer:
    backend: Any = keras.backend.backend()
    return Trainer(dataset, open_device(backend, hardware="cpu"), **settings)


@pytest.fixture(scope="module")
def trainer(dataset: Dataset) -> Trainer:
    return _trainer(dataset)


def _request(folder: Path, **changes: Any) -> Train:
    facts = {"trial": 0, "recipe": RECIPE, "rungs": (), "step_seconds": 0.01, "all_folds": True}
    return Train(**(facts | {"checkpoint": folder} | changes))


def _train(trainer: Trainer, request: Train, events: list[Any] | None = None) -> Finished:
    collected = [] if events is None else events
    return trainer.train_trial(request, on_event=collected.append, should_continue=lambda _: True)


def _of_one_fold(dataset: Dataset, number: int) -> Dataset:
    """The split of a fold as a dataset without folds."""
    fold, pool = dataset.fold(number), dataset.pool
    train, validation = (
        Split(pool.images[positions], pool.labels[positions])
        for positions in (fold.train, fold.validation)
    )
    return replace(
        dataset, train=train, validation=validation, digest=f"fold {number}", fold_of=None
    )


def test_the_quality_is_that_of_all_folds_each_trained_like_any_split(tmp_path: Path) -> None:
    recipe = RECIPE.with_settings(data=DataSpec(train=301, folds=2))
    dataset, events = load_dataset(recipe.data, base=Path()), list[Any]()

    finished = _train(
        _trainer(dataset), _request(tmp_path / "all", recipe=recipe, rungs=(1,)), events
    )
    single = [
        _train(
            _trainer(_of_one_fold(dataset, number)),
            _request(tmp_path / f"{number}", recipe=recipe),
        )
        for number in range(dataset.folds)
    ]

    assert finished.outcome == "complete"
    assert finished.scores is not None
    correct = 0.0
    for number, one in enumerate(single):
        assert one.scores is not None
        correct += one.scores.accuracy * len(dataset.fold(number).validation)
    assert finished.scores.accuracy == pytest.approx(correct / 301)
    # As of all images: the two folds have about the same accuracy.
    assert finished.standard_errors is not None
    assert single[0].standard_errors is not None
    ratio = finished.standard_errors.accuracy / single[0].standard_errors.accuracy
    assert ratio == pytest.approx(2**-0.5, rel=0.3)
    # Curve, selected epoch and weights are those of the first fold.
    assert [epoch.validation for epoch in finished.curve] == [
        epoch.validation for epoch in single[0].curve
    ]
    assert finished.selected_epoch == single[0].selected_epoch
    ended = [(event.fold, event.epoch.epoch) for event in events if isinstance(event, EpochEnded)]
    assert ended == [(0, 1), (0, 2), (1, 1), (1, 2)]
    kept, alone = (CheckpointFolder(tmp_path / name).latest() for name in ("all", "0"))
    assert kept is not None
    assert alone is not None
    assert all(np.array_equal(kept.arrays[name], array) for name, array in alone.arrays.items())


@pytest.mark.parametrize("polls", [30, 45])
def test_a_trial_that_is_stopped_in_any_fold_resumes_there_bit_for_bit(
    trainer: Trainer, tmp_path: Path, polls: int
) -> None:
    asked = iter([False] * polls + [True] + [False] * 1000)
    # One window for each step: it is asked 17 times in a training of 2 epochs of 8 steps.
    request = _request(tmp_path / "cut", step_seconds=0.3)
    whole = _train(trainer, _request(tmp_path / "whole"))

    stopped = 0
    for _ in range(2):
        try:
            resumed = trainer.train_trial(
                request,
                on_event=lambda _: None,
                should_continue=lambda _: True,
                should_stop=lambda _: next(asked),
            )
        except TrainingStoppedError:
            stopped += 1
            found = CheckpointFolder(tmp_path / "cut").latest()
            assert found is not None
            assert len(found.facts["out_of_fold"]) == polls // 17

    assert stopped == 1
    assert resumed.scores == whole.scores
    assert [e.validation for e in resumed.curve] == [e.validation for e in whole.curve]


def test_a_pruned_trial_is_trained_on_the_first_fold_only(trainer: Trainer, tmp_path: Path) -> None:
    reached: list[RungReached] = []

    def prune(rung: RungReached) -> bool:
        reached.append(rung)
        return False

    finished = trainer.train_trial(
        _request(tmp_path, rungs=(1,)), on_event=lambda _: None, should_continue=prune
    )

    assert finished.outcome == "pruned"
    assert [rung.epoch for rung in reached] == [1]


def test_the_final_training_is_that_of_the_first_fold(
    trainer: Trainer, dataset: Dataset, tmp_path: Path
) -> None:
    finished = _train(trainer, _request(tmp_path, all_folds=False))

    assert finished.scores is not None
    assert finished.selected_epoch is not None
    assert finished.scores == finished.curve[finished.selected_epoch - 1].validation
    assert trainer.test(RECIPE, tmp_path).images == len(dataset.test)


@pytest.mark.parametrize("setting", ["flip", "evaluation_flip"])
def test_features_of_all_folds_are_those_of_their_images_and_mirror_images(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "tiny.weights.h5"
    training_network("tiny", classes=7, resolution=32, seed=5).save_weights(weights)
    recipe = RECIPE.with_settings(backbone="frozen", weights=str(weights), **{setting: True})
    trainer, pool = _trainer(dataset), dataset.pool

    finished = _train(trainer, _request(tmp_path / "trial", recipe=recipe))

    assert finished.outcome == "complete"
    features = trainer.bucket(recipe).features
    assert features is not None
    np.testing.assert_array_equal(features.sources["train"].labels, pool.labels)
    backbone = frozen_backbone(recipe, Path(), "float32")
    some = [0, 100, 399]  # the last one is a validation image of the first fold
    images = (pool.images[some], pool.images[some][:, :, ::-1])
    for view, its in zip(features.sources["train"].views, images, strict=True):
        inputs = preprocess(its, 32, scaling=features.facts.key.scaling)
        np.testing.assert_allclose(view[some], backbone(inputs, training=False), atol=1e-4)
