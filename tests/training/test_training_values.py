"""Order of images, scores, checkpoints, clock: what training rests on, without a framework."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    DamagedError,
    read_checkpoint,
    write_checkpoint,
)
from effv2_tune.host import usable_bytes
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.steps import steps_per_epoch
from effv2_tune.study.trial import Times
from effv2_tune.training.devices import open_device
from effv2_tune.training.inputs.shuffling import epoch_order, evaluation_order
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.training.process_memory import is_out_of_memory, resident_bytes
from effv2_tune.training.scores import Counts, scores_of, standard_error, sum_counts
from effv2_tune.training.step_timing import measure_step
from effv2_tune.training.trial_state import belongs_to

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


# --- order ----------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 10_000),
    images=st.integers(1, 300),
    batch=st.integers(1, 300),
)
def test_an_epoch_has_full_batches_and_no_image_twice(
    seed: int, epoch: int, images: int, batch: int
) -> None:
    if batch > images:
        with pytest.raises(TuneError, match="larger than"):
            steps_per_epoch(images, batch)
        return
    order = epoch_order(seed, epoch, images=images, batch=batch)

    assert order.shape == (images // batch, batch)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < images


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(epoch_order(seed, epoch, images=100, batch=10).flat)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert order(1, 2) != order(2, 1)


@given(images=st.integers(1, 500), batch=st.integers(1, 130))
def test_an_evaluation_counts_every_image_once(images: int, batch: int) -> None:
    positions, counts = evaluation_order(images, batch)

    assert positions.shape == counts.shape == (-(-images // batch), batch)
    assert sorted(positions[counts == 1]) == list(range(images))


# --- scores ---------------------------------------------------------------------------------------


def _counts(truth: np.ndarray, logits: np.ndarray) -> Counts:
    classes = logits.shape[1]
    taken = logits.argmax(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    own = logits[np.arange(len(truth)), truth]
    return Counts(
        support=np.bincount(truth, minlength=classes),
        predicted=np.bincount(taken, minlength=classes),
        correct=np.bincount(truth[taken == truth], minlength=classes),
        in_top5=int(((logits > own[:, None]).sum(axis=1) < 5).sum()),
        loss_sum=float(-log_probabilities[np.arange(len(truth)), truth].sum()),
    )


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 12), images=st.integers(1, 60))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_scores_are_those_of_scikit_learn(seed: int, classes: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), truth] += rng.uniform(0, 2)
    taken = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    scores = scores_of(_counts(truth, logits))

    labels = list(range(classes))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, taken))
    assert scores.balanced_accuracy == pytest.approx(
        metrics.recall_score(truth, taken, labels=np.unique(truth), average="macro")
    )
    assert scores.macro_f1 == pytest.approx(
        metrics.f1_score(truth, taken, average="macro", zero_division=0)
    )
    if classes > 5:
        assert scores.top5 == pytest.approx(
            metrics.top_k_accuracy_score(truth, logits, k=5, labels=labels)
        )
    else:
        assert scores.top5 == 1
    assert scores.loss == pytest.approx(metrics.log_loss(truth, probabilities, labels=labels))


def test_counts_of_batches_add_up() -> None:
    one = {
        "support": np.array([2.0, 1.0]),
        "predicted": np.array([1.0, 2.0]),
        "correct": np.array([1.0, 1.0]),
        "in_top5": np.float32(3),
        "loss_sum": np.float32(1.5),
    }
    total = sum_counts([one, one])

    assert total.images == 6
    assert list(total.correct) == [2, 2]
    assert (total.in_top5, total.loss_sum) == (6, 3.0)


def test_the_standard_error_of_90_percent_of_1000_images() -> None:
    assert standard_error(0.9, 1000) == pytest.approx(0.00949, abs=1e-5)


# --- checkpoints ----------------------------------------------------------------------------------

CHECKPOINT = Checkpoint(
    {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.int32(7),
        "random_state": np.array([1, 2], np.uint32),
        "nothing": np.zeros((0, 4), np.float32),
    },
    {"epoch": 3, "curve": ["{}"], "seconds": 0.1},
)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        dict(one.facts) == dict(other.facts)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            np.array_equal(array, other.arrays[name])
            and np.asarray(array).dtype == other.arrays[name].dtype
            and np.shape(array) == np.shape(other.arrays[name])
            for name, array in one.arrays.items()
        )
    )


def test_a_checkpoint_reads_back_equal(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one", CHECKPOINT)

    assert _same(CHECKPOINT, read_checkpoint(tmp_path / "one"))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@given(st.data())
def test_any_changed_bit_and_any_torn_end_is_noticed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        write_checkpoint(path, CHECKPOINT)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            bit = data.draw(st.integers(0, 8 * len(content) - 1))
            content[bit // 8] ^= 1 << bit % 8
        else:
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        path.write_bytes(content)
        with pytest.raises(DamagedError, match="is damaged"):
            read_checkpoint(path)


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    assert folder.latest() is None
    for step in (5, 10, 15):
        newest = folder.save(step, Checkpoint({}, {"step": step}))
    assert len(list((tmp_path / "trial").iterdir())) == 2

    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        found = folder.latest()

    assert found is not None
    assert found.facts == {"step": 10}
    assert f"The checkpoint {newest} is damaged; going back" in caplog.text
    folder.clear()
    assert folder.latest() is None


def test_a_file_that_was_being_written_when_the_process_died_is_no_checkpoint(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, CHECKPOINT)
    torn = tmp_path / "step-000000002.checkpoint.writing"
    torn.write_bytes(b"half")

    found = folder.latest()
    folder.save(3, CHECKPOINT)

    assert found is not None
    assert not torn.exists()


def test_a_checkpoint_from_before_a_setting_existed_belongs_to_a_recipe_at_its_default() -> None:
    recipe = Recipe(epochs=3)
    settings = recipe.model_dump(mode="json")
    before = {name: value for name, value in settings.items() if name != "cutout"}

    assert belongs_to(Checkpoint({}, {"recipe": json.dumps(before)}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"epochs": 4})}), recipe)
    assert not belongs_to(Checkpoint({}, {"recipe": json.dumps(before | {"gone": 1})}), recipe)


# --- clock ----------------------------------------------------------------------------------------


class FakeDevice:
    """Its first steps are slow, one window stutters, and time passes only in steps."""

    def __init__(self, step_seconds: float, *, slow_steps: int, stutter: int = 0) -> None:
        self.time = 0.0
        self.windows: list[int] = []
        self._step_seconds = step_seconds
        self._slow_steps = slow_steps
        self._stutter = stutter

    def run(self, steps: int) -> None:
        self.windows.append(steps)
        slow = min(steps, self._slow_steps)
        self._slow_steps -= slow
        self.time += (steps + 99 * slow) * self._step_seconds
        if len(self.windows) == self._stutter:
            self.time += 1.0

    def now(self) -> float:
        return self.time


@given(st.floats(1e-4, 0.25), st.integers(0, 10).filter(lambda window: window != 2))
def test_the_step_time_is_the_median_of_steady_windows(step: float, stutter: int) -> None:
    device = FakeDevice(step, slow_steps=1, stutter=stutter)

    assert measure_step(device.run, now=device.now) == pytest.approx(step, rel=1e-3)


def test_a_measurement_takes_a_few_seconds_of_windows_of_a_third_of_a_second() -> None:
    device = FakeDevice(0.01, slow_steps=1)

    measure_step(device.run, now=device.now)

    assert device.time < 6
    assert device.windows[-1] == pytest.approx(30, abs=1)


def test_a_step_longer_than_all_the_budget_is_measured_in_three_windows() -> None:
    device = FakeDevice(10.0, slow_steps=0)

    assert measure_step(device.run, now=device.now) == pytest.approx(10.0)
    assert device.windows == [1, 1, 1, 1, 1]


def test_a_trial_strays_from_a_tenth_on() -> None:
    own = [
        Times(step_bucket=1.0, step_median=own).is_timing_outlier
        for own in (1.11, 0.89, 1.09, 0.91)
    ]

    assert own == [True, True, False, False]
    assert not Times(step_bucket=1.0).is_timing_outlier
    assert not Times(step_median=1.0).is_timing_outlier


def _train(folder: Path, inside: Event, leave: Event) -> None:
    with MachineLock(folder).training():
        inside.set()
        leave.wait(30)


def _measure(folder: Path, inside: Event) -> None:
    with MachineLock(folder).measuring():
        inside.set()
        time.sleep(30)


def test_many_train_at_once_one_measures_alone_and_new_windows_wait_for_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    first, second, third, measuring = (context.Event() for _ in range(4))
    leave = context.Event()

    def start(function: object, *arguments: object) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=function, args=(tmp_path, *arguments), daemon=True)
        process.start()
        return process

    processes = [start(_train, first, leave), start(_train, second, leave)]
    assert first.wait(20)
    assert second.wait(20)
    measurer = start(_measure, measuring)
    assert not measuring.wait(1.5)
    # The one that waits to measure is not starved by those who come later.
    processes.append(start(_train, third, leave))
    assert not third.wait(1.5)
    leave.set()
    assert measuring.wait(20)
    assert not third.is_set()
    # A process that is killed leaves no lock behind.
    measurer.kill()
    assert third.wait(20)
    for process in (*processes, measurer):
        process.join(20)


# --- memory ---------------------------------------------------------------------------------------


class ResourceExhaustedError(Exception):
    """As TensorFlow names its own."""


class JaxRuntimeError(Exception):
    """As JAX names its own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (ResourceExhaustedError("OOM when allocating tensor with shape[9]"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), True),
        (JaxRuntimeError("INVALID_ARGUMENT: shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_an_error_of_memory_is_told_from_others(error: Exception, *, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_process_has_less_memory_than_there_is() -> None:
    assert 0 < resident_bytes() < usable_bytes()


def test_pages_of_a_mapped_file_are_no_memory_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store"
    np.ones(50_000_000, np.uint8).tofile(path)
    before = resident_bytes()

    mapped = np.memmap(path, np.uint8, "r")
    assert mapped.sum() == 50_000_000
    with_file = resident_bytes()
    kept = np.array(mapped)

    assert with_file - before < 25_000_000
    assert resident_bytes() - with_file > 25_000_000
    assert kept.sum() == mapped.sum()


@pytest.mark.parametrize("given", ["1", "0", "9999", "many", None])
def test_an_environment_says_how_many_threads_compute(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = len(os.sched_getaffinity(0))
    if given is None:
        monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    else:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)

    environment = open_device("tensorflow", hardware="cpu").environment

    assert environment.threads == (1 if given == "1" else everything)
    assert environment.hardware == "cpu"
