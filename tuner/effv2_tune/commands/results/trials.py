"""``effv2-tune trials``: lists all trials with their hyperparameters and scores."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.options import study_location

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune trials runs/quickstart\n"
    "  effv2-tune trials runs/quickstart --format csv > trials.csv\n"
    "  effv2-tune trials runs/quickstart --format json | jq '.[0]'"
)
@study_location
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
def command(folder: str | Path, *, name: str | None, form: str) -> None:
    """List all trials with their hyperparameters and scores.

    Trials on the Pareto front come first. CSV and JSON have every time and score, with units in the
    column names; the table has the most important columns.
    """
    from effv2_tune.session.results import Results

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(Results(folder, name=name).trials_as(form, width=width), nl=False)
