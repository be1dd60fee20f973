"""A real worker process at the other end of a real pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.files.checkpoint import CheckpointFolder
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.workers.messages import (
    Compiled,
    Decision,
    EpochEnded,
    Finished,
    Heartbeat,
    Paused,
    Prepare,
    Ready,
    Refused,
    RungReached,
    Stop,
    Stopped,
    Train,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_SECONDS = 120
TINY = Recipe(variant="tiny", resolution=32, epochs=2, batch_size=128, epsilon=1e-7)


class Worker:
    def __init__(self, **env: str) -> None:
        self.pipe, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "effv2_tune.training.worker", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""} | env,
        )
        theirs.close()
        self.heartbeats = 0

    def close(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()

    def receive(self) -> Any:
        """The next message that is no heartbeat."""
        while True:
            assert self.pipe.poll(TIMEOUT_SECONDS), "the worker sends nothing"
            message = self.pipe.recv()
            if not isinstance(message, Heartbeat):
                return message
            self.heartbeats += 1

    def prepare(self, folder: Path, **changes: Any) -> Any:
        facts = {
            "data": DataSpec(),
            "base": folder,
            "backend": "tensorflow",
            "hardware": "cpu",
            "precision": "auto",
        }
        self.pipe.send(Prepare(**(facts | changes)))
        return self.receive()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def worker_with_one_arena() -> Iterator[Worker]:
    """A worker whose memory shows what it keeps, and not in which arenas its threads had it."""
    worker = Worker(MALLOC_ARENA_MAX="1")
    yield worker
    worker.close()


def _request(folder: Path, recipe: Recipe = TINY, trial: int = 0, **changes: Any) -> Train:
    facts = {
        "trial": trial,
        "recipe": recipe,
        "rungs": (),
        "step_seconds": 0.02,
        "checkpoint": folder / f"trial-{trial}",
    }
    return Train(**(facts | changes))


def test_a_worker_trains_reports_waits_at_rungs_and_outlives_bad_recipes_and_disks(
    worker: Worker, tmp_path: Path
) -> None:
    ready = worker.prepare(tmp_path)
    assert isinstance(ready, Ready)
    assert (ready.data.classes, ready.data.image_shape) == (10, (8, 8, 3))
    assert ready.environment.backend == "tensorflow"
    assert ready.environment.device_count == 1

    worker.pipe.send(_request(tmp_path, rungs=(1,)))
    compiled = worker.receive()
    assert isinstance(compiled, Compiled)
    assert compiled.fresh
    assert compiled.step_seconds == 0.02
    assert isinstance(worker.receive(), EpochEnded)
    rung = worker.receive()
    assert isinstance(rung, RungReached)
    assert (rung.rung, rung.epoch) == (0, 1)
    worker.pipe.send(Decision(trial=0, answer="promote"))
    assert isinstance(worker.receive(), EpochEnded)
    finished = worker.receive()
    assert isinstance(finished, Finished)
    assert finished.outcome == "complete"
    assert finished.scores == finished.curve[-1].validation
    assert finished.memory_bytes > 50e6
    assert worker.heartbeats > 0

    worker.pipe.send(_request(tmp_path, trial=1, rungs=(1,)))
    assert not worker.receive().fresh
    worker.receive()
    worker.receive()
    worker.pipe.send(Decision(trial=1, answer="stop"))
    pruned = worker.receive()
    assert (pruned.outcome, len(pruned.curve), pruned.scores) == ("pruned", 1, None)

    worker.pipe.send(_request(tmp_path, TINY.with_settings(batch_size=5000), trial=2))
    failed = worker.receive()
    assert failed.outcome == "failed"
    assert "exceeds the 1,293 training images" in failed.reason

    # Where nobody can make a folder, root included.
    worker.pipe.send(_request(Path("/sys"), TINY.with_settings(epochs=1), trial=3))
    while isinstance(unavailable := worker.receive(), Compiled | EpochEnded):
        pass
    assert isinstance(unavailable, Unavailable)
    assert "(/sys/trial-3)" in unavailable.message

    finetuned = TINY.with_settings(backbone="finetune", weights="gone.h5")
    worker.pipe.send(_request(tmp_path, finetuned, trial=4))
    unavailable = worker.receive()
    assert isinstance(unavailable, Unavailable)
    assert unavailable.message == f"There is no weight file {tmp_path / 'gone.h5'}."

    worker.pipe.send(_request(tmp_path, trial=5))
    assert not worker.receive().fresh


def test_a_worker_saves_its_trial_when_it_is_asked_to_stop(worker: Worker, tmp_path: Path) -> None:
    worker.prepare(tmp_path)
    worker.pipe.send(_request(tmp_path, TINY.with_settings(epochs=10_000)))
    worker.receive()
    worker.receive()

    # As a scheduler signals all processes.
    worker.process.send_signal(signal.SIGTERM)
    worker.pipe.send(Stop())
    while not isinstance(answer := worker.receive(), Stopped):
        assert isinstance(answer, EpochEnded)

    assert answer.trial == 0
    assert answer.step == CheckpointFolder(tmp_path / "trial-0").newest_step() > 0
    assert worker.process.poll() is None
    worker.pipe.close()
    assert worker.process.wait(TIMEOUT_SECONDS) == 0


def test_a_worker_trains_other_trials_while_one_is_paused(worker: Worker, tmp_path: Path) -> None:
    worker.prepare(tmp_path)
    worker.pipe.send(_request(tmp_path, rungs=(1,)))
    while not isinstance(worker.receive(), RungReached):
        pass
    worker.pipe.send(Decision(trial=0, answer="pause"))
    paused = worker.receive()
    step = CheckpointFolder(tmp_path / "trial-0").newest_step()
    assert isinstance(paused, Paused)
    assert (paused.trial, paused.step) == (0, step)
    assert step > 0
    assert paused.memory_bytes > 50e6

    worker.pipe.send(_request(tmp_path, TINY.with_settings(epochs=1), trial=1))
    while not isinstance(finished := worker.receive(), Finished):
        pass
    assert (finished.trial, finished.outcome) == (1, "complete")

    # It asks again, as after an interruption.
    worker.pipe.send(_request(tmp_path, rungs=(1,)))
    assert isinstance(worker.receive(), Compiled)
    assert isinstance(worker.receive(), RungReached)
    worker.pipe.send(Decision(trial=0, answer="promote"))
    assert worker.receive().epoch.epoch == 2
    assert worker.receive().outcome == "complete"


def test_a_worker_at_a_rung_stops_without_a_decision(worker: Worker, tmp_path: Path) -> None:
    worker.prepare(tmp_path)
    worker.pipe.send(_request(tmp_path, rungs=(1,)))
    while not isinstance(worker.receive(), RungReached):
        pass
    worker.pipe.send(Stop())
    worker.pipe.send(Decision(trial=0, answer="promote"))

    assert worker.receive() == Stopped(
        trial=0, step=CheckpointFolder(tmp_path / "trial-0").newest_step()
    )


def test_a_worker_ends_at_once_when_the_pipe_closes_in_the_middle_of_training(
    worker: Worker, tmp_path: Path
) -> None:
    worker.prepare(tmp_path)
    worker.pipe.send(_request(tmp_path, TINY.with_settings(epochs=10_000)))
    worker.receive()
    worker.receive()

    worker.pipe.close()

    assert worker.process.wait(TIMEOUT_SECONDS) == 0  # long before its ten thousandth epoch


def test_a_worker_that_cannot_have_its_device_refuses_with_a_sentence(
    worker: Worker, tmp_path: Path
) -> None:
    refused = worker.prepare(tmp_path, hardware="gpu")

    assert isinstance(refused, Refused)
    assert refused.message == "TensorFlow finds no GPU in this process."
    assert refused.exit_code == 1
    assert worker.process.wait(TIMEOUT_SECONDS) == 1


@pytest.mark.slow
def test_the_memory_of_a_worker_stays_flat_over_forty_trials(
    worker_with_one_arena: Worker, tmp_path: Path
) -> None:
    worker = worker_with_one_arena
    worker.prepare(tmp_path, data=DataSpec(train=128, validation=64, test=64))
    recipe = TINY.with_settings(
        epochs=1, batch_size=64, ema=True, flip=True, select="best", data=DataSpec(train=128)
    )
    sizes = []
    for trial in range(40):
        worker.pipe.send(_request(tmp_path, recipe.with_settings(seed=trial), trial))
        while not isinstance(message := worker.receive(), Finished):
            pass
        assert message.outcome == "complete"
        assert message.traces == 1
        sizes.append(message.memory_bytes)

    assert max(sizes[5:]) <= 1.01 * sizes[4]


def test_a_killed_worker_closes_the_pipe(worker: Worker, tmp_path: Path) -> None:
    worker.prepare(tmp_path)

    worker.process.send_signal(signal.SIGKILL)

    assert worker.pipe.poll(TIMEOUT_SECONDS)
    with pytest.raises(EOFError):
        worker.pipe.recv()
