"""Tabulates the trials for the page, the commands and the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.report.analysis import (
    device_of,
    network_of,
    pixels_of,
    quality_of,
    seconds_of,
    variant_of,
)
from effv2_tune.report.quantities import human_seconds, label_of, short

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd
    from rich.table import Table

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.study.trial import Trial

MILLISECONDS = 1000.0
#: Columns of ``front_rows`` with text; the others hold numbers and are right-aligned.
TEXT_COLUMNS = ("network", "remark")


def trial_rows(trials: Sequence[Trial], front: Collection[int]) -> list[dict[str, Any]]:
    """One row for each trial: config, outcome and times, with units in the names.

    Args:
        trials: In any state.
        front: Numbers of the trials on the front (``Analysis.front``).

    Returns:
        Rows with the same keys in the same order, those on the front first and fastest first,
        then the others by number. A missing value is ``None``. Searched parameters keep their
        names.
    """
    parameters = parameter_names(trials)
    rows = [_row(trial, trial.number in front, parameters) for trial in trials]
    return sorted(
        rows,
        key=lambda row: (
            not row["on_front"],
            row["train_seconds"] if row["on_front"] else 0.0,
            row["trial"],
        ),
    )


def parameter_names(trials: Sequence[Trial]) -> list[str]:
    """The searched parameters, in the order in which configs name them."""
    return list(dict.fromkeys(key for trial in trials for key in trial.config))


def to_frame(trials: Sequence[Trial], front: Collection[int]) -> pd.DataFrame:
    """The rows of ``trial_rows`` as a pandas frame, indexed by the trial's number."""
    import pandas as pd

    rows = trial_rows(trials, front)
    columns = list(rows[0]) if rows else ["trial", "on_front", "state", "quality", "train_seconds"]
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def front_rows(analysis: Analysis, device: DeviceAnalysis) -> list[dict[str, str]]:
    """The front of one device as text, fastest first, by column header."""
    parameters = [
        name
        for name in parameter_names(device.front)
        if name not in ("variant", "resolution")  # they are the network
    ]
    return [
        {
            "trial": str(trial.number),
            f"validation {label_of(analysis.study.quality)}": f"{quality_of(trial):.4f}",
            "training time": human_seconds(seconds_of(trial)),
            "network": network_of(trial),
            "remark": device.remark(trial),
            **{label_of(name): short(trial.config.get(name)) for name in parameters},
        }
        for trial in device.front
    ]


def front_table(analysis: Analysis, device: DeviceAnalysis) -> Table:
    """The front of one device as a table for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    rows = front_rows(analysis, device)
    table = Table(title=f"Pareto front on {escape(device.device)}", title_justify="left")
    for header in rows[0] if rows else ():
        table.add_column(escape(header), justify="left" if header in TEXT_COLUMNS else "right")
    for row in rows:
        style = "bold" if row["remark"] else None
        table.add_row(*(escape(cell) for cell in row.values()), style=style)
    return table


def front_text(analysis: Analysis, device: DeviceAnalysis) -> str:
    """The same in plain characters: columns two spaces apart, no colours, no frame."""
    rows = front_rows(analysis, device)
    if not rows:
        return "no trial is complete yet"
    headers = list(rows[0])
    widths = [max(len(header), *(len(row[header]) for row in rows)) for header in headers]
    lines = [headers, *([row[header] for header in headers] for row in rows)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _row(trial: Trial, on_front: bool, parameters: Sequence[str]) -> dict[str, Any]:  # noqa: FBT001 (a fact, not a switch)
    measurement = trial.measurement if trial.state == "complete" else None
    rung = trial.rungs[-1] if trial.rungs else None
    scores = trial.scores
    times = trial.times
    return {
        "trial": trial.number,
        "on_front": on_front,
        "state": trial.state,
        "quality": None if measurement is None else measurement.quality,
        "train_seconds": None if measurement is None else measurement.train_seconds,
        **{name: trial.config.get(name) for name in parameters},
        "network_variant": variant_of(trial),
        "network_pixels": pixels_of(trial) or None,
        "rung_quality": None if rung is None else rung.quality,
        "rung_epoch": None if rung is None else rung.epoch,
        "projected_seconds": None if rung is None else rung.projected_seconds,
        "epochs_trained": len(trial.curve),
        "selected_epoch": trial.selected_epoch,
        **{
            f"validation_{name}": None if scores is None else getattr(scores, name)
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "top5", "loss")
        },
        "wall_seconds": times.wall,
        "training_wall_seconds": times.train,
        "evaluate_seconds": times.evaluate,
        "compile_seconds": times.compile,
        "build_seconds": times.build,
        "extract_seconds": times.extract,
        "measure_seconds": times.measure,
        "checkpoint_seconds": times.checkpoint,
        "step_bucket_milliseconds": times.step_bucket * MILLISECONDS,
        "step_median_milliseconds": times.step_median * MILLISECONDS,
        "bucket": None if trial.bucket is None else trial.bucket.label,
        "device": device_of(trial),
        "attempts": trial.attempts,
        "retry_of": trial.retry_of,
        "reason": trial.reason,
        "notes": "; ".join(trial.notes),
        "started": trial.started,
        "ended": trial.ended,
    }
