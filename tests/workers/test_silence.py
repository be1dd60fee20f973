"""A worker counts as hung after many times its own pace of silence."""

from __future__ import annotations

from effv2_tune.workers.messages import Compiled, EpochEnded, Heartbeat, RungReached
from effv2_tune.workers.silence import SilenceLimits, SilenceWatch

LIMITS = SilenceLimits(unpaced_seconds=1000.0, factor=20.0, least_seconds=100.0)
COMPILED, EPOCH = Compiled.model_construct(), EpochEnded.model_construct()
ADVANCES, WAITS = Heartbeat(waits=False), Heartbeat(waits=True)


class Watched:
    """One worker that has been given work, on a clock that moves when a test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self.watch = SilenceWatch(LIMITS, lambda: self.time)
        self.watch.begin(0)

    def passes(self, seconds: float) -> bool:
        """Whether the worker counts as hung after so many seconds of looking every ten."""
        for _ in range(round(seconds / 10)):
            self.time += 10.0
            if self.watch.overdue():
                return True
        return False

    def sends(self, *messages: Compiled | EpochEnded | Heartbeat | RungReached) -> None:
        for message in messages:
            self.watch.receive(0, message)


def test_start_and_compilation_may_take_long() -> None:
    worker = Watched()

    assert not worker.passes(1000)
    assert worker.passes(10)


def test_after_an_epoch_the_limit_is_a_multiple_of_the_own_pace_but_not_below_the_least() -> None:
    slow, fast = Watched(), Watched()
    for worker, pace in ((slow, 30), (fast, 0)):
        assert not worker.passes(500)
        worker.sends(COMPILED)
        worker.passes(pace)
        worker.sends(ADVANCES, EPOCH)

    assert not slow.passes(600)
    assert slow.passes(10)
    assert not fast.passes(100)
    assert fast.passes(10)


def test_heartbeats_keep_a_worker_alive() -> None:
    worker = Watched()
    worker.sends(COMPILED, EPOCH)
    for _ in range(100):
        worker.sends(ADVANCES)
        assert not worker.passes(90)


def test_who_waits_for_the_supervisor_or_another_process_is_not_hung() -> None:
    worker = Watched()
    worker.sends(COMPILED, EPOCH, RungReached.model_construct())
    assert not worker.passes(5000)
    worker.watch.resume(0)
    worker.sends(WAITS)
    assert not worker.passes(5000)

    worker.sends(ADVANCES)
    assert worker.passes(110)


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """As after the suspension of the machine, or a wait for the database."""
    worker = Watched()
    worker.sends(COMPILED, EPOCH)

    worker.time += 10_000.0

    assert worker.watch.overdue() == {}
    assert worker.passes(80)
