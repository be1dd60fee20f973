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
    "  effv2-tune export runs/quickstart --pick most-accurate --robust --json\n"
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
    "--robust",
    is_flag=True,
    help="Compare trials by the worse end of the 90 % interval of their quality instead of its "
    "estimate.",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="S",
    help="Only trials that take at most S seconds to train.",
)
@click.option(
    "--min-quality",
    type=float,
    metavar="Q",
    help="Only trials with at least this quality, by estimate.",
)
@click.option(
    "--device",
    metavar="KIND",
    help="Device kind to choose from, where trials ran on several: their times are not comparable.",
)
@output_option("train.yaml")
@click.option("--json", "as_json", is_flag=True, help="Print the pick and its certainty as JSON.")
def command(
    folder: str | Path,
    *,
    name: str | None,
    pick: str,
    robust: bool,
    max_seconds: float | None,
    min_quality: float | None,
    device: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Export a trial of the Pareto front as a training run.

    Trials are compared by estimates of their quality, which the measured values of all trials
    correct for luck. Says how probable it is that the pick is the true one, and names the next best
    trial where the two cannot be distinguished. Writes the complete recipe, with every default
    filled in and its provenance. `effv2-tune train` runs it.
    """
    import json

    from effv2_tune.session.picking import pick_trial, to_training_run
    from effv2_tune.session.results import Results

    record = Results(folder, name=name).record
    picked = pick_trial(
        record,
        pick,
        robust=robust,
        max_seconds=max_seconds,
        min_quality=min_quality,
        device=device,
    )
    run = to_training_run(record, picked)
    for sentence in picked.sentences():
        click.echo(sentence, err=True)
    found = json.dumps({"file": str(output), **picked.plain()}, indent=2) if as_json else None
    write_new(output, run.to_yaml(), next_command="train", found=found)
