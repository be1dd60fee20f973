"""Tabulates all trials as text: for a terminal of any width, and for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.report.analysis import network_of
from effv2_tune.report.quantities import label_of, short
from effv2_tune.report.step_times import seconds_text
from effv2_tune.report.tables.trials import aligned, folded, parameter_names, trial_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.study.trial import Trial

#: Parameters that have a column of their own: variant and resolution are the network.
_SHOWN = ("variant", "resolution", "epochs")


def trials_text(analysis: Analysis, *, columns: Sequence[str] = (), width: int | None) -> str:
    """All trials, those on the Pareto front first; numbers are never cut.

    Args:
        analysis: Of the study.
        columns: Keys of ``table.trial_rows``; the most important ones if left out.
        width: The most characters of a line; what does not fit in columns follows below each
            trial. None for one line for each trial.
    """
    rows = chosen_rows(analysis, columns)
    if not rows:
        return "no trial has started yet"
    cells = [
        {key: short(value) if value is not None else "" for key, value in r.items()} for r in rows
    ]
    if not columns:
        trials = {trial.number: trial for trial in analysis.study.trials}
        cells = _summaries(analysis, [trials[row["trial"]] for row in rows])
    headers = [header for header in cells[0] if header != "remark"]
    if width is None:
        return "\n".join(aligned(cells, list(cells[0])))
    return folded(cells, headers, width)


def chosen_rows(analysis: Analysis, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of all trials with some of their columns, in this order; all if none are named.

    Raises:
        TuneError: There is no such column.
    """
    rows = trial_rows(analysis.study.trials, analysis.front, analysis.expected)
    if not columns or not rows:
        return rows
    for name in columns:
        if name not in rows[0]:
            raise TuneError(
                f"There is no column {name!r}{did_you_mean(name, rows[0]) or '.'}",
                hint=f"Columns: {', '.join(rows[0])}.",
            )
    return [{name: row[name] for name in columns} for row in rows]


def _summaries(analysis: Analysis, trials: Sequence[Trial]) -> list[dict[str, str]]:
    """Number, state, quality, time and config of each trial, as text by header."""
    names = [name for name in parameter_names(trials) if name not in _SHOWN]
    quality = label_of(analysis.study.quality)
    has_remarks = any(trial.reason or trial.notes for trial in trials)
    return [
        {
            "trial": str(trial.number),
            "state": analysis.state_of(trial),
            quality: _quality(trial),
            "time": seconds_text(trial) if trial.measurement is not None else "",
            "network": network_of(trial),
            "epochs": _epochs(trial),
            **{label_of(name): _value(trial, name) for name in names},
            **({"remark": _remark(trial)} if has_remarks else {}),
        }
        for trial in trials
    ]


def _quality(trial: Trial) -> str:
    """The measured quality; of a trial that is not complete, that at its last rung."""
    if trial.measurement is not None and trial.state == "complete":
        return f"{trial.measurement.quality:.4f}"
    return f"{trial.rungs[-1].quality:.4f}" if trial.rungs else ""


def _epochs(trial: Trial) -> str:
    """The epochs trained, and of how many where it was not trained to its end."""
    done = len(trial.curve)
    if trial.recipe is None or done == trial.recipe.epochs:
        return str(done)
    return f"{done} of {trial.recipe.epochs}"


def _remark(trial: Trial) -> str:
    """Why it ended, where that is no matter of course, and the notes of the search."""
    return "; ".join(text for text in (trial.reason, *trial.notes) if text)


def _value(trial: Trial, name: str) -> str:
    return short(trial.config[name]) if name in trial.config else ""
