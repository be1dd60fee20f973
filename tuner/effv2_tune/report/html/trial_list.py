"""The table of all trials as HTML: sorted and filtered in the page, read without scripts too."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from effv2_tune.report.analysis import STATE_WORDS
from effv2_tune.report.quantities import label_of, short, time_unit
from effv2_tune.report.table import parameter_names, trial_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.report.analysis import Analysis

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
#: Columns for which a printed page has no room.
DETAILS = frozenset({*BESIDE_TIMES, "step_bucket_milliseconds", "remarks"})


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        key: Of the row.
        header: With the unit.
        kind: How the value is written.
        divisor: For times, the seconds of the header's unit.
    """

    key: str
    header: str
    kind: Literal["value", "quality", "time", "words"] = "value"
    divisor: float = 1.0

    @property
    def attribute(self) -> str:
        """The class attribute of its cells: words stand left, details are not printed."""
        classes = [
            *(["word"] if self.kind == "words" else []),
            *(["long"] if self.key == "remarks" else []),
            *(["detail"] if self.key in DETAILS else []),
        ]
        return f' class="{" ".join(classes)}"' if classes else ""


def trials_html(findings: Analysis) -> str:
    """Controls and table; the rows of the front first, in the order of ``trial_rows``."""
    rows = trial_rows(findings.given.trials, findings.front)
    columns = _columns(findings, rows)
    head = "".join(
        f'<th scope="col"{column.attribute}>'
        f'<button type="button">{html.escape(column.header)}</button></th>'
        for column in columns
    )
    body = "".join(_row_html(row, columns, findings) for row in rows)
    return (
        f"{_controls(findings)}"
        '<div class="scroll" role="region" tabindex="0" aria-label="All trials">'
        f'<table id="trials-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        '</div><p class="quiet after">Rows of the front are marked. Training time is '
        "that of the standard run; the times from wall on are what the trial itself took.</p>"
    )


def _columns(findings: Analysis, rows: Sequence[dict[str, Any]]) -> list[Column]:
    quality = label_of(findings.given.quality)
    several = len(findings.devices) > 1
    stopped = any(row["state"] != "complete" and row["rung_quality"] is not None for row in rows)
    searched = parameter_names(findings.given.trials)
    columns = [
        Column("trial", "trial"),
        Column("state", "state", "words"),
        *([Column("device", "device", "words")] if several else []),
        Column("quality", f"validation {quality}", "quality"),
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
    return f"{label_of(parameter)} (px)" if parameter == "resolution" else label_of(parameter)


def _kind(rows: Sequence[dict[str, Any]], name: str) -> Literal["value", "words"]:
    return "words" if any(isinstance(row[name], str) for row in rows) else "value"


def _time_column(key: str, header: str, rows: Sequence[dict[str, Any]]) -> Column:
    unit = time_unit(max((row[key] or 0.0 for row in rows), default=0.0))
    sign = {"seconds": "s", "minutes": "min", "hours": "h"}[unit.name]
    return Column(key, f"{header} ({sign})", "time", unit.seconds)


def _row_html(row: dict[str, Any], columns: Sequence[Column], findings: Analysis) -> str:
    cells = "".join(_cell(row, column, findings) for column in columns)
    classes = f"{row['state']}{' front' if row['on_front'] else ''}"
    return f'<tr class="{classes}" data-state="{row["state"]}">{cells}</tr>'


def _cell(row: dict[str, Any], column: Column, findings: Analysis) -> str:
    value = row.get(column.key)
    text = html.escape(_cell_text(row, column, findings))
    if column.kind == "words":
        return f"<td{column.attribute}>{text}</td>"
    raw = "" if value is None else html.escape(str(value))
    return f'<td{column.attribute} data-value="{raw}">{text}</td>'


def _cell_text(row: dict[str, Any], column: Column, findings: Analysis) -> str:
    if column.key == "state":
        return _state_words(row, findings)
    if column.key == "remarks":
        return "; ".join(text for text in (row["reason"], row["notes"]) if text)
    value = row[column.key]
    if value is None:
        return ""
    if column.kind == "quality":
        return f"{value:.4f}"
    if column.kind == "time":
        return f"{value / column.divisor:,.1f}"
    return short(value)


def _state_words(row: dict[str, Any], findings: Analysis) -> str:
    if row["trial"] in findings.knees:
        return "front, knee"
    return "front" if row["on_front"] else STATE_WORDS[row["state"]]


def _controls(findings: Analysis) -> str:
    options = "".join(
        f'<option value="{state}">{STATE_WORDS[state]} ({count})</option>'
        for state, count in findings.states.items()
    )
    return (
        '<div class="bar js"><input id="filter-words" type="search" '
        'placeholder="Filter, such as: b1 diverged" aria-label="Show only trials with these words">'
        f'<select id="filter-state" aria-label="State"><option value="">every state</option>'
        f'{options}</select><label><input id="filter-front" type="checkbox"> front only</label>'
        '<span id="filter-shown" class="quiet" role="status"></span></div>'
    )
