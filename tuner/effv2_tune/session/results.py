"""Reads the results of a study from its folder or database, and prints them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import write_text
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.report.analysis import analyse
from effv2_tune.session.location import (
    RUNS,
    as_arguments,
    check_database,
    database_exists,
    is_database,
    shown,
)
from effv2_tune.session.report_input import activity_sentence, report_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from effv2_tune.report.analysis import Analysis
    from effv2_tune.report.console import Console
    from effv2_tune.report.input import ReportInput
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study.trial import Trial


class Results:
    """The results of a study: read at the first access, and then the same for every view.

    Args:
        location: The study's folder, or a database URL.
        name: Of the study, where ``location`` holds several.

    Raises:
        TuneError: From every view, if there is no study.
    """

    def __init__(self, location: Path | str, *, name: str | None = None) -> None:
        self._location = location
        self._name = name

    @cached_property
    def record(self) -> StudyRecord:
        """Everything that the storage holds."""
        from effv2_tune.search.storage.snapshot import read_study

        self._check_location()
        return read_study(self._location, name=self._name)

    @property
    def folder(self) -> Path:
        """The study's folder; for a study in a database, its default folder."""
        return RUNS / self.record.plan.name if is_database(self._location) else Path(self._location)

    @property
    def arguments(self) -> str:
        """The study's arguments on a command line, for the commands that are suggested next."""
        return as_arguments(self._location, self._name or self.record.plan.name)

    @cached_property
    def input(self) -> ReportInput:
        """The record as the input of the report."""
        written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by effv2-tune {version('effv2-tune')}"
        return report_input(self.record, folder=self.arguments, written=written)

    @cached_property
    def analysis(self) -> Analysis:
        """The analysis of the report: Pareto front, knee, and so on."""
        return analyse(self.input)

    @cached_property
    def page(self) -> Analysis:
        """The same with what each worker did, from the log in the study's folder."""
        from effv2_tune.search.mirror.contents import EVENTS
        from effv2_tune.session.live.worker_times import study_timeline

        timeline = study_timeline(self.folder / EVENTS, self.record.trials)
        return replace(self.analysis, study=self.input.model_copy(update={"timeline": timeline}))

    @property
    def has_front(self) -> bool:
        """Whether any trial is complete."""
        return bool(self.analysis.front)

    @property
    def has_failed(self) -> bool:
        """Whether no trial is complete, or one has failed that was not retried."""
        from effv2_tune.search.storage.records import unretried

        return not self.has_front or bool(unretried(self.record.trials))

    @property
    def is_running(self) -> bool:
        """Whether a supervisor works on the study."""
        return self.record.activity.state == "running"

    def frame(self) -> pd.DataFrame:
        """All trials, one row each, those on the Pareto front first; with units in the names.

        Replicates have rows, too.
        """
        from effv2_tune.report.tables.trials import to_frame

        return to_frame(self.input.trials, self.analysis.front, self.analysis.expected)

    def status(self) -> dict[str, Any]:
        """State, counts and Pareto front as plain data."""
        from effv2_tune.report.tables.trials import trial_rows

        rows = trial_rows(self.input.trials, self.analysis.front, self.analysis.expected)
        ended, activity = self.record.ended_by, self.record.activity
        rates = self.record.learning_rates
        return {
            "study": self.record.plan.name,
            "state": activity.state,
            "since": None if activity.since is None else activity.since.isoformat(),
            "command": self.record.command or None,
            "ended_by": None if ended is None else ended.reason,
            "quality": self.record.plan.quality,
            "learning_rates": None if rates is None else rates.bounds,
            "states": dict(self.analysis.states),
            "replicates": len(self.input.trials) - len(self.input.searched),
            "timing_outliers": {
                "trials": list(self.analysis.timing_outliers.trials),
                "machines": self.analysis.timing_outliers.machines,
            },
            "uncertain_time_order": [
                list(pair) for device in self.analysis.devices for pair in device.order.uncertain
            ],
            "time_notes": list(self.input.time_notes),
            "running": [_plain(row) for row in rows if row["state"] == "running"],
            "paused": [_plain(row) for row in rows if row["state"] == "paused"],
            "interrupted": [_plain(row) for row in rows if row["state"] == "interrupted"],
            "front": [_plain(row) for row in rows if row["on_front"]],
            "possible_front": [
                _plain(row) for row in rows if row["trial"] in self.analysis.possible
            ],
            "contradictions": list(self.record.contradictions),
        }

    def print_front(self) -> None:
        """Print the Pareto front to stdout: a table on a terminal, plain columns in a pipe."""
        from effv2_tune.report.tables.trials import fits, front_table, front_text, narrow_front_text

        console = _stdout()
        devices = self.analysis.devices
        for device in devices:
            is_table = console.is_terminal and bool(device.front)
            table = front_table(self.analysis, device) if is_table else None
            if table is not None and fits(table, console):
                console.print(table)
                continue
            if len(devices) > 1:
                console.print(f"on {device.device}:", markup=False)
            text = front_text(self.analysis, device)
            if table is not None:
                text = narrow_front_text(self.analysis, device, console.width)
            console.print(text, markup=False)

    def print_status(self) -> None:
        """Print what is searched, the running trials and the Pareto front to stdout."""
        from effv2_tune.report.text import (
            certainty_sentences,
            search_sentence,
            state_sentence,
        )

        console = _stdout()
        console.print(f"{self.record.plan.name}: {search_sentence(self.analysis)}", markup=False)
        console.print(state_sentence(self.analysis), markup=False)
        if self.record.learning_rates is not None:
            console.print(f"learning rates: {self.record.learning_rates.sentence}", markup=False)
        for sentence in self.analysis.time_sentences():
            console.print(sentence, markup=False)
        for trial in self.input.trials:
            if not trial.has_ended:
                console.print(_unfinished_line(trial, self.record.plan.quality), markup=False)
        for sentence in self.record.contradictions:
            console.print(f"note: {sentence}", markup=False)
        console.print(activity_sentence(self.record), markup=False)
        for device in self.analysis.devices:
            for sentence in certainty_sentences(device):
                console.print(sentence, markup=False)
        self.print_front()

    def trials_as(self, form: str, *, width: int | None = None, columns: Sequence[str] = ()) -> str:
        """Every trial as ``table``, ``csv`` or ``json`` text.

        Args:
            form: One of these.
            width: The most characters of a line of a table; None for one line for each trial.
            columns: Names of columns, as in the CSV; all of them if left out, in a table the most
                important ones.

        Raises:
            TuneError: There is no such column.
        """
        from effv2_tune.report.tables.trial_text import chosen_rows, trials_text

        if form == "table":
            return trials_text(self.analysis, columns=columns, width=width) + "\n"
        rows = chosen_rows(self.analysis, columns)
        if form == "json":
            return json.dumps([_plain(row) for row in rows], indent=2) + "\n"
        return str(self._chosen(columns).to_csv(index=False))

    def write_parquet(self, path: Path, *, columns: Sequence[str] = ()) -> None:
        """Write every trial to a Parquet file, atomically.

        Args:
            path: The file.
            columns: As of :meth:`trials_as`.

        Raises:
            TuneError: There is no such column, pyarrow is not installed, or the file cannot be
                written.
        """
        from effv2_tune.report.tables.parquet import write_parquet

        write_parquet(self._chosen(columns), path)

    def _chosen(self, columns: Sequence[str]) -> pd.DataFrame:
        """All trials as a frame with these columns; all of them if none is named."""
        from effv2_tune.report.tables.trial_text import chosen_rows

        chosen_rows(self.analysis, columns)
        frame = self.frame().reset_index()
        return frame[list(columns)] if columns else frame

    def report(self, path: Path) -> None:
        """Write the report to ``path``."""
        from effv2_tune.report.html.page import write_report

        write_report(self.page, path)

    def picture(self, path: Path) -> None:
        """Write the Pareto front as a picture; the suffix of ``path`` decides the format."""
        from effv2_tune.report.figures import write_picture

        write_picture(self.input, path)

    def networks_table(self, path: Path) -> None:
        """Write the accuracies of each network; ``.md`` is Markdown, anything else CSV.

        Test accuracies are those of final trainings in folders beside that of the study.
        """
        from effv2_tune.report.tables.networks import network_rows, networks_csv, networks_markdown
        from effv2_tune.session.models.finals import final_scores

        finals = final_scores(self.folder.resolve().parent, study=self.record.plan.name)
        rows = network_rows(self.input.trials, finals)
        if not rows:
            raise TuneError(
                f"Study {self.record.plan.name} has no complete trial yet.",
                hint="Rerun the same 'effv2-tune run' command to resume it.",
            )
        is_markdown = path.suffix.lower() == ".md"
        hint = "Name a folder that exists and that you may write to."
        with disk_errors(f"The table cannot be written to {path}", hint=hint):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, networks_markdown(rows) if is_markdown else networks_csv(rows))

    def _check_location(self) -> None:
        """Raise a helpful error for a wrong URL, or for a folder with only the logs of a study."""
        if is_database(self._location):
            url = str(self._location)
            check_database(url)
            if not database_exists(url):
                raise TuneError(
                    f"There is no database {shown(url)}.",
                    hint="A path from the root has four slashes: sqlite:////folder/file.db",
                )
        elif _has_only_logs(Path(self._location)):
            raise TuneError(
                f"{self._location} has no study.db: it was deleted, or these are the logs of a "
                "study whose trials are in a database.",
                hint="Give the URL of the database, and the name of the study: URL --name NAME",
            )


def _unfinished_line(trial: Trial, quality: str) -> str:
    """How far a trial is that has not ended; of a paused one, why it may be continued."""
    from effv2_tune.report.quantities import label_of

    total = "" if trial.recipe is None else f" of {trial.recipe.epochs}"
    line = f"{trial.state}: trial {trial.number}, epoch {len(trial.curve)}{total}"
    if trial.pause is None or not trial.rungs:
        return line
    reached = f"{label_of(quality)} {trial.rungs[-1].quality:.4f}"
    return f"{line}, {reached}, since {trial.pause.since:%Y-%m-%d %H:%M:%S} UTC"


def _stdout() -> Console:
    from effv2_tune.report.console import Console

    return Console(highlight=False)


def _has_only_logs(folder: Path) -> bool:
    """Whether a study was run there that has neither a database nor a backup in the folder.

    Raises:
        TuneError: There is a backup, which is to be restored first.
    """
    from effv2_tune.search.storage.backup import DATABASE, refuse_lost_database

    refuse_lost_database(folder)
    return (folder / "events.jsonl").is_file() and not (folder / DATABASE).is_file()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON: dates as ISO 8601, NaN and infinity as null."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
