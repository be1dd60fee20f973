"""``effv2-tune export``: exports a trial of the Pareto front as a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from effv2_tune.commands.new_file import output_option, write_new
from effv2_tune.commands.options import study_location

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune export runs/quickstart --pick knee -o train.yaml\n"
    "  effv2-tune export runs/quickstart --pick most-accurate --max-seconds 600 -o train.yaml\n"
    "  effv2-tune export runs/quickstart --pick trial=7 -o train.yaml"
)
@study_location
@click.option(
    "--pick",
    default="knee",
    show_default=True,
    metavar="POINT",
    help="knee, most-accurate, fastest, or trial=N.",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="S",
    help="Only trials that take at most S seconds to train.",
)
@click.option(
    "--min-quality", type=float, metavar="Q", help="Only trials with at least this quality."
)
@click.option(
    "--device",
    metavar="KIND",
    help="Device kind to choose from, where trials ran on several: their times are not comparable.",
)
@output_option("train.yaml")
def command(
    folder: str | Path,
    *,
    name: str | None,
    pick: str,
    max_seconds: float | None,
    min_quality: float | None,
    device: str | None,
    output: Path,
) -> None:
    """Export a trial of the Pareto front as a training run.

    Writes the complete recipe, with every default filled in and its provenance. `effv2-tune train`
    runs it.
    """
    from effv2_tune.session.picking import pick_trial, to_training_run
    from effv2_tune.session.results import Results

    record = Results(folder, name=name).record
    trial = pick_trial(
        record, pick, max_seconds=max_seconds, min_quality=min_quality, device=device
    )
    text = to_training_run(record, trial, pick=pick).to_yaml()
    write_new(output, text, next_command="train")
