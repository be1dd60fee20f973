"""``effv2-tune train``: runs the final training of an exported recipe."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune train train.yaml\n"
    "  effv2-tune train train.yaml --out models/digits --json"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for history.csv, metrics.json and model.keras.  [default: runs/NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json at the end.")
def command(file: Path, out: Path | None, *, as_json: bool) -> None:
    """Run the final training of an exported recipe.

    Trains the recipe in FILE, written by `effv2-tune export`, from scratch; the test images are
    used once, at the end. Writes history.csv (the learning curve), metrics.json (test accuracy,
    top-5, seconds) and model.keras (stock Keras layers; takes uint8 images). Rerun the same
    command to resume an interrupted training.
    """
    from effv2_tune.session.training import TrainingSession

    session = TrainingSession.load(file, out=out)
    metrics = session.run()
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
    else:
        for line in session.summary_lines():
            click.echo(line)
    click.echo(f"Model: {session.out / 'model.keras'}", err=True)
