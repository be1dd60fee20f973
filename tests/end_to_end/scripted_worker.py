"""A worker that speaks the protocol and trains nothing: its numbers follow from the recipe.

What it does wrong is told by the environment variable SCRIPT, JSON by trial number:
``{"3": {"die_at": 2, "times": 1}}`` ends the process at the start of epoch 2, once, and a list of
epochs in turn, ``by`` a signal other than SIGKILL or an exit status, and after the kernel's count
of OOM kills in the file ``oom`` was raised; ``{"3": {"hang_at": 2}}`` stops it there, once;
``{"3": {"keeps": false}}`` writes no checkpoint; ``{"4": {"outcome": "infeasible"}}`` ends the
trial at once; ``refuse`` refuses to work at all, and a list of numbers in the processes that were
started so late; ``memory_bytes`` is what the process has after a trial; ``epoch_seconds`` is how
long an epoch takes, of every trial or of one; ``pace`` is how long a step is measured to take,
times 0.001 s a pixel; ``own_pace`` is that of the trials' own steps, where it differs; ``slower``
is how much longer those of a trial take; ``processors`` is how many of a CPU they keep busy on a
quiet machine; ``again`` is the pace when it is measured again, by
resolution, after ``again_seconds``; ``train_seconds`` is how long a trial says that it trained;
``compile_seconds`` is
how long a trial answers nothing before its first epoch; ``checkpoint_bytes`` is the size of a
checkpoint; ``seed_noise`` is by how much seeds other than 0 change the accuracy; ``waits`` is what
a trial says that it waits for; ``needs`` is how many devices a resolution needs to fit. Asked to
stop, it writes a checkpoint of its last epoch, even where it keeps none. It has as many devices as
JAX would simulate, which share a step evenly, and times a bucket only where no worker with fewer
devices exists. The environment variable DEVICE is the kind of device of a node of a cluster.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import resource
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.files.environment_errors import environment_error
from effv2_tune.interruption import INTERRUPTING
from effv2_tune.study.bucket import BucketKey, DataFacts, Placement, bucket_key
from effv2_tune.study.step_time import StepTime
from effv2_tune.study.trial import Environment, Epoch, Scores, Times
from effv2_tune.workers.devices import simulated_devices
from effv2_tune.workers.messages import (
    Compiled,
    Decision,
    EpochEnded,
    Finished,
    Paused,
    Prepare,
    RangeTest,
    RangeTested,
    Ready,
    Refused,
    Remeasure,
    Remeasured,
    RungReached,
    Stop,
    Stopped,
    Train,
    Unavailable,
    Waiting,
)

if TYPE_CHECKING:
    from effv2_tune.study.recipe import Recipe

DATA = DataFacts(
    classes=10, image_shape=(8, 8, 1), train=1000, validation=100, test=100, digest="d" * 64
)


target_devices: int | None = None


class Existing:
    """What the workers of a study with a target know of each other; the kernel keeps it right."""

    def __init__(self, folder: Path) -> None:
        name = f"existing{os.environ.get('DEVICE', '')}"
        self._file = None if target_devices is None else (folder / name).open("a")
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def check_alone(self, message: Train | Remeasure | Stop) -> None:
        """Fail where a step is timed beside another worker."""
        if self._file is not None and isinstance(message, Remeasure):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--fd", type=int)
    connection: Connection = Connection(arguments.parse_args().fd)
    for each in INTERRUPTING:
        signal.signal(each, signal.SIG_IGN)
    script = json.loads(os.environ.get("SCRIPT", "{}"))
    prepare = connection.recv()
    assert isinstance(prepare, Prepare)
    if refuses(script.get("refuse", False), prepare.base / "starts"):
        connection.send(Refused(message="No images here.", hint="Bring some.", exit_code=2))
        return
    if "crash" in script:
        raise SystemExit("cannot even start")
    environment = Environment(
        device_kind=os.environ.get("DEVICE", script.get("device", "scripted")),
        device_count=script.get("devices", simulated_devices()),
        backend=prepare.backend,
        precision="float32",
        threads=script.get("threads", 1),
        hardware="cpu",
        host="here",
        versions={"python": "3"},
    )
    global target_devices  # noqa: PLW0603 - of this process
    target_devices = prepare.target_devices
    existing = Existing(prepare.base)
    data = DATA.model_copy(update={"digest": script.get("digest", DATA.digest)})
    connection.send(Ready(environment=environment, data=data))
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        try:
            existing.check_alone(message)
            result = answer(connection, message, environment, script)
        except EOFError:
            return
        except OSError as error:
            result = report(error, message.trial)
        try:
            connection.send(result)
        except OSError:
            return


def answer(
    connection: Connection,
    message: Train | Remeasure | RangeTest | Stop,
    environment: Environment,
    script: dict,
) -> Finished | Paused | Remeasured | RangeTested | Stopped:
    if isinstance(message, Stop):
        return Stopped()
    if isinstance(message, RangeTest):
        losses = tuple(loss_at(rate, message.recipe) for rate in message.rates)
        return RangeTested(bucket=bucket_of(message.recipe, environment), losses=losses, seconds=1)
    if isinstance(message, Remeasure):
        return measure_again(message, environment, script)
    try:
        return train(connection, message, environment, script)
    except (AskedToStop, PausedAtRung) as asked:
        return asked.answer


def loss_at(rate: float, recipe: Recipe) -> float:
    """It falls over two decades, and rises a hundred times above them; those of SGD are higher."""
    decades = math.log10(rate / (10 if recipe.optimizer == "sgd" else 0.1))
    return 1 + 0.6 * min(max(-2 - decades, 0), 2) + 5 * max(decades, 0)


def measure_again(order: Remeasure, environment: Environment, script: dict) -> Remeasured:
    time.sleep(script.get("again_seconds", 0.0))
    pixels, devices = order.recipe.pixels, environment.device_count
    bucket = bucket_of(order.recipe, environment)
    if devices < script.get("needs", {}).get(str(pixels), 1):
        return Remeasured(bucket=bucket, time=None, reason="Does not fit: as the script says")
    seconds = 0.001 * script.get("again", {}).get(str(pixels), script.get("pace", 1.0)) * pixels
    seconds /= devices
    measured = StepTime(
        seconds=seconds,
        low=0.98 * seconds,
        high=1.02 * seconds,
        is_quiet=True,
        reference_seconds=0.002,
    )
    return Remeasured(bucket=bucket, time=measured)


def bucket_of(recipe: Recipe, environment: Environment) -> BucketKey:
    placement = Placement(
        backend=environment.backend,
        device_kind=environment.device_kind,
        device_count=environment.device_count,
        precision="float32",
    )
    return bucket_key(recipe, DATA, placement, target_devices=target_devices)


class AskedToStop(Exception):  # noqa: N818 - no error
    """The supervisor sent Stop, and a checkpoint was written."""

    def __init__(self, order: Train, epoch: int) -> None:
        keep(order, epoch)
        self.answer = Stopped(trial=order.trial, step=epoch)


class PausedAtRung(Exception):  # noqa: N818 - no error
    """The supervisor has paused the trial, and a checkpoint was written."""

    def __init__(self, order: Train, epoch: int, times: Times) -> None:
        keep(order, epoch)
        self.answer = Paused(trial=order.trial, step=epoch, times=times, memory_bytes=1)


def report(error: OSError, trial: int) -> Unavailable:
    """As a real worker does."""
    unavailable = environment_error(error)
    if unavailable is None:
        raise error
    return Unavailable.of(trial, unavailable)


def refuses(when: bool | list[int], tally: Path) -> bool:  # noqa: FBT001 - as it is written
    if isinstance(when, bool):
        return when
    with tally.open("a") as file:
        file.write("x")
    return len(tally.read_text()) - 1 in when


def wait_on_cue(connection: Connection, deed: dict) -> None:
    if "waits" in deed:
        connection.send(Waiting(note=deed["waits"]))


def windows(own: float, script: dict) -> dict:
    if "processors" not in script:
        return {}
    busy = script["processors"]
    return {"step_work": busy * own, "step_undisturbed": own, "undisturbed": 20}


def train(connection: Connection, order: Train, environment: Environment, script: dict) -> Finished:
    recipe, deed = order.recipe, script.get(str(order.trial), {})
    step = order.step_seconds or 0.001 * script.get("pace", 1.0) * recipe.pixels
    bucket = bucket_of(recipe, environment)
    fresh = order.step_seconds is None
    curve: list[Epoch] = []
    own = 0.001 * script["own_pace"] * recipe.pixels if "own_pace" in script else step
    train_seconds = script.get("train_seconds", 0.0)
    own *= deed.get("slower", 1.0)
    times = Times(step_median=own, train=train_seconds, **windows(own, script))

    def finished(outcome: str, reason: str = "") -> Finished:
        complete = outcome == "complete"
        return Finished(
            trial=order.trial,
            outcome=outcome,
            scores=scores(order, recipe.epochs) if complete else None,
            selected_epoch=recipe.epochs if complete else None,
            curve=tuple(curve),
            times=times,
            memory_bytes=deed.get("memory_bytes", 1),
            reason=reason,
        )

    wait_on_cue(connection, deed)
    done = newest_epoch(order.checkpoint)
    if done == recipe.epochs:
        # As a real worker does with the last checkpoint of a trial: nothing need be compiled.
        curve += [line(order, epoch) for epoch in range(1, done + 1)]
        return finished("complete")
    connection.send(
        Compiled(
            trial=order.trial,
            bucket=bucket,
            step_seconds=step,
            fresh=fresh,
            extraction_seconds=script.get("extraction_seconds", 0.0),
        )
    )
    order.checkpoint.mkdir(parents=True, exist_ok=True)
    time.sleep(deed.get("compile_seconds", script.get("compile_seconds", 0.0)))
    if environment.device_count < script.get("needs", {}).get(str(recipe.pixels), 1):
        return finished("infeasible", "Does not fit: as the script says")
    if "outcome" in deed:
        return finished(deed["outcome"], "as the script says")
    curve += [line(order, epoch) for epoch in range(1, done + 1)]
    # Also after a resumption at a rung, as a real worker does: the decision may have been lost.
    if done in order.rungs and not may_continue(connection, order, curve, times):
        return finished("pruned")
    for epoch in range(done + 1, recipe.epochs + 1):
        die_on_cue(order, deed, epoch)
        hang_on_cue(order, deed, epoch)
        if connection.poll(deed.get("epoch_seconds", script.get("epoch_seconds", 0.0))):
            assert isinstance(connection.recv(), Stop)  # or EOFError: the supervisor is gone
            raise AskedToStop(order, epoch - 1)
        curve.append(line(order, epoch))
        if deed.get("keeps", True):
            keep(order, epoch, script)
        connection.send(EpochEnded(trial=order.trial, epoch=curve[-1], times=times))
        if epoch in order.rungs and not may_continue(connection, order, curve, times):
            return finished("pruned")
    return finished("complete")


def keep(order: Train, epoch: int, script: dict | None = None) -> None:
    """Write a checkpoint in the real format; its array follows from recipe and epoch."""
    state = np.full(64, order.recipe.weight_decay * epoch)
    if "checkpoint_bytes" in (script or {}):
        state = np.zeros(script["checkpoint_bytes"] // 8)
    CheckpointFolder(order.checkpoint).save(epoch, Checkpoint({"state": state}, {"epoch": epoch}))


def may_continue(connection: Connection, order: Train, curve: list[Epoch], times: Times) -> bool:
    """Report a rung and wait for the decision."""
    last = curve[-1]
    connection.send(
        RungReached(
            trial=order.trial,
            rung=order.rungs.index(last.epoch),
            epoch=last.epoch,
            quality=last.validation.accuracy,
            curve=tuple(curve),
        )
    )
    decision = connection.recv()
    if isinstance(decision, Stop):
        raise AskedToStop(order, last.epoch)
    assert isinstance(decision, Decision)
    if decision.answer == "pause":
        raise PausedAtRung(order, last.epoch, times)
    return decision.answer == "promote"


def newest_epoch(folder: Path) -> int:
    """Its steps are whole epochs."""
    steps = (path.stem.removeprefix("step-") for path in folder.glob("step-*.safetensors"))
    return max(map(int, steps), default=0)


def die_on_cue(order: Train, deed: dict, epoch: int) -> None:
    tally = Path(order.checkpoint) / "deaths"
    deaths = int(tally.read_text()) if tally.is_file() else 0
    cues = deed.get("die_at", [])
    cues = cues if isinstance(cues, list) else [cues] * deed.get("times", 1)
    if deaths < len(cues) and cues[deaths] == epoch:
        tally.write_text(str(deaths + 1))
        print("dying now", flush=True)  # noqa: T201 - into the log that the pool keeps
        if "oom" in deed:
            count = int(Path(deed["oom"]).read_text().split()[1])
            Path(deed["oom"]).write_text(f"oom_kill {count + 1}\n")
        by = deed.get("by", "SIGKILL")
        if isinstance(by, int):
            os._exit(by)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.Signals[by])


def hang_on_cue(order: Train, deed: dict, epoch: int) -> None:
    mark = Path(order.checkpoint) / "hung"
    if deed.get("hang_at") == epoch and not mark.is_file():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSTOP)


def scores(order: Train, epoch: int) -> Scores:
    share = epoch / order.recipe.epochs
    noise = json.loads(os.environ.get("SCRIPT", "{}")).get("seed_noise", 0.0)
    deviation = np.random.default_rng(order.recipe.seed).normal() if order.recipe.seed else 0.0
    accuracy = share * (0.5 + 4 * order.recipe.weight_decay + noise * deviation)
    return Scores(
        accuracy=accuracy, balanced_accuracy=accuracy, macro_f1=accuracy, top5=1.0, loss=1.0
    )


def line(order: Train, epoch: int) -> Epoch:
    return Epoch(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation=scores(order, epoch),
        seconds=0.01,
    )


if __name__ == "__main__":
    main()
