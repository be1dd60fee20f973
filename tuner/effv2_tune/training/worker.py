"""Runs a worker process, which trains the trials that it receives over a pipe."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from effv2_tune import heartbeat
from effv2_tune.data import describe
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, TuneError
from effv2_tune.files.environment_errors import environment_error
from effv2_tune.interruption import INTERRUPTING
from effv2_tune.study.trial import Times
from effv2_tune.workers.devices import own_devices
from effv2_tune.workers.messages import (
    Decision,
    Finished,
    Heartbeat,
    Measure,
    Paused,
    Prepare,
    RangeTest,
    Ready,
    Refused,
    Remeasure,
    Stop,
    Stopped,
    Train,
    Unavailable,
    Waiting,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.training.trainer import Trainer
    from effv2_tune.workers.messages import FromWorker, RungReached, ToWorker


class Channel:
    """The worker's end of the pipe.

    A thread reads it all the time: when the supervisor is gone, this process exits at once, even
    in the middle of a step. A request to stop is a flag, which training polls.

    Args:
        connection: Carries pickled values of `workers.messages`, both ways.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        #: A note may come from another thread.
        self._sending = threading.Lock()
        self._received: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        self._stop = threading.Event()
        threading.Thread(target=self._read, name="supervisor", daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Stop):
                    self._stop.set()
                self._received.put(message)
        except (EOFError, OSError):
            # Not sys.exit: the main thread may be inside a step, and nothing is left to clean up.
            os._exit(EXIT_DONE)

    def receive(self) -> ToWorker:
        """Wait for the next message."""
        return self._received.get()

    def send(self, message: FromWorker | Heartbeat) -> None:
        """Send a message."""
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            os._exit(EXIT_DONE)

    def should_stop(self, _seconds: float = 0.0) -> bool:
        """Whether the supervisor has asked to stop."""
        return self._stop.is_set()

    def confirm_stop(self, stopped: Stopped) -> NoReturn:
        """Confirm that training has stopped, and wait for the end of the pipe."""
        self.send(stopped)
        while True:
            self.receive()

    def decide(self, rung: RungReached) -> bool:
        """Report a rung and wait for the decision; whether to continue.

        Raises:
            TrialPausedError: The trial is paused.
            TrainingStoppedError: The supervisor asks to stop instead.
        """
        from effv2_tune.training.attempt import TrainingStoppedError, TrialPausedError

        self.send(rung)
        decision = self.receive()
        if isinstance(decision, Stop):
            raise TrainingStoppedError
        if not isinstance(decision, Decision) or decision.trial != rung.trial:
            raise RuntimeError(f"Expected a decision on trial {rung.trial}, got {decision!r}")
        if decision.answer == "pause":
            raise TrialPausedError
        return decision.answer == "promote"


def serve(channel: Channel) -> int:
    """Prepare, then train one trial after another; returns only the exit code of a refusal."""
    request = channel.receive()
    if not isinstance(request, Prepare):
        raise TypeError(f"Expected Prepare as the first message, got {request!r}")
    heartbeat.listen(lambda waits: channel.send(Heartbeat(waits=waits)))
    heartbeat.listen_to_notes(lambda note: channel.send(Waiting(note=note)))
    try:
        trainer = _prepare(request)
    except Exception as error:
        if not isinstance(error, TuneError):
            _print_traceback()
            error = environment_error(error) or TuneError(
                f"The worker could not start: {type(error).__name__}: {error}",
                hint="See the traceback above.",
                exit_code=EXIT_FAILED,
            )
        channel.send(Refused.of(error))
        return error.exit_code
    channel.send(
        Ready(
            environment=trainer.device.environment,
            data=trainer.dataset.facts(),
            summary=tuple(describe(trainer.dataset, quality=request.quality).lines()),
        )
    )
    while True:
        request = channel.receive()
        if channel.should_stop():
            channel.confirm_stop(Stopped())
        if isinstance(request, Train):
            channel.send(train_or_report(trainer, request, channel))
        elif isinstance(request, Measure):
            from effv2_tune.training.profiling import measure_bucket

            channel.send(measure_bucket(trainer, request.recipe))
        elif isinstance(request, Remeasure):
            channel.send(trainer.measure_again(request, should_stop=channel.should_stop))
        elif isinstance(request, RangeTest):
            channel.send(trainer.range_test(request))
        else:
            raise TypeError(f"Expected Train, Measure, Remeasure or RangeTest, got {request!r}")


def _prepare(request: Prepare) -> Trainer:
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.machine_lock import MachineLock
    from effv2_tune.training.trainer import CHECKPOINT_SECONDS, Trainer

    is_one_of_several = request.workers > 1 and request.hardware != "cpu"
    dataset = load_dataset(
        request.data,
        base=request.base,
        storage_size=request.storage_size,
        shared=is_one_of_several,
    )
    device = open_device(request.backend, hardware=request.hardware, precision=request.precision)
    seconds = request.checkpoint_seconds
    return Trainer(
        dataset,
        device,
        base=request.base,
        checkpoint_seconds=CHECKPOINT_SECONDS if seconds is None else seconds,
        lock=MachineLock(devices=own_devices(request.hardware) if is_one_of_several else ()),
        workers=request.workers,
        target_devices=request.target_devices,
    )


def train_or_report(
    trainer: Trainer, request: Train, channel: Channel
) -> Finished | Paused | Unavailable:
    """Train; an error becomes a failed trial, with the reason, unless the machine has failed."""
    from effv2_tune.training.attempt import TrainingStoppedError, TrialPausedError
    from effv2_tune.training.process_memory import resident_bytes

    try:
        return trainer.train_trial(
            request,
            on_event=channel.send,
            should_continue=channel.decide,
            should_stop=channel.should_stop,
        )
    except TrialPausedError as paused:
        return Paused(
            trial=request.trial,
            step=paused.step,
            times=paused.times or Times(),
            memory_bytes=resident_bytes(),
        )
    except TrainingStoppedError as stopped:
        channel.confirm_stop(Stopped(trial=request.trial, step=stopped.step))
    except Exception as error:
        if not isinstance(error, TuneError):
            _print_traceback()
        unavailable = environment_error(error)
        if unavailable is not None:
            return Unavailable.of(request.trial, unavailable)
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, TuneError):
            reason = str(error).replace("\n", " ")
    return Finished(
        trial=request.trial,
        outcome="failed",
        scores=None,
        selected_epoch=None,
        curve=(),
        times=Times(),
        memory_bytes=resident_bytes(),
        reason=reason[:2000],
    )


def _print_traceback() -> None:
    # The log may be on the full disk that the error is about.
    with contextlib.suppress(OSError):
        traceback.print_exc()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the connection with the given file descriptor."""
    parser = argparse.ArgumentParser(prog="python -m effv2_tune.training.worker")
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    descriptor = parser.parse_args(arguments).fd
    logging.basicConfig(format="%(message)s")
    # A terminal, a scheduler or a container may signal all of its processes: the supervisor
    # decides, asks for a checkpoint, and closes the pipe.
    for each in INTERRUPTING:
        signal.signal(each, signal.SIG_IGN)
    return serve(Channel(Connection(descriptor)))


if __name__ == "__main__":
    # os._exit: no need to wait for the backends' threads.
    os._exit(main())
