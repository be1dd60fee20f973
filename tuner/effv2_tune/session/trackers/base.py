"""Defines what a tracker receives of a trial, and what every tracker can do."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.study.trial import Epoch, Trial

Scalar = str | int | float | bool


@dataclass(frozen=True)
class TrialPart:
    """What is new of a trial since it was logged last.

    Attributes:
        study: The study's name.
        identity: Of the study and the trial: the same in every call, and of no other study.
        trial: As it is now.
        logged: Its epochs that were logged before.
        quality: The score that is traded against time.
    """

    study: str
    identity: str
    trial: Trial
    logged: int
    quality: str

    @property
    def name(self) -> str:
        """Of the run: ``trial-0012``."""
        return f"trial-{self.trial.number:04d}"

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Those that were not logged before."""
        return self.trial.curve[self.logged :]

    @property
    def config(self) -> dict[str, Scalar]:
        """The config, and what else distinguishes trials; mappings and lists as JSON."""
        config = {name: _scalar(value) for name, value in self.trial.config.items()}
        if self.trial.replicate_of is not None:
            config["replicate_of"] = self.trial.replicate_of
        return config

    @property
    def results(self) -> dict[str, float]:
        """The objectives of a complete trial, and the time that it took; empty before its end."""
        if not self.trial.has_ended:
            return {}
        found = {"wall_seconds": self.trial.times.wall}
        measurement = self.trial.measurement
        if measurement is not None and self.trial.state == "complete":
            found[f"objective/{self.quality}"] = measurement.quality
            found["objective/train_seconds"] = measurement.train_seconds
        return found

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result of its config; pruned trials have one."""
        return self.trial.state in ("failed", "infeasible", "diverged")

    def epoch_times(self) -> Iterator[tuple[Epoch, float]]:
        """The new epochs, each with about when it ended, in seconds since 1970."""
        at = 0.0 if self.trial.started is None else self.trial.started.timestamp()
        for epoch in self.trial.curve:
            at += epoch.seconds
            if epoch.epoch > self.logged:
                yield epoch, at

    @property
    def end_time(self) -> float:
        """When it ended, in seconds since 1970; 0 where that was not recorded."""
        return 0.0 if self.trial.ended is None else self.trial.ended.timestamp()


class Tracker(Protocol):
    """An experiment tracker, with one run for each trial."""

    def log(self, part: TrialPart) -> None:
        """Add the new epochs of a trial to its run, and its results once it has ended."""

    def close(self) -> None:
        """Write what is left, and end."""


def metrics_of(epoch: Epoch) -> dict[str, float]:
    """The curves of a trial by name, at one epoch; without values that are NaN or infinite."""
    found = {
        "train/loss": epoch.train_loss,
        "train/accuracy": epoch.train_accuracy,
        "train/seconds": epoch.seconds,
        "learning_rate": epoch.learning_rate,
        **{f"validation/{name}": value for name, value in epoch.scores.model_dump().items()},
    }
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _scalar(value: object) -> Scalar:
    return value if isinstance(value, str | int | float) else json.dumps(value)
