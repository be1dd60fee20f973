"""Made-up trials for the report's unit tests: no training was done for any number in them."""

from __future__ import annotations

import errno
import math
import os
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.report.input import ReportInput
from effv2_tune.report.timeline import recorded_timeline
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.trial import (
    Environment,
    Epoch,
    Measurement,
    RungResult,
    Scores,
    Times,
    Trial,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DATA = DataFacts(
    classes=10, image_shape=(32, 32, 3), train=45000, validation=5000, test=10000, digest="0" * 16
)
#: Milliseconds per step at 64 pixels, and the accuracy that the made-up networks can reach.
STEP = {"b0": 0.021, "b1": 0.034, "b2": 0.045, "b3": 0.071}
REACH = {"b0": 0.945, "b1": 0.957, "b2": 0.963, "b3": 0.972}
VERSIONS = {"python": "3.11.9", "keras": "3.15.1", "tensorflow": "2.21.0", "numpy": "2.4.1"}


def made_up_trial(
    number: int, *, seed: int = 1, device: str = "NVIDIA H200", state: str | None = None
) -> Trial:
    """A trial whose numbers come from a formula: bigger networks are slower and better."""
    chance = random.Random(seed * 100003 + number)  # noqa: S311 - made-up numbers, no secrets
    config: dict[str, Any] = {
        "variant": chance.choice(list(STEP)),
        "resolution": chance.choice([64, 96, 128]),
        "epochs": chance.choice([8, 12, 20]),
        "initial_learning_rate": 10 ** chance.uniform(-5, -4),
        "maximal_learning_rate": 10 ** chance.uniform(-3.5, -1.5),
        "weight_decay": 10 ** chance.uniform(-6, -3),
    }
    recipe = Recipe.model_validate(config)
    variant, pixels, epochs = config["variant"], config["resolution"], config["epochs"]
    placement = Placement(
        backend="tensorflow", device_kind=device, device_count=1, precision="float32"
    )
    off = abs(math.log10(config["maximal_learning_rate"]) + 2.3)
    final = REACH[variant] + 0.012 * math.log2(pixels / 64) - 0.06 * off**2
    final -= 0.25 / epochs - abs(chance.gauss(0, 0.004))
    step = STEP[variant] * (pixels / 64) ** 1.8
    seconds = step * epochs * 352
    state = (
        state
        or chance.choices(["complete", "pruned", "diverged", "infeasible"], weights=[50, 42, 4, 4])[
            0
        ]
    )
    if state == "pruned":
        final -= 0.05 + 0.3 * chance.random() ** 2
    trained = {"complete": epochs, "pruned": max(2, epochs // 4), "diverged": 3}.get(state, 0)
    curve = tuple(
        _epoch(epoch, epochs, min(max(final, 0.1), 0.995), seconds / epochs, chance)
        for epoch in range(1, trained + 1)
    )
    started = START + timedelta(seconds=240 * number)
    spent = seconds * trained / epochs
    first = number % 5 == 0
    times = Times(
        build=2.1 * first,
        compile=31.0 * first,
        measure=6.0 * first,
        train=spent,
        evaluate=0.08 * spent,
        checkpoint=0.4 * trained,
        wall=1.12 * spent + 41.0 * first + 3,
        step_median=step * chance.uniform(0.98, 1.03),
        step_bucket=step,
    )
    reasons = {
        "pruned": "3 of 9 trials at rung 0 were better on both",
        "diverged": "the training loss was not a number in epoch 3",
        "infeasible": "out of memory: 144 GiB wanted, 139 GiB there",
    }
    return Trial(
        number=number,
        state=state,
        config=config,
        recipe=recipe,
        bucket=bucket_key(recipe, DATA, placement),
        measurement=Measurement(quality=curve[-1].validation.accuracy, train_seconds=seconds)
        if state == "complete"
        else None,
        scores=curve[-1].validation if state == "complete" else None,
        selected_epoch=epochs if state == "complete" else None,
        rungs=(
            RungResult(
                rung=0,
                epoch=min(2, trained),
                quality=curve[min(2, trained) - 1].validation.accuracy,
                projected_seconds=seconds,
            ),
        )
        if trained
        else (),
        curve=curve,
        times=times,
        environment=Environment(
            device_kind=device,
            device_count=1,
            backend="tensorflow",
            precision="float32",
            threads=16,
            host="made-up-host",
            versions=VERSIONS,
        ),
        attempts=1,
        reason=reasons.get(state, ""),
        started=started,
        ended=started + timedelta(seconds=times.wall),
    )


def _epoch(epoch: int, epochs: int, final: float, seconds: float, chance: random.Random) -> Epoch:
    rise = 1 - math.exp(-4.5 * epoch / epochs)
    accuracy = 0.1 + (final - 0.1) * rise / (1 - math.exp(-4.5)) + chance.gauss(0, 0.003)
    accuracy = min(max(accuracy, 0.0), 1.0)
    loss = 2.3 * (1 - accuracy) + 0.05
    return Epoch(
        epoch=epoch,
        learning_rate=1e-3,
        train_loss=loss * 0.9,
        train_accuracy=min(1.0, accuracy + 0.01),
        validation=Scores(
            accuracy=accuracy,
            balanced_accuracy=accuracy,
            macro_f1=accuracy,
            top5=min(1.0, accuracy + 0.03),
            loss=loss,
        ),
        seconds=seconds,
    )


def made_up_study(
    count: int = 60,
    *,
    name: str = "made-up-cifar10",
    trials: tuple[Trial, ...] | None = None,
    **more: Any,
) -> ReportInput:
    """A study of made-up trials."""
    if trials is None:
        trials = tuple(made_up_trial(n) for n in range(count))
    return ReportInput(
        name=name,
        trials=trials,
        timeline=recorded_timeline(trials),
        facts={
            "data": "made-up numbers, no images: 45,000 train, 5,000 validation, 10,000 test",
            "search": "tpe, seed 42, halving at 10 %, 22 % and 40 % of the epochs",
            "budget": f"{count} trials",
        },
        ended_by=f"all {count} trials were done",
        folder=f"runs/{name}",
        written="2026-01-05 13:10 UTC by effv2-tune 0.1.0",
        **more,
    )


@pytest.fixture(scope="session")
def trial_maker() -> Callable[..., Trial]:
    return made_up_trial


@pytest.fixture(scope="session")
def study_maker() -> Callable[..., ReportInput]:
    return made_up_study


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when a file's content is flushed to it."""

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
