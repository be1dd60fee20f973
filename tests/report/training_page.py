"""Made-up final trainings for the tests of their page: no training was done for any number."""

from __future__ import annotations

import math
import random
from typing import Any

from effv2_tune.pareto.promise import FinalResult, compare
from effv2_tune.report.figures.training import History
from effv2_tune.report.html.training import TrainingFacts
from effv2_tune.report.tables.classes import Confusion
from effv2_tune.study.training_run import TrainingRun
from effv2_tune.study.trial import Environment, Scores

EPOCHS = 12
ENVIRONMENT = {
    "device_kind": "NVIDIA H200",
    "device_count": 1,
    "backend": "jax",
    "precision": "mixed_bfloat16",
    "threads": 8,
    "host": "secret-host",
    "versions": {"python": "3.12.3", "keras": "3.15.1", "jax": "0.8.1"},
}
NAMES = ("daisy", "dandelion", "rose", "<b>sunflower</b>", "tulip of a very long name indeed")


def made_up_training(
    classes: int = 5, *, images: int = 40, validated: bool = True, recorded: bool = True
) -> TrainingFacts:
    """A training with so many classes, each with so many test images.

    Args:
        classes: How many.
        images: Test images of each.
        validated: Whether its epochs were validated.
        recorded: Whether it has a schedule and a confusion matrix, as earlier versions have not.
    """
    names = [NAMES[one] if one < len(NAMES) else f"class {one}" for one in range(classes)]
    counts = _counts(classes, images)
    accuracy = sum(counts.get((one, one), 0) for one in range(classes)) / (classes * images)
    scores = dict.fromkeys(Scores.model_fields, accuracy) | {"loss": 0.31, "top5": 0.99}
    errors = dict.fromkeys(Scores.model_fields, 0.012)
    metrics: dict[str, Any] = {
        "test": scores,
        "test_count": classes * images,
        "test_standard_errors": errors,
        "validation": scores if validated else None,
        "validation_count": 500 if validated else 0,
        "validation_standard_errors": errors if validated else None,
        "selected_epoch": EPOCHS,
        "steps": 4224,
        "train_seconds": 192.4,
        "extraction_seconds": 0.0,
        "times": {"step_bucket": 0.0455, "train": 195.0, "evaluate": 9.0, "compile": 31.0},
        "environment": ENVIRONMENT,
        "data_digest": "ab" * 32,
        "train_count": 4500,
        "classes": names,
    }
    run = _run(validated=validated)
    assert run.provenance is not None
    result = FinalResult(
        validation=Scores.model_validate(scores) if validated else None,
        validation_errors=None,
        test=Scores.model_validate(scores),
        test_errors=Scores.model_validate(errors),
        train_seconds=192.4,
        seconds_error=0.01,
        environment=Environment.model_validate(ENVIRONMENT),
        steps_ratio=1.0 if validated else 1.1,
    )
    metrics["promise"] = compare(run.provenance, "accuracy", result).model_dump()
    rates = [(step / 20, 1e-3 * abs(math.sin(step / 15)) + 1e-5) for step in range(1, 241)]
    return TrainingFacts(
        run,
        metrics,
        _history(accuracy, validated=validated),
        rates if recorded else (),
        Confusion(counts, names) if recorded else None,
        "2026-01-05 13:10 UTC by effv2-tune 0.1.0",
    )


def _counts(classes: int, images: int) -> dict[tuple[int, int], int]:
    chance = random.Random(classes)  # noqa: S311 - made-up numbers, no secrets
    counts: dict[tuple[int, int], int] = {}
    for actual in range(classes):
        for _ in range(images):
            is_right = chance.random() < 0.7 + 0.25 * math.sin(actual)
            predicted = actual if is_right else (actual + chance.choice([1, 1, 1, 2, 7])) % classes
            counts[actual, predicted] = counts.get((actual, predicted), 0) + 1
    return counts


def _history(accuracy: float, *, validated: bool) -> History:
    epochs = list(range(1, EPOCHS + 1))
    rising = [accuracy * (1 - math.exp(-epoch / 3)) for epoch in epochs]
    training = {"accuracy": [0.97 * value for value in rising], "loss": [2 - v for v in rising]}
    validation = {"accuracy": rising, "loss": [1.9 - value for value in rising]}
    return History(epochs, training, validation if validated else {})


def _run(*, validated: bool) -> TrainingRun:
    scores = dict.fromkeys(Scores.model_fields, 0.9)
    splits = {} if validated else {"train_on": "train+validation"}
    return TrainingRun.from_plain(
        {
            "name": "flowers-trial-7",
            "data": {"name": "folder", "path": "/home/me/photos", **splits},
            "recipe": {
                "variant": "b0",
                "resolution": 96,
                "epochs": EPOCHS,
                "backbone": "finetune",
                "weights": "/home/me/w.h5",
            },
            "provenance": {
                "study": "flowers",
                "trial": 7,
                "pick": "knee",
                "validation": scores,
                "validation_count": 500,
                "train_seconds": 180.0,
                "seconds_low": 170.0,
                "seconds_high": 190.0,
                "environment": ENVIRONMENT,
                "data_digest": "ab" * 32,
            },
        }
    )
