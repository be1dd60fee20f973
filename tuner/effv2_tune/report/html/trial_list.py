"""Prepares the table of all trials: columns with units, cells with the values to sort by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from effv2_tune.report.quantities import label_of, percent, short, time_unit
from effv2_tune.report.tables.trials import parameter_names, trial_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.study.trial import Trial

#: Columns of times: the row's key and the header, which gets its unit from the largest value.
BESIDE_TIMES = {
    "wall_seconds": "wall",
    "training_wall_seconds": "training",
    "evaluate_seconds": "evaluation",
    "compile_seconds": "compilation",
    "build_seconds": "building",
    "measure_seconds": "measuring",
    "checkpoint_seconds": "checkpoints",
}
#: Columns left out of a printed page.
DETAILS = frozenset({*BESIDE_TIMES, "step_bucket_milliseconds", "remarks"})
#: Parameters whose unit is pixels.
_PIXELS = ("resolution", "evaluation_resolution")


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        key: Of the row.
        header: With the unit.
        kind: The format of its values.
        divisor: For times, the seconds of the header's unit.
    """

    key: str
    header: str
    kind: Literal["value", "quality", "share", "time", "words"] = "value"
    divisor: float = 1.0

    @property
    def unit(self) -> float | None:
        """What a number of the header's unit is in that of the values; None for words."""
        return None if self.kind == "words" else self.divisor

    @property
    def classes(self) -> str:
        """CSS classes of its cells: text is left-aligned, details are not printed."""
        classes = {"word": self.kind == "words", "long": self.key == "remarks"}
        classes["detail"] = self.key in DETAILS
        return " ".join(name for name, applies in classes.items() if applies)


#: How sure the quality is, and the front.
CERTAINTY = (
    Column("standard_error", "standard error", "quality"),
    Column("expected_quality", "expected", "quality"),
    Column("on_front_probability", "on front", "share"),
)


class Cell(NamedTuple):
    """The content of a cell.

    Attributes:
        value: What it is sorted by.
        text: What it shows.
    """

    value: Any
    text: str


class Row(NamedTuple):
    """The row of a trial.

    Attributes:
        number: Of the trial.
        state: Likewise.
        classes: CSS classes.
        cells: With their columns.
    """

    number: int
    state: str
    classes: str
    cells: Sequence[tuple[Column, Cell]]


class TrialTable(NamedTuple):
    """The table of all trials."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def trial_table(analysis: Analysis) -> TrialTable:
    """One row for each trial, those of the front first, in the order of ``trial_rows``."""
    rows = trial_rows(analysis.study.trials, analysis.front, analysis.expected)
    columns = _columns(analysis, rows)
    trials = {trial.number: trial for trial in analysis.study.trials}
    return TrialTable(columns, [_row(row, columns, trials[row["trial"]], analysis) for row in rows])


def _columns(analysis: Analysis, rows: Sequence[dict[str, Any]]) -> list[Column]:
    quality = label_of(analysis.study.quality)
    several = len(analysis.devices) > 1
    stopped = any(row["state"] != "complete" and row["rung_quality"] is not None for row in rows)
    searched = parameter_names(analysis.study.trials)
    columns = [
        Column("trial", "trial"),
        Column("state", "state", "words"),
        *([Column("device", "device", "words")] if several else []),
        Column("quality", f"validation {quality}", "quality"),
        *(CERTAINTY if analysis.expected else ()),
        _time_column("train_seconds", "training time", rows),
        *([] if "variant" in searched else [Column("network_variant", "variant", "words")]),
        *([] if "resolution" in searched else [Column("network_pixels", "resolution (px)")]),
        *(Column(name, _with_unit(name), _kind(rows, name)) for name in searched),
        Column("epochs_trained", "epochs trained"),
    ]
    if stopped:
        columns += [
            Column("rung_quality", f"{quality} at last rung", "quality"),
            _time_column("projected_seconds", "projected time", rows),
        ]
    columns += [
        _time_column(key, header, rows)
        for key, header in BESIDE_TIMES.items()
        if any(row[key] for row in rows)
    ]
    columns.append(Column("step_bucket_milliseconds", "step (ms)"))
    if any(row["reason"] or row["notes"] for row in rows):
        columns.append(Column("remarks", "remarks", "words"))
    return columns


def _with_unit(parameter: str) -> str:
    return f"{label_of(parameter)} (px)" if parameter in _PIXELS else label_of(parameter)


def _kind(rows: Sequence[dict[str, Any]], name: str) -> Literal["value", "words"]:
    return "words" if any(isinstance(row[name], str) for row in rows) else "value"


def _time_column(key: str, header: str, rows: Sequence[dict[str, Any]]) -> Column:
    unit = time_unit(max((row[key] or 0.0 for row in rows), default=0.0))
    sign = {"seconds": "s", "minutes": "min", "hours": "h"}[unit.name]
    return Column(key, f"{header} ({sign})", "time", unit.seconds)


def _row(row: dict[str, Any], columns: Sequence[Column], trial: Trial, analysis: Analysis) -> Row:
    cells = [
        (column, Cell(_rounded(row.get(column.key)), _cell_text(row, column, trial, analysis)))
        for column in columns
    ]
    return Row(
        row["trial"], row["state"], f"{row['state']}{' front' if row['on_front'] else ''}", cells
    )


def _rounded(value: Any) -> Any:
    """Numbers to eight significant digits: all digits would be a tenth of a large page."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


def _cell_text(row: dict[str, Any], column: Column, trial: Trial, analysis: Analysis) -> str:
    if column.key == "state":
        return analysis.state_of(trial)
    if column.key == "remarks":
        return "; ".join(text for text in (row["reason"], row["notes"]) if text)
    value = row[column.key]
    if value is None:
        return ""
    texts: dict[str, Callable[[], str]] = {
        "quality": lambda: f"{value:.4f}",
        "share": lambda: percent(value),
        "time": lambda: f"{value / column.divisor:,.1f}{_time_error(row, column)}",
    }
    return texts.get(column.kind, lambda: short(value))()


def _time_error(row: dict[str, Any], column: Column) -> str:
    """Half of the interval of the training time; empty where it has none."""
    if column.key != "train_seconds" or row["seconds_low"] is None:
        return ""
    half = (row["seconds_high"] - row["seconds_low"]) / 2
    return f" \N{PLUS-MINUS SIGN} {half / column.divisor:.1f}"
