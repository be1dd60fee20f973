"""A process that trains what it is told at the other end of a pipe, and ends when the pipe does."""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import threading
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from effv2_tune.data import describe
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, TuneError
from effv2_tune.study.trial import Times
from effv2_tune.workers.messages import Decision, Finished, Measure, Prepare, Ready, Refused, Train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.training.trainer import Trainer
    from effv2_tune.workers.messages import FromWorker, RungReached, ToWorker


class Line:
    """The worker's end of the pipe.

    A thread reads it all the time: when the supervisor is gone, this process ends at once, in the
    middle of a step if need be.

    Args:
        connection: Carries pickled values of `study.messages`, both ways.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._heard: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._connection.recv())
        except (EOFError, OSError):
            # Not sys.exit: the main thread may be inside a step, and nothing is left to clean up.
            os._exit(EXIT_DONE)

    def hear(self) -> ToWorker:
        """The next message, waited for."""
        return self._heard.get()

    def say(self, message: FromWorker) -> None:
        """Send a message."""
        try:
            self._connection.send(message)
        except OSError:
            os._exit(EXIT_DONE)

    def ask(self, rung: RungReached) -> bool:
        """Report a rung and wait for the decision."""
        self.say(rung)
        answer = self.hear()
        if not isinstance(answer, Decision) or answer.trial != rung.trial:
            raise RuntimeError(f"A decision on trial {rung.trial} was awaited, not {answer!r}")
        return answer.go_on


def serve(line: Line) -> int:
    """Prepare, then train one trial after another; the exit code if it cannot work at all."""
    order = line.hear()
    if not isinstance(order, Prepare):
        raise TypeError(f"A worker is prepared first, not {order!r}")
    try:
        trainer = _prepare(order)
    except TuneError as error:
        line.say(Refused(message=error.message, hint=error.hint, exit_code=error.exit_code))
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        line.say(
            Refused(
                message=f"The worker could not start: {type(error).__name__}: {error}",
                hint="The traceback above says where.",
                exit_code=EXIT_FAILED,
            )
        )
        return EXIT_FAILED
    line.say(
        Ready(
            environment=trainer.device.environment,
            data=trainer.dataset.facts(),
            summary=tuple(describe(trainer.dataset, quality=order.quality).lines()),
        )
    )
    while True:
        order = line.hear()
        if isinstance(order, Train):
            line.say(train_or_report(trainer, order, line))
        elif isinstance(order, Measure):
            from effv2_tune.training.profiling import measure_bucket

            line.say(measure_bucket(trainer, order.recipe))
        else:
            raise TypeError(f"A prepared worker trains; it cannot take {order!r}")


def _prepare(order: Prepare) -> Trainer:
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import CHECKPOINT_SECONDS, Trainer

    dataset = load_dataset(order.data, base=order.base, storage_size=order.storage_size)
    device = open_device(order.backend, hardware=order.hardware, precision=order.precision)
    seconds = order.checkpoint_seconds
    return Trainer(
        dataset,
        device,
        base=order.base,
        checkpoint_seconds=CHECKPOINT_SECONDS if seconds is None else seconds,
        workers=order.workers,
    )


def train_or_report(trainer: Trainer, order: Train, line: Line) -> Finished:
    """Train; an error becomes a trial that failed, with the reason."""
    from effv2_tune.training.process_memory import resident_bytes

    try:
        return trainer.train_trial(order, tell=line.say, decide=line.ask)
    except TuneError as error:
        reason = str(error).replace("\n", " ")
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    return Finished(
        trial=order.trial,
        outcome="failed",
        scores=None,
        selected_epoch=None,
        curve=(),
        times=Times(),
        memory_bytes=resident_bytes(),
        reason=reason[:2000],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the connection with the given file descriptor."""
    parser = argparse.ArgumentParser(prog="python -m effv2_tune.training.worker")
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    descriptor = parser.parse_args(arguments).fd
    logging.basicConfig(format="%(message)s")
    # Ctrl-C reaches every process of the terminal: the supervisor decides, and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(Line(Connection(descriptor)))


if __name__ == "__main__":
    # os._exit: the backends' threads have nothing to say any more.
    os._exit(main())
