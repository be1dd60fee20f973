"""Supervision of workers, whatever starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.study.recipe import DataSpec, Recipe
from effv2_tune.study.trial import Trial
from effv2_tune.workers.messages import (
    Heartbeat,
    Prepare,
    Ready,
    Refused,
    Stop,
    Stopped,
    Train,
)
from effv2_tune.workers.pool import Job, WorkerExited, messages
from effv2_tune.workers.silence import SilenceLimits
from effv2_tune.workers.supervised_pool import ProcessExit, SupervisedPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from effv2_tune.workers.exits import ExitKind
    from effv2_tune.workers.messages import FromWorker

READY = Ready.model_construct()
REFUSED = Refused(message="No images here.", hint="Bring some.", exit_code=2)
TRIAL = Trial(number=3, state="running", config={}, recipe=Recipe(data=DataSpec(name="digits")))
JOB = Job(TRIAL, epochs=2, rungs=(1,), step_seconds=0.5)


class FakeLauncher:
    """Workers without processes; ``script`` has what they send at each wait."""

    def __init__(
        self,
        *script: list[tuple[int, FromWorker | Heartbeat | None]],
        kind: ExitKind = "crash",
    ) -> None:
        self.script = list(script)
        self.kind = kind
        self.calls: list[tuple[str, int]] = []
        self.waiting: set[int] = set()
        self.sent: list[Any] = []

    def start(self, worker: int) -> None:
        self.calls.append(("start", worker))

    def send(self, worker: int, message: Any) -> None:
        del worker
        self.sent.append(message)

    def receive(self, timeout_seconds: float) -> list[tuple[int, FromWorker | Heartbeat | None]]:
        del timeout_seconds
        return self.script.pop(0) if self.script else []

    def is_waiting(self, worker: int) -> bool:
        return worker in self.waiting

    def kill(self, worker: int) -> None:
        self.calls.append(("kill", worker))

    def end(self, worker: int, *, grace_seconds: float) -> ProcessExit:
        del grace_seconds
        self.calls.append(("end", worker))
        return ProcessExit("exit status 1", "worker.log", "last line", self.kind)

    def close(self, *, grace_seconds: float) -> None:
        del grace_seconds
        self.calls.append(("close", -1))


def started(
    launcher: FakeLauncher,
    out: Path,
    limits: SilenceLimits | None = None,
    room: Callable[[], int] | None = None,
) -> SupervisedPool:
    prepare = Prepare(
        data=DataSpec(name="digits"),
        base=out,
        backend="tensorflow",
        hardware="cpu",
        precision="auto",
        workers=8,
    )
    pool = SupervisedPool(launcher, prepare, count=1, out=out, limits=limits, room=room)
    pool.start()
    return pool


def test_a_new_worker_is_prepared_and_an_assigned_trial_has_its_checkpoints(tmp_path: Path) -> None:
    launcher = FakeLauncher([(0, READY)])
    pool = started(launcher, tmp_path)

    pool.wait(1.0)
    pool.assign(0, JOB)

    prepare, train = launcher.sent
    assert isinstance(prepare, Prepare)
    assert isinstance(train, Train)
    assert train.recipe == TRIAL.recipe
    assert train.checkpoint == tmp_path / "checkpoints" / "trial-00003"


def test_an_exited_worker_is_replaced_and_its_newest_checkpoint_reported(tmp_path: Path) -> None:
    launcher = FakeLauncher([(0, READY)], [(0, None)])
    pool = started(launcher, tmp_path)
    pool.wait(1.0)
    pool.assign(0, JOB)
    CheckpointFolder(pool.checkpoint(3)).save(7, Checkpoint({}, {}))

    ((worker, exited),) = pool.wait(1.0)

    assert (worker, exited) == (0, WorkerExited("exit status 1", "last line", 7))
    assert launcher.calls == [("start", 0), ("end", 0), ("start", 0)]


def test_a_refusal_counts_as_an_exit_of_a_replacement_alone(tmp_path: Path) -> None:
    launcher = FakeLauncher([(0, REFUSED)])
    assert started(launcher, tmp_path).wait(1.0) == [(0, REFUSED)]

    launcher = FakeLauncher([(0, READY)], [(0, None)], [(0, REFUSED)])
    pool = started(launcher, tmp_path)
    pool.wait(1.0)
    pool.wait(1.0)
    ((_, exited),) = pool.wait(1.0)

    assert isinstance(exited, WorkerExited)
    assert exited.cause == "it refused to work: No images here."


def test_the_third_exit_in_a_row_before_a_worker_is_ready_is_an_error(tmp_path: Path) -> None:
    launcher = FakeLauncher([(0, None)], [(0, None)], [(0, READY)], *[[(0, None)]] * 4)
    pool = started(launcher, tmp_path)
    for _ in range(6):
        pool.wait(1.0)

    with pytest.raises(TuneError, match="3 workers in a row exited before they were ready"):
        pool.wait(1.0)


def test_kills_before_a_worker_is_ready_are_an_error_only_after_ten_in_a_row(
    tmp_path: Path,
) -> None:
    launcher = FakeLauncher(*[[(0, None)]] * 9, [(0, READY)], *[[(0, None)]] * 11, kind="kill")
    pool = started(launcher, tmp_path)
    for _ in range(20):
        pool.wait(1.0)

    with pytest.raises(TuneError, match="10 workers in a row exited before they were ready"):
        pool.wait(1.0)


def test_a_hung_worker_is_killed_and_replaced_and_an_idle_one_is_not(tmp_path: Path) -> None:
    limits = SilenceLimits(unpaced_seconds=0.0)
    launcher = FakeLauncher([(0, READY)])
    pool = started(launcher, tmp_path, limits)
    assert pool.wait(1.0) == [(0, READY)]
    assert pool.wait(1.0) == []
    pool.assign(0, JOB)

    ((worker, exited),) = pool.wait(1.0)

    assert worker == 0
    assert isinstance(exited, WorkerExited)
    assert exited.cause.startswith("it hung: it sent nothing for ")
    assert exited.kind == "crash"
    assert launcher.calls == [("start", 0), ("kill", 0), ("end", 0), ("start", 0)]


def test_heartbeats_are_no_messages(tmp_path: Path) -> None:
    beat = Heartbeat(waits=False)
    pool = started(FakeLauncher([(0, beat)], [(0, beat)], [(0, READY)]), tmp_path)

    assert pool.wait(60.0) == [(0, READY)]


def test_workers_that_are_asked_to_stop_are_not_replaced(tmp_path: Path) -> None:
    launcher = FakeLauncher([(0, READY)], [(0, Stopped(trial=3, step=7))], [(0, None)])
    pool = started(launcher, tmp_path)
    pool.wait(1.0)
    pool.assign(0, JOB)

    pool.stop()

    assert launcher.sent[-1] == Stop()
    assert pool.wait(1.0) == [(0, Stopped(trial=3, step=7))]
    assert pool.wait(1.0) == [(0, WorkerExited("exit status 1", "last line", 0))]
    assert launcher.calls == [("start", 0), ("end", 0)]


def test_the_messages_of_a_worker_end_with_its_refusal_or_its_silence(tmp_path: Path) -> None:
    received = messages(started(FakeLauncher([(0, READY)], [(0, REFUSED)]), tmp_path))
    assert next(received) is READY
    with pytest.raises(TuneError, match="No images here"):
        next(received)

    with pytest.raises(TuneError, match="sent nothing for 5 seconds"):
        next(messages(started(FakeLauncher(), tmp_path), timeout_seconds=5))


def test_checkpoints_are_set_aside_under_a_new_name_each_time(tmp_path: Path) -> None:
    pool = started(FakeLauncher(), tmp_path)
    assert pool.set_aside(3) is None
    names = []
    for _ in range(2):
        CheckpointFolder(pool.checkpoint(3)).save(1, Checkpoint({}, {}))
        names.append(pool.set_aside(3))

    folder = tmp_path / "checkpoints"
    assert names == [folder / "trial-00003.before-1", folder / "trial-00003.before-2"]


def test_the_worker_on_the_target_starts_when_all_others_have_ended_and_has_the_machine(
    tmp_path: Path,
) -> None:
    launcher = FakeLauncher([(0, Stopped())], [(1, READY)], [(1, None)])
    pool = started(launcher, tmp_path)
    pool.stop()
    pool.wait(1.0)

    pool.start(on_target=True)
    pool.wait(1.0)
    pool.wait(1.0)

    assert launcher.calls == [("start", 0), ("close", -1), ("start", 1), ("end", 1), ("start", 1)]
    assert [message.workers for message in launcher.sent if isinstance(message, Prepare)] == [
        8,
        1,
        1,
    ]
    pool.start()
    assert launcher.calls[-2:] == [("close", -1), ("start", 0)]


def test_workers_follow_the_room_and_only_those_that_wait_for_it_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effv2_tune.workers.supervised_pool.ROOM_SECONDS", 0.0)
    rooms = iter([3, 3, 1])
    launcher = FakeLauncher([], [], [])
    pool = started(launcher, tmp_path, room=lambda: next(rooms))
    assert pool.count == 1

    pool.wait(0.0)
    assert pool.count == 3
    launcher.waiting = {1}
    for _ in range(2):
        pool.wait(0.0)

    assert launcher.calls == [("start", 0), ("start", 1), ("start", 2), ("end", 1)]
    assert pool.count == 2
