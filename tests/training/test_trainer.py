"""The trainer on TensorFlow: real training of the tiny network on real digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from keras.ops import softmax

from effv2_tune.data import load_dataset
from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.network import preprocess
from effv2_tune.optimizers.range_test import rising_rates
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.training import attempt
from effv2_tune.training.attempt import TrainingStoppedError, TrialPausedError
from effv2_tune.training.compiled import CompiledBucket
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import (
    Compiled,
    EpochEnded,
    Finished,
    RangeTest,
    Remeasure,
    RungReached,
    Train,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.data import Dataset

RECIPE = Recipe(
    variant="tiny",
    resolution=32,
    epochs=2,
    batch_size=64,
    optimizer="adamw",
    epsilon=1e-7,
    schedule="constant",
    maximal_learning_rate=5e-3,
    data=DataSpec(train=320, validation=128, test=101),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(RECIPE.data, base=Path())


@pytest.fixture(scope="module")
def fresh(dataset: Dataset) -> Callable[..., Trainer]:
    def make(**settings: Any) -> Trainer:
        return Trainer(dataset, open_device("tensorflow", hardware="cpu"), **settings)

    return make


@pytest.fixture(scope="module")
def trainer(fresh: Callable[..., Trainer]) -> Trainer:
    return fresh()


def _train(
    trainer: Trainer,
    recipe: Recipe,
    folder: Path,
    *,
    rungs: tuple[int, ...] = (),
    should_continue: Callable[[RungReached], bool] = lambda _: True,
    events: list[Compiled | EpochEnded] | None = None,
) -> Finished:
    request = Train(trial=0, recipe=recipe, rungs=rungs, step_seconds=0.01, checkpoint=folder)
    collected = [] if events is None else events
    return trainer.train_trial(request, on_event=collected.append, should_continue=should_continue)


def _weights(folder: Path) -> dict[str, np.ndarray]:
    kept = CheckpointFolder(folder).latest()
    assert kept is not None
    return dict(kept.arrays)


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(array, other[name]) for name, array in one.items()
    )


EVERYTHING_ON = RECIPE.with_settings(
    optimizer="adabelief",
    schedule="triangular2",
    ema=True,
    l2=1e-4,
    clip_norm=5.0,
    flip=True,
    crop_padding=1,
    class_weight="balanced",
    random_crop=0.8,
    brightness=0.1,
    rand_augment=3.0,
    cutout=0.2,
    mixup=0.2,
    cutmix=0.5,
)
OTHER_HYPERPARAMETERS = {
    "epochs": 1,
    "weight_decay": 1e-3,
    "layer_decay": 0.75,
    "beta_1": 0.8,
    "beta_2": 0.95,
    "epsilon": 1e-8,
    "sma_threshold": 4.5,
    "clip_norm": 0.5,
    "ema_momentum": 0.9,
    "initial_learning_rate": 1e-3,
    "maximal_learning_rate": 2e-2,
    "step_size_epochs": 0.3,
    "warmup_epochs": 0.5,
    "l2": 1e-2,
    "dropout": 0.5,
    "stochastic_depth": 0.5,
    "label_smoothing": 0.1,
    "crop_padding": 2,
    "random_crop": 0.4,
    "random_crop_aspect": 2.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.2,
    "rand_augment": 12.0,
    "rand_augment_layers": 4,
    "cutout": 0.4,
    "mixup": 0.8,
    "cutmix": 1.0,
    "class_weight": {"3": 2.0},
    "seed": 7,
}


def test_it_learns_the_digits(trainer: Trainer, tmp_path: Path) -> None:
    events: list[Compiled | EpochEnded] = []
    recipe = RECIPE.with_settings(epochs=8, dropout=0.0, stochastic_depth=0.0, batch_size=32)

    finished = _train(trainer, recipe, tmp_path, events=events)

    assert finished.outcome == "complete"
    assert finished.scores is not None
    assert finished.scores.accuracy > 0.8
    assert finished.curve[-1].train_loss < finished.curve[0].train_loss / 2
    assert [type(message).__name__ for message in events] == ["Compiled"] + ["EpochEnded"] * 8
    assert finished.curve == tuple(m.epoch for m in events if isinstance(m, EpochEnded))
    assert finished.times.step_bucket == 0.01
    assert finished.times.step_median > 0
    assert 0 < finished.times.step_work < 2 * finished.times.step_median * (os.cpu_count() or 1)
    assert finished.times.wall > finished.times.train > 0


def test_a_trial_compares_the_speed_of_the_machine_with_that_of_the_study(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_REFERENCE_INTERVAL", 0.0)
    recipe = RECIPE.with_settings(epochs=1)

    def speed(reference_seconds: float | None) -> float:
        folder = tmp_path / str(reference_seconds)
        request = Train(
            trial=0,
            recipe=recipe,
            rungs=(),
            step_seconds=0.01,
            reference_seconds=reference_seconds,
            checkpoint=folder,
        )
        return trainer.train_trial(
            request, on_event=lambda _: None, should_continue=lambda _: True
        ).times.speed

    # A study whose reference kernel took a minute ran on a much slower machine.
    assert speed(60.0) > 10
    assert speed(None) == 1.0


def test_neighbours_that_made_the_kernel_longer_now_and_then_did_not_slow_down_the_machine(
    trainer: Trainer,
) -> None:
    bucket = trainer.bucket(RECIPE)

    assert bucket.relative_speed([0.06, 0.02, 0.06], 0.02) == 1.0
    assert bucket.relative_speed([0.06, 0.07, 0.06], 0.02) < 0.7


def test_trials_that_differ_in_every_hyperparameter_share_one_trace_and_leak_nothing(
    fresh: Callable[..., Trainer], tmp_path: Path
) -> None:
    other = EVERYTHING_ON.with_settings(**OTHER_HYPERPARAMETERS)
    shared, alone = fresh(), fresh()

    _train(shared, EVERYTHING_ON, tmp_path / "first")
    _train(shared, other, tmp_path / "second")
    _train(shared, EVERYTHING_ON, tmp_path / "again")
    _train(alone, other, tmp_path / "alone")

    assert shared.traces == alone.traces == 1
    assert shared.bucket_key(other) == shared.bucket_key(EVERYTHING_ON)
    assert _equal(_weights(tmp_path / "second"), _weights(tmp_path / "alone"))
    assert _equal(_weights(tmp_path / "first"), _weights(tmp_path / "again"))
    assert not _equal(_weights(tmp_path / "first"), _weights(tmp_path / "second"))


@pytest.fixture(scope="module")
def with_everything_on(
    trainer: Trainer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("everything-on")
    _train(trainer, EVERYTHING_ON, folder)
    return _weights(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.5},
        {"layer_decay": 0.6},
        {"beta_1": 0.5},
        {"beta_2": 0.8},
        {"epsilon": 1e-3},
        {"sma_threshold": 6.0},
        {"clip_norm": 1e-3},
        {"ema_momentum": 0.1},
        {"initial_learning_rate": 3e-4},
        {"maximal_learning_rate": 1e-2},
        {"step_size_epochs": 1.0},
        {"warmup_epochs": 1.0},
        {"l2": 1e-2},
        {"dropout": 0.6},
        {"stochastic_depth": 0.6},
        {"label_smoothing": 0.3},
        {"crop_padding": 3},
        {"random_crop": 0.4},
        {"random_crop_aspect": 2.0},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"rand_augment": 9.0},
        {"rand_augment_layers": 3},
        {"cutout": 0.4},
        {"mixup": 0.8},
        {"cutmix": 1.0},
        {"class_weight": {"3": 9.0}},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_hyperparameter_has_an_effect(
    trainer: Trainer,
    with_everything_on: dict[str, np.ndarray],
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    _train(trainer, EVERYTHING_ON.with_settings(**change), tmp_path)

    assert not _equal(with_everything_on, _weights(tmp_path))


@pytest.mark.parametrize("flip", [True, "alternating"])
def test_a_trial_that_is_cut_off_anywhere_goes_on_bit_for_bit(
    trainer: Trainer,
    fresh: Callable[..., Trainer],
    tmp_path: Path,
    flip: bool | str,  # noqa: FBT001 - pytest gives it by name
) -> None:
    class CutOffError(Exception):
        pass

    def cut(message: Compiled | EpochEnded) -> None:
        if isinstance(message, EpochEnded) and message.epoch.epoch == 2:
            raise CutOffError

    recipe = EVERYTHING_ON.with_settings(epochs=4, select="best", flip=flip)
    whole = _train(trainer, recipe, tmp_path / "whole")
    eager = fresh(checkpoint_seconds=0)
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.2, checkpoint=tmp_path / "cut")
    with pytest.raises(CutOffError):
        eager.train_trial(request, on_event=cut, should_continue=lambda _: True)
    # The newest checkpoint lies inside the second epoch: the end of it was never saved.
    found = CheckpointFolder(tmp_path / "cut").latest()
    assert found is not None
    assert (found.facts["epoch"], found.facts["step"]) == (1, 4)

    events: list[Compiled | EpochEnded] = []
    again = eager.train_trial(request, on_event=events.append, should_continue=lambda _: True)

    assert [m.epoch.epoch for m in events if isinstance(m, EpochEnded)] == [2, 3, 4]
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))
    assert again.scores == whole.scores
    assert [e.validation for e in again.curve] == [e.validation for e in whole.curve]
    assert [e.train_loss for e in again.curve] == pytest.approx([e.train_loss for e in whole.curve])


def test_the_resolution_of_evaluation_changes_scores_and_no_weights(
    trainer: Trainer, tmp_path: Path
) -> None:
    larger = RECIPE.with_settings(evaluation_resolution=48)

    plain = _train(trainer, RECIPE, tmp_path / "plain")
    evaluated = _train(trainer, larger, tmp_path / "larger")

    assert _equal(_weights(tmp_path / "plain"), _weights(tmp_path / "larger"))
    losses = [[epoch.train_loss for epoch in one.curve] for one in (plain, evaluated)]
    assert losses[0] == losses[1]
    assert plain.scores is not None
    assert evaluated.scores is not None
    assert plain.scores.loss != evaluated.scores.loss


def test_a_checkpoint_that_lacks_a_later_hyperparameter_is_resumed(
    trainer: Trainer, tmp_path: Path
) -> None:
    def stop(_: RungReached) -> bool:
        raise TrainingStoppedError

    with pytest.raises(TrainingStoppedError):
        _train(trainer, RECIPE, tmp_path / "old", rungs=(1,), should_continue=stop)
    folder = CheckpointFolder(tmp_path / "old")
    kept = folder.latest()
    assert kept is not None
    before = {"optimizer/hyperparameters": kept.arrays["optimizer/hyperparameters"][:-1]}
    folder.save(folder.newest_step() + 1, Checkpoint(dict(kept.arrays) | before, kept.facts))

    _train(trainer, RECIPE, tmp_path / "old", rungs=(1,))
    _train(trainer, RECIPE, tmp_path / "whole", rungs=(1,))

    assert _equal(_weights(tmp_path / "old"), _weights(tmp_path / "whole"))


@pytest.mark.parametrize(("polls", "place"), [(3, (0, 3)), (7, (1, 2))])
def test_a_trial_that_is_asked_to_stop_saves_that_very_step(
    trainer: Trainer, tmp_path: Path, polls: int, place: tuple[int, int]
) -> None:
    asked = iter([False] * polls + [True])
    recipe = RECIPE.with_settings(epochs=3)
    # One window for each step.
    request = Train(trial=0, recipe=recipe, rungs=(), step_seconds=0.3, checkpoint=tmp_path)
    events: list[Compiled | EpochEnded] = []
    with pytest.raises(TrainingStoppedError) as stopped:
        trainer.train_trial(
            request,
            on_event=events.append,
            should_continue=lambda _: True,
            should_stop=lambda _: next(asked),
        )
    found = CheckpointFolder(tmp_path).latest()
    assert found is not None
    assert (found.facts["epoch"], found.facts["step"]) == place
    assert stopped.value.step == CheckpointFolder(tmp_path).newest_step()

    trainer.train_trial(request, on_event=events.append, should_continue=lambda _: True)

    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [event.epoch.epoch for event in ended] == [1, 2, 3]
    assert all(event.stop_seconds > 0 for event in ended)
    whole = _train(trainer, recipe, tmp_path / "whole")
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path))
    assert whole.curve[-1].validation == ended[-1].epoch.validation


def test_a_trial_that_is_paused_while_another_one_is_trained_ends_as_undisturbed(
    trainer: Trainer, tmp_path: Path
) -> None:
    def pause(_: RungReached) -> bool:
        raise TrialPausedError

    with pytest.raises(TrialPausedError) as paused:
        _train(trainer, EVERYTHING_ON, tmp_path / "paused", rungs=(1,), should_continue=pause)
    other = EVERYTHING_ON.with_settings(**OTHER_HYPERPARAMETERS)
    _train(trainer, other, tmp_path / "other")
    finished = _train(trainer, EVERYTHING_ON, tmp_path / "paused", rungs=(1,))

    assert paused.value.step == 320 // 64
    assert paused.value.times is not None
    assert 0 < paused.value.times.train < finished.times.train
    whole = _train(trainer, EVERYTHING_ON, tmp_path / "whole")
    assert _equal(_weights(tmp_path / "paused"), _weights(tmp_path / "whole"))
    assert [e.validation for e in finished.curve] == [e.validation for e in whole.curve]


def test_a_trial_that_is_stopped_at_a_rung_is_saved_there_and_asks_again(
    trainer: Trainer, tmp_path: Path
) -> None:
    def stop(_: RungReached) -> bool:
        raise TrainingStoppedError

    with pytest.raises(TrainingStoppedError) as stopped:
        _train(trainer, RECIPE, tmp_path, rungs=(1,), should_continue=stop)
    assert stopped.value.step == CheckpointFolder(tmp_path).newest_step() > 0

    reached: list[RungReached] = []
    events: list[Compiled | EpochEnded] = []
    _train(
        trainer,
        RECIPE,
        tmp_path,
        rungs=(1,),
        should_continue=lambda rung: reached.append(rung) is None,
        events=events,
    )

    assert [rung.epoch for rung in reached] == [1]
    assert next(e.epoch.epoch for e in events if isinstance(e, EpochEnded)) == 2


def test_streamed_images_train_the_same_weights_as_resident_ones(
    trainer: Trainer, fresh: Callable[..., Trainer], tmp_path: Path
) -> None:
    streaming = fresh(resident_bytes=1000)

    resident = _train(trainer, EVERYTHING_ON, tmp_path / "resident")
    streamed = _train(streaming, EVERYTHING_ON, tmp_path / "streamed")

    assert streaming.traces == 1
    assert _equal(_weights(tmp_path / "resident"), _weights(tmp_path / "streamed"))
    assert resident.scores == streamed.scores
    assert streaming.test(EVERYTHING_ON, tmp_path / "streamed").images == 101


def test_a_range_test_shares_the_trace_and_leaves_nothing_behind(
    fresh: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = fresh()
    _train(trainer, EVERYTHING_ON, tmp_path / "before")

    rates = tuple(rising_rates(1e-5, 10.0, 60))
    tested = trainer.range_test(RangeTest(recipe=EVERYTHING_ON, rates=rates))
    _train(trainer, EVERYTHING_ON, tmp_path / "after")

    assert trainer.traces == 1
    assert tested.bucket == trainer.bucket_key(EVERYTHING_ON)
    assert 6 < len(tested.losses) <= 60
    assert tested.seconds > 0
    assert _equal(_weights(tmp_path / "before"), _weights(tmp_path / "after"))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "triangular2"])
def test_at_one_rate_a_range_test_has_the_losses_of_that_constant_rate(
    trainer: Trainer, tmp_path: Path, schedule: str
) -> None:
    recipe = RECIPE.with_settings(
        schedule=schedule, initial_learning_rate=1e-5, maximal_learning_rate=0.3
    )
    steps = 2 * (320 // 64)

    tested = trainer.range_test(RangeTest(recipe=recipe, rates=(5e-3,) * steps))

    curve = _train(trainer, RECIPE, tmp_path).curve
    assert [np.mean(losses) for losses in np.split(np.array(tested.losses), 2)] == pytest.approx(
        [epoch.train_loss for epoch in curve], rel=1e-5
    )


def test_evaluating_both_views_changes_scores_and_no_weights(
    trainer: Trainer, tmp_path: Path
) -> None:
    both = RECIPE.with_settings(evaluation_flip=True)

    plain = _train(trainer, RECIPE, tmp_path / "plain")
    averaged = _train(trainer, both, tmp_path / "both")

    assert trainer.bucket_key(both) != trainer.bucket_key(RECIPE)
    assert _equal(_weights(tmp_path / "plain"), _weights(tmp_path / "both"))
    assert plain.scores is not None
    assert averaged.scores is not None
    assert averaged.scores.loss != plain.scores.loss
    bucket = trainer.bucket(both)
    counts = bucket.validate()
    images = trainer.dataset.validation.images
    views = [
        np.asarray(softmax(bucket.network(preprocess(view, 32, scaling=bucket.scaling))))
        for view in (images, images[:, :, ::-1])
    ]
    means = (views[0] + views[1]) / 2
    labels = trainer.dataset.validation.labels
    losses = -np.log(means[np.arange(len(labels)), labels])
    assert counts.loss_sum == pytest.approx(float(losses.sum()), rel=1e-4)
    assert int(counts.correct.sum()) == int((means.argmax(axis=1) == labels).sum())


def test_a_finished_trial_is_not_trained_again(trainer: Trainer, tmp_path: Path) -> None:
    first = _train(trainer, RECIPE, tmp_path)
    events: list[Compiled | EpochEnded] = []

    assert _train(trainer, RECIPE, tmp_path, events=events) == first
    assert events == []


def test_checkpoints_of_another_recipe_are_not_continued(trainer: Trainer, tmp_path: Path) -> None:
    _train(trainer, RECIPE, tmp_path)

    with pytest.raises(TuneError, match="are of another recipe"):
        _train(trainer, RECIPE.with_settings(seed=1), tmp_path)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("backend", "jax", "backend: jax then, tensorflow now"),
        ("batch", 8, "batch: 8 then, 64 now"),
        ("images", "of old", "images: of old then, "),
    ],
)
def test_checkpoints_of_another_backend_batch_or_dataset_are_refused(
    trainer: Trainer, tmp_path: Path, name: str, other: str | int, message: str
) -> None:
    _train(trainer, RECIPE, tmp_path)
    folder = CheckpointFolder(tmp_path)
    kept = folder.latest()
    assert kept is not None
    strange = dict(kept.facts) | {"origin": kept.facts["origin"] | {name: other}}
    folder.save(10**6, Checkpoint(kept.arrays, strange))

    with pytest.raises(TuneError, match=message):
        _train(trainer, RECIPE, tmp_path)

    # What an earlier version wrote says nothing of it.
    silent = {key: value for key, value in kept.facts.items() if key != "origin"}
    folder.save(10**6 + 1, Checkpoint(kept.arrays, silent))
    assert _train(trainer, RECIPE, tmp_path).outcome == "complete"


def test_a_bucket_that_fits_alone_gets_the_memory_of_the_only_other_one(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.forget()
    _train(trainer, RECIPE, tmp_path / "before")
    compile_it = CompiledBucket.compile

    def fits_alone(bucket: CompiledBucket, recipe: Recipe) -> None:
        if len(trainer._residency.buckets):
            raise MemoryError("so many bytes")
        compile_it(bucket, recipe)

    monkeypatch.setattr(CompiledBucket, "compile", fits_alone)

    assert _train(trainer, RECIPE.with_settings(flip=True), tmp_path / "new").outcome == "complete"


def test_a_trial_waits_at_its_rungs_and_ends_where_it_is_pruned(
    trainer: Trainer, tmp_path: Path
) -> None:
    rungs_reached: list[RungReached] = []

    def stop_at_second(rung: RungReached) -> bool:
        rungs_reached.append(rung)
        return rung.rung == 0

    recipe = RECIPE.with_settings(epochs=4, quality="loss")
    finished = _train(trainer, recipe, tmp_path, rungs=(1, 3), should_continue=stop_at_second)

    assert [(rung.rung, rung.epoch) for rung in rungs_reached] == [(0, 1), (1, 3)]
    assert [rung.quality for rung in rungs_reached] == [
        finished.curve[0].validation.loss,
        finished.curve[2].validation.loss,
    ]
    assert (finished.outcome, len(finished.curve), finished.scores) == ("pruned", 3, None)
    assert CheckpointFolder(tmp_path).latest() is None


def test_a_loss_that_becomes_nan_ends_the_trial_as_diverged(
    trainer: Trainer, tmp_path: Path
) -> None:
    recipe = RECIPE.with_settings(optimizer="sgd", maximal_learning_rate=1e30)

    finished = _train(trainer, recipe, tmp_path)

    assert finished.outcome == "diverged"
    assert finished.reason == "The loss became NaN in epoch 1"
    assert _train(trainer, RECIPE, tmp_path).outcome == "complete"


@pytest.mark.parametrize(("select", "score"), [("best", "accuracy"), ("val_loss", "loss")])
def test_the_selected_weights_are_those_of_the_best_epoch(
    trainer: Trainer, tmp_path: Path, select: str, score: str
) -> None:
    recipe = RECIPE.with_settings(select=select, epochs=5, maximal_learning_rate=0.05, seed=3)

    finished = _train(trainer, recipe, tmp_path)

    values = [getattr(epoch.validation, score) for epoch in finished.curve]
    best = max(values) if select == "best" else min(values)
    assert finished.scores is not None
    assert getattr(finished.scores, score) == best
    # Of equal epochs the first.
    assert finished.selected_epoch == values.index(best) + 1
    steps = trainer.bucket(recipe).steps
    steps.finish(_weights(tmp_path))
    assert int(steps.evaluate("validation").correct.sum()) == round(finished.scores.accuracy * 128)


def test_test_images_are_counted_with_the_selected_weights(
    trainer: Trainer, tmp_path: Path
) -> None:
    _train(trainer, RECIPE, tmp_path)

    assert trainer.test(RECIPE, tmp_path).images == 101


def test_the_average_of_the_weights_is_what_is_evaluated(trainer: Trainer, tmp_path: Path) -> None:
    recipe = EVERYTHING_ON.with_settings(ema_momentum=0.0, epochs=3)
    plain = _train(trainer, recipe, tmp_path / "plain")
    averaged = _train(trainer, recipe.with_settings(ema_momentum=0.99), tmp_path / "averaged")

    assert [e.train_loss for e in plain.curve] == [e.train_loss for e in averaged.curve]
    assert plain.curve[-1].validation.loss != averaged.curve[-1].validation.loss
    # What was evaluated is what is kept: weights that moved less, and the same running statistics.
    kept, moved = _weights(tmp_path / "averaged"), _weights(tmp_path / "plain")
    assert np.abs(kept["network/post_bn/beta"]).max() < np.abs(moved["network/post_bn/beta"]).max()
    statistics = "network/post_bn/moving_mean"
    np.testing.assert_array_equal(kept[statistics], moved[statistics])


def test_a_recipe_that_does_not_fit_is_infeasible_and_the_next_one_trains(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError("so many bytes")

    _train(trainer, RECIPE, tmp_path / "before")
    monkeypatch.setattr(trainer.bucket(RECIPE).steps, "run", full)
    # The bucket that is full is dropped with all others, so the second try has the memory.
    assert _train(trainer, RECIPE, tmp_path / "second-try").outcome == "complete"
    monkeypatch.setattr("effv2_tune.training.compiled.CompiledBucket.compile", full)
    trainer.forget()
    infeasible = _train(trainer, RECIPE, tmp_path / "full")

    assert infeasible.outcome == "infeasible"
    assert infeasible.reason == "Does not fit: MemoryError: so many bytes"
    monkeypatch.undo()
    assert _train(trainer, RECIPE, tmp_path / "full").outcome == "complete"


def test_a_batch_larger_than_the_training_split_is_refused_before_anything_is_built(
    trainer: Trainer, tmp_path: Path
) -> None:
    with pytest.raises(TuneError, match="batch_size: 1000 exceeds the 320 training images"):
        _train(trainer, RECIPE.with_settings(batch_size=1000), tmp_path)


@pytest.mark.parametrize("stage", [1, 3])
def test_frozen_stages_keep_their_weights_and_statistics(
    fresh: Callable[..., Trainer], tmp_path: Path, stage: int
) -> None:
    from effv2_tune.network import training_network

    source = training_network("tiny", classes=10, resolution=32, seed=5)
    path = tmp_path / "source.weights.h5"
    source.save_weights(path)
    recipe = RECIPE.with_settings(
        backbone="finetune", weights=str(path), finetune_from=stage, epochs=1
    )

    _train(fresh(), recipe, tmp_path / "trial")

    trained = _weights(tmp_path / "trial")
    before = {
        f"network/{name}/{v.name}": v.numpy()
        for name, layer in source.layers_by_name.items()
        for v in layer.variables
    }
    frozen = ["stem_", *(f"stack_{number}_" for number in range(stage))]
    for name, value in before.items():
        is_frozen = any(name.startswith(f"network/{prefix}") for prefix in frozen)
        assert np.array_equal(value, trained[name]) == is_frozen, name


def test_a_bucket_is_measured_again_on_request_and_on_the_scale_of_the_study(
    trainer: Trainer,
) -> None:
    recipe = RECIPE.with_settings(epochs=1)

    first = trainer.measure_again(Remeasure(recipe=recipe), should_stop=lambda: True)

    assert first.bucket == trainer.bucket_key(recipe)
    assert first.time is not None
    assert first.time.low < first.time.seconds < first.time.high
    # In the study, the reference kernel took a thousand times as long.
    scale = 1000 * first.time.reference_seconds
    request = Remeasure(recipe=recipe, reference_seconds=scale)
    second = trainer.measure_again(request, should_stop=lambda: True)
    assert second.time is not None
    assert second.time.seconds > 10 * first.time.seconds
