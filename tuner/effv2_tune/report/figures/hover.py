"""Formats the hover text of a trial: its whole config and all times."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from effv2_tune.report.analysis import STATE_WORDS, network_of
from effv2_tune.report.quantities import (
    human_seconds,
    label_of,
    percent,
    pluralized,
    short,
    with_error,
)
from effv2_tune.report.step_times import seconds_text

if TYPE_CHECKING:
    from effv2_tune.report.candidates import Expectation
    from effv2_tune.study.trial import Times, Trial

LONGEST_VALUE = 48  # characters; a longer one would push the text off a small screen


def hover_text(trial: Trial, quality: str, its: Expectation | None = None) -> str:
    """Lines about a trial, joined by ``<br>``; every text of the study is escaped.

    Args:
        trial: The trial.
        quality: The score of the study.
        its: What to expect of the trial's config.
    """
    lines = [f"<b>Trial {trial.number}</b>, {_plain(network_of(trial))}"]
    if trial.measurement is not None and trial.state == "complete":
        lines.append(
            f"{label_of(quality)} <b>{trial.measurement.quality:.4f}</b> in "
            f"<b>{seconds_text(trial)}</b>"
        )
        if its is not None:
            lines += _expected_lines(its)
    elif trial.rungs:
        rung = trial.rungs[-1]
        lines += [
            f"{STATE_WORDS[trial.state]}, <b>not completed</b>",
            f"{label_of(quality)} {rung.quality:.4f} after {pluralized(rung.epoch, 'epoch')}",
            f"projected time {human_seconds(rung.projected_seconds)}",
        ]
    lines.append("")
    lines += [f"{_plain(label_of(key))}: {_plain(short(v))}" for key, v in trial.config.items()]
    lines += ["", *_time_lines(trial.times)]
    lines += [f"<i>{_plain(note)}</i>" for note in trial.notes]
    return "<br>".join(lines)


def _expected_lines(its: Expectation) -> list[str]:
    estimate = its.estimate
    measured = f"standard error {its.standard_error:.4f}"
    if estimate.replicates > 1:
        measured = f"mean of {estimate.replicates} trainings: {estimate.raw:.4f}"
    expected = with_error(estimate.quality, estimate.standard_error)
    return [
        measured,
        f"expected {expected} (90 %: {estimate.low:.4f} to {estimate.high:.4f})",
        f"on the front with probability {percent(its.on_front)}",
    ]


def _time_lines(times: Times) -> list[str]:
    spent = {
        "training": times.train,
        "evaluation": times.evaluate,
        "compilation": times.compile,
        "building": times.build,
        "extracting features": times.extract,
        "measuring": times.measure,
        "checkpoints": times.checkpoint,
    }
    parts = [f"{name} {human_seconds(amount)}" for name, amount in spent.items() if amount > 0]
    lines = [f"wall {human_seconds(times.wall)}: {', '.join(parts[:3])}"]
    if parts[3:]:
        lines.append(", ".join(parts[3:]))
    if times.step_bucket > 0:
        lines.append(
            f"step {1000 * times.step_bucket:.3g} ms (bucket), "
            f"{1000 * times.step_median:.3g} ms (median of the trial)"
        )
    return lines


def _plain(text: str) -> str:
    cut = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return html.escape(cut, quote=False)
