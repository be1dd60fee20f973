"""Logs of made-up events, as the supervisor writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from effv2_tune.search import events as happened
from effv2_tune.study.bucket import DataFacts
from effv2_tune.study.trial import Environment, Epoch, Measurement, Scores, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.search.events import Event

DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=4500, validation=500, test=1000, digest="0" * 16
)
HERE = Environment(
    device_kind="a CPU",
    device_count=1,
    backend="jax",
    precision="float32",
    threads=2,
    host="here",
    versions={},
    hardware="cpu",
)
CONFIG = {"weight_decay": 1e-4, "resolution": 32}


def append(path: Path, at: float, *events: Event) -> None:
    """Append events to a log, all at one time in seconds since 1970."""
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    with path.open("a", encoding="utf-8") as log:
        for event in events:
            facts = {"time": time, "event": type(event).__name__, **event.model_dump(mode="json")}
            log.write(json.dumps(facts) + "\n")


def started(known: int = 0) -> happened.StudyStarted:
    return happened.StudyStarted(study="small", known=known, unfinished=0)


def began(trial: int, **more: Any) -> happened.TrialStarted:
    facts = {"worker": 0, "config": CONFIG, "epochs": 4, "attempt": 1, "resumed_after": 0}
    return happened.TrialStarted(trial=trial, **(facts | more))


def trained(trial: int, epoch: int, accuracy: float = 0.5) -> happened.EpochTrained:
    scores = Scores(accuracy=accuracy, balanced_accuracy=0.1, macro_f1=0.1, top5=1.0, loss=1.0)
    line = Epoch(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation=scores,
        seconds=1.0,
    )
    return happened.EpochTrained(trial=trial, epoch=line, epochs=4)


def ended(trial: int, quality: float = 0.5) -> happened.TrialEnded:
    measurement = Measurement(quality=quality, train_seconds=1.0)
    return happened.TrialEnded(
        trial=Trial(number=trial, state="complete", config=CONFIG, measurement=measurement)
    )
