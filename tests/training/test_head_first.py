"""The classifier first, on cached features, and then all layers: two trainings in one trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.data import load_dataset
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.network import load_weights, training_network
from effv2_tune.study.bucket import CACHED_FEATURES
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.attempt import TrainingStoppedError
from effv2_tune.training.devices import open_device
from effv2_tune.training.stages import TrialStages
from effv2_tune.training.trainer import Trainer
from effv2_tune.training.trial_state import TrialProgress
from effv2_tune.workers.messages import Compiled, EpochEnded, Train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from effv2_tune.data import Dataset
    from effv2_tune.workers.messages import Finished

DATA = DataSpec(train=320, validation=128, test=101)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFV2_TUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """One epoch of the classifier, and two of the last stage and what follows it."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    training_network("tiny", classes=7, resolution=32, seed=5).save_weights(path)
    return Recipe(
        variant="tiny",
        resolution=32,
        backbone="finetune",
        finetune_from=3,
        weights=str(path),
        epochs=3,
        head_epochs=1,
        batch_size=64,
        optimizer="adamw",
        epsilon=1e-7,
        layer_decay=0.7,
        schedule="cosine",
        warmup_epochs=0.4,
        ema=True,
        ema_momentum=0.9,
        flip=True,
        mixup=0.2,
        data=DATA,
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DATA, base=Path())


@pytest.fixture(scope="module")
def fresh(dataset: Dataset) -> Callable[..., Trainer]:
    def make() -> Trainer:
        return Trainer(dataset, open_device("tensorflow", hardware="cpu"))

    return make


@pytest.fixture(scope="module")
def trainer(fresh: Callable[..., Trainer]) -> Trainer:
    return fresh()


def _request(folder: Path, recipe: Recipe, **changes: Any) -> Train:
    earlier = (0.3,) * (len(recipe.stage_recipes()) - 1)
    facts = {"trial": 0, "rungs": (), "step_seconds": 0.3, "stage_seconds": earlier}
    return Train(**(facts | {"recipe": recipe, "checkpoint": folder} | changes))


def _train(trainer: Trainer, request: Train, events: list[Any] | None = None) -> Finished:
    collected = [] if events is None else events
    return trainer.train_trial(request, on_event=collected.append, should_continue=lambda _: True)


def _stop_after(polls: int, trainer: Trainer, request: Train) -> None:
    asked = iter([False] * polls + [True])
    with pytest.raises(TrainingStoppedError):
        trainer.train_trial(
            request,
            on_event=lambda _: None,
            should_continue=lambda _: True,
            should_stop=lambda _: next(asked),
        )


def _weights(folder: Path) -> dict[str, np.ndarray]:
    kept = CheckpointFolder(folder).latest()
    assert kept is not None
    return dict(kept.arrays)


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(array, other[name]) for name, array in one.items()
    )


def test_the_state_between_the_two_parts_is_that_of_the_classifier_until_all_layers_begin() -> None:
    recipe = Recipe(backbone="finetune", weights="imagenet", epochs=5, head_epochs=2)
    stages = TrialStages(_request(Path(), recipe))

    def stage(epoch: int, *, in_head: bool) -> int:
        return stages.stage_of(TrialProgress(recipe, epoch=epoch, in_head=in_head))

    assert [stages.is_head(number) for number in (0, 1)] == [True, False]
    assert [stages.own_epoch(epoch) for epoch in range(5)] == [0, 1, 0, 1, 2]
    assert (stage(1, in_head=True), stage(2, in_head=True), stage(2, in_head=False)) == (0, 0, 1)
    # With folds, the next training begins anew: nothing of the last one is kept.
    assert stages.begins_with_head(TrialProgress(recipe, epoch=0))
    assert not stages.begins_with_head(TrialProgress(recipe, epoch=2))


@pytest.mark.slow
def test_the_first_part_is_a_frozen_trial_and_the_second_one_begins_with_its_classifier(
    trainer: Trainer, recipe: Recipe, tmp_path: Path
) -> None:
    head, layers = recipe.stage_recipes()

    both = _train(trainer, _request(tmp_path / "both", recipe))
    alone = _train(trainer, _request(tmp_path / "head", head))

    assert both.curve[0].validation == alone.curve[0].validation
    network = training_network("tiny", classes=10, resolution=32)
    load_weights(network, recipe.weights)
    classifier = network.layers_by_name["predictions"]
    for variable in classifier.variables:
        variable.assign(_weights(tmp_path / "head")[f"network/predictions/{variable.name}"])
    network.save_weights(tmp_path / "probed.weights.h5")
    probed = layers.with_settings(weights=str(tmp_path / "probed.weights.h5"))
    after = _train(trainer, _request(tmp_path / "after", probed))
    assert _equal(_weights(tmp_path / "both"), _weights(tmp_path / "after"))
    assert [epoch.validation for epoch in both.curve[1:]] == [e.validation for e in after.curve]
    assert [epoch.learning_rate for epoch in both.curve] == [
        epoch.learning_rate for epoch in (*alone.curve, *after.curve)
    ]
    assert both.selected_epoch == 3


