"""Tabulates the trials for the page, the commands and the notebook."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from effv2_tune.report.analysis import (
    device_of,
    network_of,
    pixels_of,
    variant_of,
)
from effv2_tune.report.quantities import label_of, percent, short, with_error
from effv2_tune.report.step_times import interval_of, seconds_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from effv2_tune.report.analysis import Analysis, DeviceAnalysis
    from effv2_tune.report.candidates import Expectation
    from effv2_tune.study.trial import Trial

MILLISECONDS = 1000.0
_INDENT = 7 * " "
_WIDEST = 10_000  # characters
#: Columns of ``front_rows`` with text; the others hold numbers and are right-aligned.
TEXT_COLUMNS = ("network", "remark", "state")
#: The remark of a trial that is not on the front, but cannot be distinguished from it.
POSSIBLE_REMARK = "possible"


def trial_rows(
    trials: Sequence[Trial],
    front: Collection[int],
    expected: Mapping[int, Expectation] | None = None,
) -> list[dict[str, Any]]:
    """One row for each trial: config, outcome and times, with units in the names.

    Args:
        trials: In any state.
        front: Numbers of the trials on the front (``Analysis.front``).
        expected: What to expect of complete trials, by number (``Analysis.expected``).

    Returns:
        Rows with the same keys in the same order, those on the front first and fastest first,
        then the others by number. A missing value is ``None``. Searched parameters keep their
        names.
    """
    parameters = parameter_names(trials)
    rows = [
        _row(
            trial,
            trial.number in front,
            parameters,
            None if expected is None else expected.get(trial.number),
        )
        for trial in trials
    ]
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


def to_frame(
    trials: Sequence[Trial],
    front: Collection[int],
    expected: Mapping[int, Expectation] | None = None,
) -> pd.DataFrame:
    """The rows of ``trial_rows`` as a pandas frame, indexed by the trial's number."""
    import pandas as pd

    rows = trial_rows(trials, front, expected)
    columns = list(rows[0]) if rows else ["trial", "on_front", "state", "quality", "train_seconds"]
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def front_rows(analysis: Analysis, device: DeviceAnalysis) -> list[dict[str, str]]:
    """The front of one device as text, by column header: fastest first.

    Trials that cannot be distinguished from the front follow, fastest first.
    """
    parameters = [
        name
        for name in parameter_names(device.front)
        # They are the network.
        if name not in ("variant", "resolution", "evaluation_resolution")
    ]
    return [
        {
            "trial": str(trial.number),
            **_quality_cells(analysis, device, trial),
            "training time": seconds_text(trial),
            "network": network_of(trial),
            "remark": POSSIBLE_REMARK if trial in device.possible else device.remark(trial),
            **{label_of(name): short(trial.config.get(name)) for name in parameters},
        }
        for trial in (*device.front, *device.possible)
    ]


def _quality_cells(analysis: Analysis, device: DeviceAnalysis, trial: Trial) -> dict[str, str]:
    """The measured quality and, where its error is known, what to expect on other images."""
    header = f"validation {label_of(analysis.study.quality)}"
    its = device.expected.get(trial.number)
    if its is None:
        return {header: f"{device.qualities[trial.number]:.4f}"}
    estimate = its.estimate
    trainings = f" ({estimate.replicates})" if estimate.replicates > 1 else ""
    return {
        header: f"{estimate.raw:.4f}{trainings}",
        "expected": with_error(estimate.quality, estimate.standard_error),
        "on front": percent(its.on_front),
    }


def front_table(analysis: Analysis, device: DeviceAnalysis) -> Table:
    """The front of one device as a table for a terminal that is wide enough."""
    from rich.markup import escape
    from rich.table import Table

    rows = front_rows(analysis, device)
    table = Table(title=f"Pareto front on {escape(device.device)}", title_justify="left")
    for header in rows[0] if rows else ():
        table.add_column(escape(header), justify="left" if header in TEXT_COLUMNS else "right")
    for row in rows:
        style = "bold" if row["remark"] not in ("", POSSIBLE_REMARK) else None
        table.add_row(*(escape(cell) for cell in row.values()), style=style)
    return table


