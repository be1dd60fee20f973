"""Sums the workers' time by kind of work: training, compilation, evaluation, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import network_of
from effv2_tune.report.figures.palette import TIME_COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.study.trial import Trial

MOST_BUCKETS = 12  # bars; more are hard to read
TRAINING = "training, complete trials"


def spent_seconds(trials: Iterable[Trial]) -> dict[str, float]:
    """Seconds of wall time by kind of work; the parts are those of ``palette.TIME_COLOURS``."""
    total = dict.fromkeys(TIME_COLOURS, 0.0)
    for trial in trials:
        times = trial.times
        training = TRAINING if trial.state == "complete" else "training, other trials"
        parts = {
            training: times.train,
            "evaluation": times.evaluate,
            "compilation": times.compile,
            "extracting features": times.extract,
            "measuring step times": times.measure,
            "building networks": times.build,
            "checkpoints": times.checkpoint,
        }
        # Parts that overlap (a checkpoint written while training goes on) may exceed the wall.
        parts["waiting and the rest"] = max(0.0, times.wall - sum(parts.values()))
        for part, seconds in parts.items():
            total[part] += seconds
    return total


def spent_by_bucket(trials: Sequence[Trial]) -> list[tuple[str, dict[str, float]]]:
    """The same for each bucket, the longest first; the shortest of many share one last entry."""
    members: dict[str, list[Trial]] = {}
    for trial in trials:
        label = trial.bucket.label if trial.bucket is not None else network_of(trial)
        members.setdefault(label, []).append(trial)
    bars = [(label, spent_seconds(group)) for label, group in members.items()]
    bars = [(label, parts) for label, parts in bars if sum(parts.values()) > 0]
    bars.sort(key=lambda bar: -sum(bar[1].values()))
    if len(bars) <= MOST_BUCKETS:
        return bars
    head, tail = bars[: MOST_BUCKETS - 1], bars[MOST_BUCKETS - 1 :]
    rest = {part: sum(parts[part] for _, parts in tail) for part in tail[0][1]}
    return [*head, (f"{len(tail)} other buckets", rest)]


def saved_seconds(trials: Iterable[Trial]) -> float:
    """Training time saved by pruning: the projected seconds minus those spent."""
    return sum(
        max(0.0, trial.rungs[-1].projected_seconds - trial.times.train)
        for trial in trials
        if trial.state == "pruned" and trial.rungs
    )