@pytest.mark.slow
def test_both_parts_are_compiled_once_and_shared_with_frozen_and_finetuned_trials(
    fresh: Callable[..., Trainer], recipe: Recipe, tmp_path: Path
) -> None:
    trainer, events = fresh(), list[Any]()
    requests = [
        _request(tmp_path / "both", recipe, step_seconds=None, stage_seconds=()),
        *(_request(tmp_path / f"{n}", one) for n, one in enumerate(recipe.stage_recipes())),
    ]

    both, *_ = [_train(trainer, request, events) for request in requests]

    compiled = [one for one in events if isinstance(one, Compiled)]
    layers, head = compiled[:2]  # both are timed before the first epoch
    assert (layers.bucket.trainable, head.bucket.trainable) == ("finetune from 3", CACHED_FEATURES)
    assert (layers.extraction_seconds, head.extraction_seconds > 0) == (0, True)
    assert [one.fresh for one in compiled] == [True, True, False, False, False]
    mean = (head.step_seconds + 2 * layers.step_seconds) / 3
    assert both.times.step_bucket == pytest.approx(mean)
    assert trainer.extraction_seconds(recipe) == head.extraction_seconds
    assert trainer.extraction_seconds(recipe.stage_recipes()[1]) == 0


# Five steps an epoch, and a question before each: in the classifier's epoch, at its end, after it.
@pytest.mark.slow
@pytest.mark.parametrize("polls", [2, 5, 6, 8])
def test_a_trial_that_is_stopped_near_the_end_of_its_first_part_resumes_bit_for_bit(
    trainer: Trainer, fresh: Callable[..., Trainer], recipe: Recipe, tmp_path: Path, polls: int
) -> None:
    whole = _train(trainer, _request(tmp_path / "whole", recipe))
    request = _request(tmp_path / "cut", recipe)
    _stop_after(polls, trainer, request)

    again = _train(fresh() if polls == 5 else trainer, request)

    assert _equal(_weights(tmp_path / "cut"), _weights(tmp_path / "whole"))
    assert again.scores == whole.scores
    assert [epoch.validation for epoch in again.curve] == [e.validation for e in whole.curve]


@pytest.mark.slow
def test_stages_follow_the_classifier(trainer: Trainer, recipe: Recipe, tmp_path: Path) -> None:
    staged = recipe.with_settings(resolution=40, resolution_from=32, stages=2)
    events: list[Any] = []

    finished = _train(trainer, _request(tmp_path, staged), events)

    opened = [one.bucket for one in events if isinstance(one, Compiled)]
    assert [(one.resolution, one.takes_features) for one in opened] == [
        (40, True),
        (32, False),
        (40, False),
    ]
    assert finished.selected_epoch == 3


@pytest.mark.slow
def test_with_folds_each_training_begins_with_the_classifier_and_resumes_bit_for_bit(
    recipe: Recipe, tmp_path: Path
) -> None:
    changes = {"epochs": 2, "batch_size": 50, "data": DataSpec(train=200, folds=2)}
    folded = recipe.with_settings(**changes)
    dataset, events = load_dataset(folded.data, base=Path()), list[Any]()
    trainer = Trainer(dataset, open_device("tensorflow", hardware="cpu"))

    whole = _train(trainer, _request(tmp_path / "whole", folded, all_folds=True), events)
    cut = _request(tmp_path / "cut", folded, all_folds=True)
    _stop_after(5, trainer, cut)  # two steps of each epoch: at the beginning of the second fold
    again = _train(trainer, cut)

    opened = [one.bucket.takes_features for one in events if isinstance(one, Compiled)]
    assert opened == [True, False, True, False]
    ended = [(one.fold, one.epoch.epoch) for one in events if isinstance(one, EpochEnded)]
    assert ended == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert _equal(_weights(tmp_path / "cut"), _weights(tmp_path / "whole"))
    assert again.scores == whole.scores