def front_text(analysis: Analysis, device: DeviceAnalysis) -> str:
    """The same in plain characters: columns two spaces apart, no colours, no frame."""
    rows = front_rows(analysis, device)
    return "\n".join(aligned(rows, list(rows[0]))) if rows else "no trial is complete yet"


def fits(table: Table, console: Console) -> bool:
    """Whether a console is wide enough for a table."""
    unlimited = console.options.update(max_width=_WIDEST)
    return console.measure(table, options=unlimited).maximum <= console.width


def narrow_front_text(analysis: Analysis, device: DeviceAnalysis, width: int) -> str:
    """The same for a terminal of few characters: below each trial is what does not fit."""
    quality = label_of(analysis.study.quality)
    names = {f"validation {quality}": quality, "training time": "time"}
    rows = [
        {names.get(header, header): cell for header, cell in row.items()}
        for row in front_rows(analysis, device)
    ]
    return folded(rows, list(rows[0])[: list(rows[0]).index("remark")], width)


def folded(rows: Sequence[dict[str, str]], headers: Sequence[str], width: int) -> str:
    """Rows of cells as aligned columns, with the cells that do not fit below each row.

    Args:
        rows: Cells by header; the same headers in each.
        headers: Those that may be columns, the most important first.
        width: The most characters of a line.
    """
    kept = list(headers)
    while max(map(len, lines := aligned(rows, kept))) > width and len(kept) > 1:
        kept.pop()
    below = [_wrapped(_details(row, kept), width) for row in rows]
    pairs = zip(lines[1:], below, strict=True)
    return "\n".join([lines[0], *(text for pair in pairs for text in pair if text)])


def _details(row: dict[str, str], kept: Collection[str]) -> list[str]:
    """The cells of a row that are not in columns, as words."""
    return [
        cell if header in TEXT_COLUMNS else f"{header} {cell}"
        for header, cell in row.items()
        if header not in kept and cell
    ]


def _wrapped(parts: Sequence[str], width: int) -> str:
    """Parts joined by commas, in indented lines of at most ``width`` characters."""
    # Parts are kept whole: a number is not torn from its name.
    text = ", ".join(part.replace(" ", "\0") for part in parts)
    return textwrap.fill(
        text,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")


def aligned(rows: Sequence[dict[str, str]], headers: Sequence[str]) -> list[str]:
    """A line of headers and one for each row, in columns two spaces apart."""
    widths = [max(len(header), *(len(row[header]) for row in rows)) for header in headers]
    lines = [list(headers), *([row[header] for header in headers] for row in rows)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return [line.rstrip() for line in padded]


def _row(
    trial: Trial,
    on_front: bool,  # noqa: FBT001 (a fact, not a switch)
    parameters: Sequence[str],
    its: Expectation | None,
) -> dict[str, Any]:
    measurement = trial.measurement if trial.state == "complete" else None
    rung = trial.rungs[-1] if trial.rungs else None
    scores = trial.scores
    times = trial.times
    low, high = interval_of(trial) or (None, None)
    return {
        "trial": trial.number,
        "on_front": on_front,
        "state": trial.state,
        "quality": None if measurement is None else measurement.quality,
        "train_seconds": None if measurement is None else measurement.train_seconds,
        **_expected_values(its),
        "seconds_low": low,
        "seconds_high": high,
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
        "replicate_of": trial.replicate_of,
        "reason": trial.reason,
        "notes": "; ".join(trial.notes),
        "started": trial.started,
        "ended": trial.ended,
    }


def _expected_values(its: Expectation | None) -> dict[str, Any]:
    return {
        "standard_error": None if its is None else its.standard_error,
        "expected_quality": None if its is None else its.estimate.quality,
        "expected_standard_error": None if its is None else its.estimate.standard_error,
        "expected_low": None if its is None else its.estimate.low,
        "expected_high": None if its is None else its.estimate.high,
        "on_front_probability": None if its is None else its.on_front,
        "trainings": None if its is None else its.estimate.replicates,
    }
