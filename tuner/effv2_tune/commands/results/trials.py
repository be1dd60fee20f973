"""``effv2-tune trials``: lists all trials with their hyperparameters and scores."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from effv2_tune.commands.options import study_location


def _names(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune trials runs/quickstart\n"
    "  effv2-tune trials runs/quickstart --columns trial,quality,weight_decay\n"
    "  effv2-tune trials runs/quickstart --csv > trials.csv\n"
    "  effv2-tune trials runs/quickstart --parquet trials.parquet\n"
    "  effv2-tune trials runs/quickstart --json | jq '.[0]'"
)
@study_location
@click.option(
    "--columns",
    default="",
    metavar="NAMES",
    callback=_names,
    help="Only these columns, in this order: names as in the CSV, separated by commas.",
)
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option(
    "--parquet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a Parquet file instead; needs the extra parquet.",
)
# Of version 0.1, for scripts.
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), hidden=True)
def command(
    folder: str | Path,
    *,
    name: str | None,
    columns: tuple[str, ...],
    form: str | None,
    parquet: Path | None,
) -> None:
    """List all trials with their hyperparameters and scores.

    Trials on the Pareto front come first. The table has the most important columns, and what does
    not fit the terminal follows below each trial. CSV, JSON and Parquet have every time and score,
    with units in the column names.
    """
    from effv2_tune.session.results import Results

    results = Results(folder, name=name)
    if parquet is not None:
        results.write_parquet(parquet, columns=columns)
        click.echo(str(parquet))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(results.trials_as(form or "table", width=width, columns=columns), nl=False)
