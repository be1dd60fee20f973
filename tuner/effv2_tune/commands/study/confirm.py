"""``effv2-tune confirm``: trains the candidates of a front again, until the picks are clear."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.options import (
    COUNT,
    POSITIVE,
    session_hours,
    study_folder,
    study_location,
)
from effv2_tune.commands.running import run_and_show
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.interruption import StopRequest


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune confirm runs/quickstart\n"
    "  effv2-tune confirm runs/quickstart --trials 12\n"
    "  effv2-tune confirm runs/quickstart --hours 0.5 --difference 0.01\n"
    "  effv2-tune confirm runs/quickstart --pick most-accurate"
)
@study_location
@study_folder
@click.option("--workers", type=COUNT, metavar="N", help="Worker processes on this machine.")
@click.option(
    "--trials", type=COUNT, metavar="N", help="Replicates in all, including earlier calls."
)
@click.option(
    "--hours",
    type=POSITIVE,
    metavar="H",
    help="Hours of training replicates in all, including earlier calls.",
)
@click.option(
    "--level",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    metavar="P",
    help="A pick is clear when it is the best choice with this probability.  [default: 0.9]",
)
@click.option(
    "--difference",
    type=click.FloatRange(0),
    metavar="D",
    help="Differences of quality up to this one do not matter.  [default: 0.005]",
)
@click.option(
    "--pick",
    type=click.Choice(["fastest", "knee", "most-accurate"]),
    help="The only pick that is to be clear.  [default: all three]",
)
@session_hours
@click.option(
    "--mirror",
    metavar="URI",
    envvar="EFFV2_TUNE_RUN_MIRROR",
    show_envvar=True,
    help="Copy the study to this folder or bucket, and restore it if its folder is empty.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the Pareto front as JSON at the end.")
@click.pass_obj
def command(
    stop: StopRequest,
    folder: str | Path,
    *,
    name: str | None,
    out: Path | None,
    workers: int | None,
    trials: int | None,
    hours: float | None,
    level: float | None,
    difference: float | None,
    pick: str | None,
    session_hours: float | None,
    mirror: str | None,
    as_json: bool,
) -> int:
    """Confirm the picks of a study with replicates.

    Trains complete trials of the study in FOLDER again with other seeds (weights, order of the
    images, augmentation; the same split), one at a time: always the one that would change the
    choice of a recipe most. Ends when the fastest, the knee and the most accurate recipe are clear,
    or when the budget is spent. Without --trials and --hours, replicates take at most as many
    seconds of training as the search has taken. Rerun the same command to resume.
    """
    from effv2_tune.session.study import Study

    study = Study.open(
        folder,
        name=name,
        out=out,
        trials=trials,
        hours=hours,
        level=level,
        difference=difference,
        pick=pick,
        workers=workers,
        session_hours=session_hours,
        mirror=mirror,
    )
    results = run_and_show(
        study,
        partial(study.confirm, stop=stop),
        stop=stop,
        session_hours=session_hours,
        as_json=as_json,
    )
    if results is None or results.record.ended_by is None:
        return EXIT_DONE
    return EXIT_FAILED if results.record.ended_by.kind == "failing" else EXIT_DONE
