"""Progressive learning: one trial, several resolutions, one schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.data import load_dataset
from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training.attempt import TrainingStoppedError
from effv2_tune.training.devices import open_device
from effv2_tune.training.stages import TrialStages
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import Compiled, EpochEnded, Train

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.data import Dataset
    from effv2_tune.workers.messages import Finished

ALIKE = Recipe(
    variant="tiny",
    resolution=40,
    epochs=3,
    batch_size=64,
    epsilon=1e-7,
    schedule="cosine",
    warmup_epochs=0.5,
    ema=True,
    ema_momentum=0.9,
    flip=True,
    select="best",
    data=DataSpec(train=320, validation=128, test=101),
)
STAGED = ALIKE.with_settings(
    stages=2, resolution_from=32, mixup=0.2, mixup_from=0.0, dropout=0.3, dropout_from=0.1
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(ALIKE.data, base=Path())


@pytest.fixture(scope="module")
def fresh(dataset: Dataset) -> Callable[..., Trainer]:
    def make(**settings: Any) -> Trainer:
        return Trainer(dataset, open_device("tensorflow", hardware="cpu"), **settings)

    return make


@pytest.fixture(scope="module")
def trainer(fresh: Callable[..., Trainer]) -> Trainer:
    return fresh()


def _request(folder: Path, recipe: Recipe, **changes: Any) -> Train:
    facts = {"trial": 0, "rungs": (), "step_seconds": 0.3, "stage_seconds": (0.1,)}
    if recipe.stages == 1:
        del facts["stage_seconds"]
    return Train(**(facts | {"recipe": recipe, "checkpoint": folder} | changes))


def _train(trainer: Trainer, request: Train, events: list[Any] | None = None) -> Finished:
    collected = [] if events is None else events
    return trainer.train_trial(request, on_event=collected.append, should_continue=lambda _: True)


def _weights(folder: Path) -> dict[str, np.ndarray]:
    kept = CheckpointFolder(folder).latest()
    assert kept is not None
    return dict(kept.arrays)


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(array, other[name]) for name, array in one.items()
    )


@given(epochs=st.integers(4, 300), stages=st.integers(1, 4))
def test_stages_share_the_epochs_evenly_and_an_epoch_is_of_one_stage(
    epochs: int, stages: int
) -> None:
    recipe = Recipe(epochs=epochs, stages=stages, resolution=64, resolution_from=32)
    lengths, trial = recipe.stage_epochs, TrialStages(_request(Path(), recipe, stage_seconds=()))

    assert sum(lengths) == epochs
    assert max(lengths) - min(lengths) <= 1
    assert [trial.at(epoch) for epoch in range(epochs)] == [
        stage for stage, length in enumerate(lengths) for _ in range(length)
    ]
    assert trial.at(epochs) == stages - 1


def test_images_and_regularization_grow_linearly_and_all_else_stays() -> None:
    recipe = Recipe(
        resolution=300,
        resolution_from=128,
        stages=4,
        rand_augment=15,
        rand_augment_from=5,
        mixup=0.2,
        mixup_from=0.0,
        dropout=0.3,
        dropout_from=0.1,
    )

    stages = recipe.stage_recipes()

    # EfficientNetV2, table 6 and algorithm 1; sides are multiples of 8 in between.
    assert [stage.pixels for stage in stages] == [128, 184, 240, 300]
    assert [stage.rand_augment for stage in stages] == pytest.approx([5, 25 / 3, 35 / 3, 15])
    assert [stage.mixup for stage in stages] == pytest.approx([0, 0.2 / 3, 0.4 / 3, 0.2])
    assert [stage.dropout for stage in stages] == pytest.approx([0.1, 0.5 / 3, 0.7 / 3, 0.3])
    grown = ("resolution", "rand_augment", "mixup", "dropout")
    changed = {name: getattr(recipe, name) for name in grown}
    plain = {"stages": 1, "resolution_from": None, "mixup_from": None, "dropout_from": None}
    whole = recipe.with_settings(**plain, rand_augment_from=None)
    assert all(stage.with_settings(**changed) == whole for stage in stages)


def test_the_step_time_of_a_trial_is_the_mean_over_its_epochs() -> None:
    trial = TrialStages(_request(Path(), STAGED))

    assert STAGED.stage_epochs == (1, 2)
    assert trial.step_seconds == pytest.approx((0.1 + 2 * 0.3) / 3)
    assert trial.untimed_beside(0) == []
    unknown = TrialStages(_request(Path(), STAGED, stage_seconds=(), step_seconds=None))
    assert unknown.untimed_beside(0) == [1]
    with pytest.raises(RuntimeError, match="step time of each stage"):
        _ = unknown.step_seconds


@pytest.mark.slow
def test_one_stage_ignores_where_others_begin_and_equals_a_trial_without_stages(
    trainer: Trainer, tmp_path: Path
) -> None:
    one = ALIKE.with_settings(stages=1, resolution_from=32, mixup_from=0.5, dropout_from=0.1)

    first = _train(trainer, _request(tmp_path / "one", one))
    other = _train(trainer, _request(tmp_path / "none", ALIKE))

    assert _equal(_weights(tmp_path / "one"), _weights(tmp_path / "none"))
    assert first.scores == other.scores


@pytest.mark.slow
def test_stages_of_equal_images_equal_a_trial_of_one_stage(
    trainer: Trainer, tmp_path: Path
) -> None:
    recipe = ALIKE.with_settings(select="last")
    alike = recipe.with_settings(stages=3, resolution_from=40)

    staged = _train(trainer, _request(tmp_path / "staged", alike, stage_seconds=(0.3, 0.3)))
    whole = _train(trainer, _request(tmp_path / "whole", recipe))

    assert _equal(_weights(tmp_path / "staged"), _weights(tmp_path / "whole"))
    assert [epoch.learning_rate for epoch in staged.curve] == [
        epoch.learning_rate for epoch in whole.curve
    ]


@pytest.mark.slow
def test_each_stage_is_compiled_once_and_shared_with_trials_of_its_size(
    fresh: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer, events = fresh(), list[Any]()

    staged = _train(trainer, _request(tmp_path / "staged", STAGED), events)
    small = ALIKE.with_settings(resolution=32)
    _train(trainer, _request(tmp_path / "small", small), events)
    _train(trainer, _request(tmp_path / "again", STAGED.with_settings(seed=1)), events)

    assert staged.outcome == "complete"
    compiled = [(one.bucket.resolution, one.fresh) for one in events if isinstance(one, Compiled)]
    assert compiled == [(32, True), (40, True), (32, False), (32, False), (40, False)]
    assert [epoch.epoch for epoch in staged.curve] == [1, 2, 3]
    # Only epochs of the last stage can be selected.
    assert staged.selected_epoch in {2, 3}
    assert staged.times.step_bucket == pytest.approx((0.1 + 2 * 0.3) / 3)
    assert staged.times.step_median == 0


@pytest.mark.slow
def test_the_step_times_of_all_stages_are_measured_before_the_first_epoch(
    fresh: Callable[..., Trainer], tmp_path: Path
) -> None:
    events: list[Any] = []

    _train(fresh(), _request(tmp_path, STAGED, step_seconds=None, stage_seconds=()), events)

    kinds = [(type(one), getattr(getattr(one, "bucket", None), "resolution", 0)) for one in events]
    assert kinds[:3] == [(Compiled, 40), (Compiled, 32), (EpochEnded, 0)]
    assert all(one.time is not None for one in events[:2])


# Five steps an epoch, and a question before each: in the first stage, at the boundary, after it.
@pytest.mark.slow
@pytest.mark.parametrize("polls", [2, 5, 6, 8])
def test_a_trial_that_is_stopped_near_the_end_of_a_stage_resumes_bit_for_bit(
    trainer: Trainer, fresh: Callable[..., Trainer], tmp_path: Path, polls: int
) -> None:
    whole = _train(trainer, _request(tmp_path / "whole", STAGED))
    asked = iter([False] * polls + [True])
    request = _request(tmp_path / "cut", STAGED, step_seconds=0.3, stage_seconds=(0.3,))
    with pytest.raises(TrainingStoppedError):
        trainer.train_trial(
            request,
            on_event=lambda _: None,
            should_continue=lambda _: True,
            should_stop=lambda _: next(asked),
        )

    again = _train(fresh() if polls == 6 else trainer, request)

    assert _equal(_weights(tmp_path / "cut"), _weights(tmp_path / "whole"))
    assert again.scores == whole.scores
    assert [epoch.validation for epoch in again.curve] == [e.validation for e in whole.curve]


@pytest.mark.slow
def test_with_folds_each_training_begins_with_the_first_stage(tmp_path: Path) -> None:
    recipe = STAGED.with_settings(epochs=2, data=DataSpec(train=200, folds=2), batch_size=50)
    dataset, events = load_dataset(recipe.data, base=Path()), list[Any]()
    trainer = Trainer(dataset, open_device("tensorflow", hardware="cpu"))

    finished = _train(trainer, _request(tmp_path, recipe, all_folds=True), events)

    assert finished.outcome == "complete"
    opened = [one.bucket.resolution for one in events if isinstance(one, Compiled)]
    assert opened == [32, 40, 32, 40]
    ended = [(one.fold, one.epoch.epoch) for one in events if isinstance(one, EpochEnded)]
    assert ended == [(0, 1), (0, 2), (1, 1), (1, 2)]
