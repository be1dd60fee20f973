"""``effv2-tune log``: logs the trials of a study to an experiment tracker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import study_location
from effv2_tune.errors import EXIT_DONE, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.session.trackers.logging import TrackerName


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune log runs/quickstart --to tensorboard\n"
    "  effv2-tune log runs/quickstart --to mlflow --project digits\n"
    "  effv2-tune log runs/quickstart --to wandb --follow"
)
@study_location
@click.option(
    "--to",
    "tracker",
    required=True,
    type=click.Choice(["tensorboard", "mlflow", "wandb", "trackio"]),
    help="The tracker; each needs the extra of its name.",
)
@click.option(
    "--project",
    metavar="NAME",
    help="Project or experiment of the tracker.  [default: name of the study]",
)
@click.option("--follow", is_flag=True, help="Go on while the study is running.")
def command(
    folder: str | Path,
    *,
    name: str | None,
    tracker: TrackerName,
    project: str | None,
    follow: bool,
) -> int:
    """Log the trials of a study to an experiment tracker.

    Each trial is a run with its config, its learning curves and, once it has ended, its results.
    Only what is new is logged: the same command again continues. The tracker is set up as always,
    by its environment variables (MLFLOW_TRACKING_URI, WANDB_MODE, TRACKIO_DIR, ...); TensorBoard's
    files are written into the study's folder.
    """
    from effv2_tune.plurals import pluralized
    from effv2_tune.session.trackers.logging import log_study

    logged = 0

    def count(trials: int) -> None:
        nonlocal logged
        logged += trials

    try:
        results = log_study(
            folder, tracker, name=name, project=project, follow=follow, on_round=count
        )
    except KeyboardInterrupt:
        # The usual way to end --follow; the next call continues.
        return EXIT_INTERRUPTED
    print_message(f"{pluralized(logged, 'trial')} logged to {tracker}")
    if tracker == "tensorboard":
        click.echo(f"Next: tensorboard --logdir {results.folder / 'tensorboard'}", err=True)
    return EXIT_DONE
