"""What a study has found so far, read from its folder, and shown."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.report.analysis import find
from effv2_tune.session.location import (
    RUNS,
    as_arguments,
    check_database,
    database_exists,
    is_database,
    shown,
)
from effv2_tune.session.report_input import report_input

if TYPE_CHECKING:
    import pandas as pd

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.input import ReportInput
    from effv2_tune.search.storage.snapshot import StudyRecord


class Results:
    """One reading of a study: taken when first asked for, and then the same for every view.

    Args:
        place: The study's folder, or a database URL.
        name: Of the study, where ``place`` holds several.

    Raises:
        TuneError: From every view, if there is no study there.
    """

    def __init__(self, place: Path | str, *, name: str | None = None) -> None:
        self._place = place
        self._name = name

    @cached_property
    def record(self) -> StudyRecord:
        """Everything that the storage holds."""
        from effv2_tune.search.storage.snapshot import read_study

        self._look_at_the_place()
        try:
            return read_study(self._place, name=self._name)
        except TuneError as error:
            said = error.message.replace(str(self._place), shown(self._place))
            raise TuneError(said, hint=error.hint, exit_code=error.exit_code) from None

    @property
    def folder(self) -> Path:
        """The study's folder; where its trials lie in a database, the one it has by default."""
        return RUNS / self.record.plan.name if is_database(self._place) else Path(self._place)

    @property
    def arguments(self) -> str:
        """What names the study on a command line, for the commands that are suggested next."""
        return as_arguments(self._place, self._name or self.record.plan.name)

    @cached_property
    def given(self) -> ReportInput:
        """The record as the report takes it."""
        written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by effv2-tune {version('effv2-tune')}"
        return report_input(self.record, folder=self.arguments, written=written)

    @cached_property
    def findings(self) -> Analysis:
        """What the report finds in it: front, knee, and so on."""
        return find(self.given)

    @property
    def has_front(self) -> bool:
        """Whether any trial is complete."""
        return bool(self.findings.front)

    @property
    def has_failed(self) -> bool:
        """Whether the study gave up: nothing complete came of it, or trial after trial failed."""
        ended = self.record.ended_by
        return not self.has_front or (ended is not None and ended.kind == "failing")

    @property
    def has_ended(self) -> bool:
        """Whether the study's budget is spent."""
        return self.record.ended_by is not None

    def frame(self) -> pd.DataFrame:
        """Every trial, one row each, those on the front first; units stand in the names."""
        from effv2_tune.report.table import to_frame

        return to_frame(self.record.trials, self.findings.front)

    def status(self) -> dict[str, Any]:
        """State, counts and front as plain data."""
        from effv2_tune.report.table import trial_rows

        rows = trial_rows(self.record.trials, self.findings.front)
        ended = self.record.ended_by
        return {
            "study": self.record.plan.name,
            "ended_by": None if ended is None else ended.reason,
            "quality": self.record.plan.quality,
            "states": dict(self.findings.states),
            "straying": {
                "trials": list(self.findings.straying.trials),
                "machines": self.findings.straying.machines,
            },
            "running": [_plain(row) for row in rows if row["state"] == "running"],
            "front": [_plain(row) for row in rows if row["on_front"]],
        }

    def print_front(self) -> None:
        """The front to stdout: a table for people, plain columns for a pipe."""
        from rich.console import Console

        from effv2_tune.report.table import front_table, front_text

        console = Console(highlight=False, soft_wrap=True)
        devices = self.findings.devices
        for device in devices:
            if console.is_terminal and device.front:
                console.print(front_table(self.findings, device), soft_wrap=False)
                continue
            if len(devices) > 1:
                console.print(f"on {device.device}:", markup=False)
            console.print(front_text(self.findings, device), markup=False)

    def print_status(self) -> None:
        """What was searched, what runs, and the front, to stdout."""
        from rich.console import Console

        from effv2_tune.report.text import search_sentence, state_sentence

        console = Console(highlight=False, soft_wrap=True)
        ended = self.record.ended_by
        console.print(f"{self.record.plan.name}: {search_sentence(self.findings)}", markup=False)
        console.print(state_sentence(self.findings), markup=False)
        for sentence in self.findings.straying.sentences():
            console.print(sentence, markup=False)
        for trial in self.record.trials:
            if trial.state == "running":
                done = f"epoch {len(trial.curve)}"
                total = "" if trial.recipe is None else f" of {trial.recipe.epochs}"
                console.print(f"running: trial {trial.number}, {done}{total}", markup=False)
        console.print("not ended" if ended is None else f"ended: {ended.reason}", markup=False)
        self.print_front()

    def trials_as(self, form: str) -> str:
        """Every trial as ``table``, ``csv`` or ``json`` text."""
        from effv2_tune.report.table import parameter_names, trial_rows

        trials = self.record.trials
        if form == "json":
            rows = trial_rows(trials, self.findings.front)
            return json.dumps([_plain(row) for row in rows], indent=2) + "\n"
        frame = self.frame()
        if form == "csv":
            return str(frame.to_csv())
        if frame.empty:
            return "no trial has begun yet\n"
        columns = ["on_front", "state", "quality", "train_seconds", "epochs_trained", "bucket"]
        notes = ["notes"] if frame["notes"].any() else []
        shown = frame[[*columns, *parameter_names(trials), *notes]]
        return str(shown.to_string(na_rep="")) + "\n"

    def report(self, path: Path) -> None:
        """Write the report to ``path``."""
        from effv2_tune.report.html.page import write_report

        write_report(self.given, path)

    def picture(self, path: Path) -> None:
        """Write the front as a picture; the suffix of ``path`` says which kind."""
        from effv2_tune.report.figures import write_picture

        write_picture(self.given, path)

    def _look_at_the_place(self) -> None:
        """Say what is the matter where reading would not: with a URL, or with half a study."""
        if is_database(self._place):
            url = str(self._place)
            check_database(url)
            if not database_exists(url):
                raise TuneError(
                    f"There is no database {shown(url)}.",
                    hint="A path from the root has four slashes: sqlite:////folder/file.db",
                )
        elif _is_half_a_study(Path(self._place)):
            raise TuneError(
                f"{self._place} has the logs of a study whose trials lie in a database.",
                hint="Give the URL that it was run with, and its name: URL --name NAME",
            )


def _is_half_a_study(folder: Path) -> bool:
    """Whether a study was run there with its storage elsewhere."""
    from effv2_tune.search.storage.snapshot import DATABASE

    return (folder / "events.jsonl").is_file() and not (folder / DATABASE).is_file()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row in what JSON has: dates as ISO 8601, and no number that is none."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
