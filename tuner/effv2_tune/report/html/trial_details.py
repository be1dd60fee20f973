"""Collects what the page shows of a pinned trial: facts, config, curves, times, export command."""

from __future__ import annotations

import html
import math
import shlex
from typing import TYPE_CHECKING, Any

from effv2_tune.report.analysis import network_of
from effv2_tune.report.quantities import human_seconds, label_of, percent, short, with_error
from effv2_tune.report.step_times import seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.study.trial import Epoch, Trial

Pairs = list[tuple[str, str]]


def trial_details(analysis: Analysis) -> dict[int, dict[str, Any]]:
    """The details of each trial as plain data, by its number.

    Curves have five significant digits: more than a figure can show.
    """
    return {trial.number: _details(analysis, trial) for trial in analysis.study.trials}


def _details(analysis: Analysis, trial: Trial) -> dict[str, Any]:
    label = trial.bucket.label if trial.bucket is not None else network_of(trial)
    return {
        "title": f"Trial {trial.number}: {network_of(trial)}",
        "facts": _facts(analysis, trial),
        "config": [(label_of(name), short(value)) for name, value in trial.config.items()],
        "times": _times(trial),
        "curves": _curves(trial.curve, analysis.study.quality),
        "command": export_command(analysis.study.folder, trial),
        # As the figure of the time spent names it.
        "bucket": html.escape(label),
    }


def export_command(folder: str, trial: Trial) -> str:
    """The command that exports a trial; empty where it cannot be exported."""
    if trial.state != "complete" or trial.replicate_of is not None:
        return ""
    return f"effv2-tune export {shlex.quote(folder)} --pick trial={trial.number} -o train.yaml"


def _facts(analysis: Analysis, trial: Trial) -> Pairs:
    quality = label_of(analysis.study.quality)
    facts = [("state", analysis.state_of(trial))]
    if trial.measurement is not None and trial.state == "complete":
        facts.append((f"validation {quality}", f"{trial.measurement.quality:.4f}"))
        facts.append(("training time", seconds_text(trial)))
        facts += _expected(analysis, trial)
    elif trial.rungs:
        rung = trial.rungs[-1]
        facts.append((f"{quality} after epoch {rung.epoch}", f"{rung.quality:.4f}"))
        facts.append(("projected time", human_seconds(rung.projected_seconds)))
    facts += [("reason", trial.reason)] if trial.reason else []
    return facts + [("note", note) for note in trial.notes]


def _expected(analysis: Analysis, trial: Trial) -> Pairs:
    its = analysis.expected.get(trial.number)
    if its is None:
        return []
    estimate = its.estimate
    return [
        ("expected", with_error(estimate.quality, estimate.standard_error)),
        ("90 % interval", f"{estimate.low:.4f} to {estimate.high:.4f}"),
        ("on the front with probability", percent(its.on_front)),
    ]


def _times(trial: Trial) -> Pairs:
    times = trial.times
    spent = {
        "wall": times.wall,
        "training": times.train,
        "evaluation": times.evaluate,
        "compilation": times.compile,
        "building": times.build,
        "extracting features": times.extract,
        "measuring": times.measure,
        "checkpoints": times.checkpoint,
    }
    found = [(name, human_seconds(amount)) for name, amount in spent.items() if amount > 0]
    if times.step_bucket > 0:
        found.append(("step of the bucket", f"{1000 * times.step_bucket:.3g} ms"))
        found.append(("median step of the trial", f"{1000 * times.step_median:.3g} ms"))
    if trial.ended is not None:
        found.append(("ended", f"{trial.ended:%Y-%m-%d %H:%M:%S} UTC"))
    return found


def _curves(curve: Sequence[Epoch], quality: str) -> list[tuple[str, list[float | None]]]:
    """Each curve with its name, one value for each epoch."""
    if not curve:
        return []
    curves = [(f"validation {label_of(quality)}", [e.scores.value_of(quality) for e in curve])]
    if quality != "loss":
        curves.append(("validation loss", [epoch.scores.loss for epoch in curve]))
    curves.append(("training loss", [epoch.train_loss for epoch in curve]))
    curves.append(("learning rate", [epoch.learning_rate for epoch in curve]))
    return [(name, [_rounded(value) for value in values]) for name, values in curves]


def _rounded(value: float) -> float | None:
    """To five significant digits; None, which JSON has, for NaN and infinity."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
