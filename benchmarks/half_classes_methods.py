"""Defines the trainings of benchmarks/half_classes.py: methods, learning rates and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SEEDS = 3
KEY = ("weights", "method", "seed", "rate")
FIELDS = (*KEY, "validation", "test", "seconds", "extraction_seconds")
#: In each half.
CLASSES = 5
COMMON: dict[str, Any] = {
    "variant": "b0",
    "resolution": 32,
    "optimizer": "adamw",
    "epsilon": 1e-7,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "initial_learning_rate": 1e-5,
    "dropout": 0.1,
    "stochastic_depth": 0.0,
    "flip": True,
}
PRETRAINING: dict[str, Any] = {"epochs": 5, "batch_size": 64, "maximal_learning_rate": 3e-3}
PRETRAINING_IMAGES = 20_000
#: A multiple of the batch, and of the five classes but for four images.
TRAIN, BATCH = 1024, 32
VALIDATION = 500
EPOCHS = 6
#: Extraction and epochs of the classifier take a quarter of the time of the epoch they replace.
HEAD_FIRST = {"head_epochs": 10, "epochs": EPOCHS - 1 + 10, "head_learning_rate": 1e-2}
#: The method of the line of the pretraining.
PRETRAINED = "pretraining"
FULL, SCRATCH, FROZEN = "all layers", "from scratch", "frozen backbone"


@dataclass(frozen=True)
class Method:
    """How the network is trained.

    Attributes:
        changes: To the recipe that finetunes all layers.
        rates: The maximal learning rates, from low to high.
        in_soups: Whether the weights of its trainings are averaged: all are those of one bucket.
    """

    changes: Mapping[str, Any]
    # Of the first seed, 3e-3 is 7 to 10 points worse than 1e-3 in three of the methods that have
    # these rates, and within a point of it in the other three, all with layer decay.
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    in_soups: bool = True


METHODS = {
    FULL: Method({}),
    "head first": Method(HEAD_FIRST),
    "layer decay 0.8": Method({"layer_decay": 0.8}),
    "layer decay 0.65": Method({"layer_decay": 0.65}),
    "head first + layer decay 0.8": Method(HEAD_FIRST | {"layer_decay": 0.8}),
    "head first + layer decay 0.65": Method(HEAD_FIRST | {"layer_decay": 0.65}),
    FROZEN: Method({"backbone": "frozen", "epochs": 30}, (3e-3, 1e-2), in_soups=False),
    SCRATCH: Method({"backbone": "scratch", "weights": "none"}, (1e-3, 3e-3), in_soups=False),
}
EVERYTHING = "all of these"
#: Candidates of a soup are at most so far below the best one's validation accuracy.
SOUP_RANGE = 0.01


@dataclass(frozen=True)
class Run:
    """One training on the second half of the classes.

    Attributes:
        method: Its name.
        seed: Of the recipe.
        rate: Its maximal learning rate.
    """

    method: str
    seed: int
    rate: float

    @property
    def folder_name(self) -> str:
        """Of its checkpoints."""
        return f"{self.method} {self.seed} {self.rate:g}".replace(" ", "-")


def runs(seeds: int) -> Iterator[Run]:
    """All trainings, seed after seed."""
    for seed in range(seeds):
        for name, method in METHODS.items():
            for rate in method.rates:
                yield Run(name, seed, rate)
