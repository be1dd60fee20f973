"""``effv2-tune train``: runs the final training of an exported recipe."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import session_hours
from effv2_tune.interruption import GRACE_SECONDS, exits_after_signals, exits_at

if TYPE_CHECKING:
    from effv2_tune.interruption import StopRequest

_MOST_SEED = 2**32 - 1


def _seeds(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Different seeds, separated by commas."""
    if value is None:
        return None
    texts = [text.strip() for text in value.split(",")]
    for text in texts:
        if not (text.isascii() and text.isdecimal() and int(text) <= _MOST_SEED):
            message = f"{text!r} is no whole number from 0 to {_MOST_SEED}."
            raise click.BadParameter(message, context, parameter)
    seeds = tuple(map(int, texts))
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        message = f"{twice[0]} is there twice: each seed is one training."
        raise click.BadParameter(message, context, parameter)
    return seeds


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune train train.yaml\n"
    "  effv2-tune train train.yaml --out models/digits --json\n"
    "  effv2-tune train train.yaml --data train+validation --out models/all-images\n"
    "  effv2-tune train train.yaml --seeds 0,1,2\n"
    "  effv2-tune train train.yaml --session-hours 8.5"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for training.html, history.csv, metrics.json, model.keras, classes.txt and "
    "model_card.md.  "
    "With --seeds, these are in a folder for each.  [default: runs/NAME, or runs/NAME-seeds]",
)
@click.option(
    "--data",
    "train_on",
    type=click.Choice(["train", "train+validation"]),
    help="Train on the training images, or on those and the validation images; no epoch is "
    "validated then.  [default: as 'data: train_on:' in FILE]",
)
@click.option(
    "--seeds",
    callback=_seeds,
    metavar="N,N...",
    help="Train once with each of these seeds, one after the other, and report mean, standard "
    "deviation and standard error.  [default: the seed in FILE, once]",
)
@session_hours
@click.option(
    "--mirror",
    metavar="URI",
    show_envvar=True,
    help="Copy the training to this folder or bucket while it runs, and restore it from there if "
    "its folder is empty.",
)
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json at the end.")
@click.pass_obj
def command(
    stop: StopRequest,
    file: Path,
    *,
    out: Path | None,
    train_on: str | None,
    seeds: tuple[int, ...] | None,
    session_hours: float | None,
    mirror: str | None,
    as_json: bool,
) -> None:
    """Run the final training of an exported recipe.

    Trains the recipe in FILE, written by `effv2-tune export`, from scratch; the test images are
    used once, at the end. Writes training.html (a page of curves, confused classes and times),
    history.csv (the learning curve), schedule.csv (the learning rate), confusion.csv, metrics.json
    (test accuracy, top-5, seconds), model.keras (stock Keras layers; takes uint8 images of any
    size), classes.txt (the classes in the order of its outputs) and model_card.md. Rerun the same
    command to resume an interrupted training: at Ctrl-C, SIGTERM or SIGHUP a checkpoint is written
    first.
    """
    from effv2_tune.session.models.seeds import SeedsSession
    from effv2_tune.session.training import TrainingSession

    session: SeedsSession | TrainingSession
    if seeds is None:
        session = TrainingSession.load(
            file, out=out, session_hours=session_hours, mirror=mirror, train_on=train_on
        )
    else:
        session = SeedsSession.load(
            file, seeds, out=out, session_hours=session_hours, mirror=mirror, train_on=train_on
        )
    over = f"The session is over, and the training is not done. To continue: {session.command}"
    stop.limit_session(session_hours)
    with exits_at(stop.ends_at, over), exits_after_signals(GRACE_SECONDS):
        metrics = session.run(stop=stop)
    if metrics is None:
        click.echo(over, err=True)
        return
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
    else:
        for line in session.summary_lines():
            print_message(line)
    for page in session.pages:
        click.echo(f"Page: {page}", err=True)
    click.echo(f"Model: {session.model_folder / 'model.keras'}", err=True)
    folder = shlex.quote(str(session.model_folder))
    click.echo(f"Next: effv2-tune predict {folder} IMAGE", err=True)
