"""``effv2-tune run``: runs a study, or resumes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.commands.options import COUNT, POSITIVE, session_hours, storage, study_folder
from effv2_tune.commands.running import run_and_show
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from effv2_tune.interruption import StopRequest


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune run quickstart\n"
    "  effv2-tune run study.yaml --trials 50 --hours 2\n"
    "  effv2-tune run study.yaml --session-hours 8.5\n"
    "  effv2-tune run study.yaml --mirror gs://bucket/study\n"
    "  effv2-tune run study.yaml --ray auto --workers 8\n"
    "  effv2-tune run study.yaml --dry-run"
)
@click.argument("study")
@study_folder
@storage
@click.option("--workers", type=COUNT, metavar="N", help="Worker processes.")
@click.option("--trials", type=COUNT, metavar="N", help="Trials in all, including earlier runs.")
@click.option(
    "--hours",
    type=POSITIVE,
    metavar="H",
    help="Hours of running in all, including earlier runs.",
)
@session_hours
@click.option(
    "--warm-start",
    type=click.Path(path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Folder of an earlier study, whose Pareto front a new study tries first, and from whose "
    "curves freeze_thaw learns; may be given several times.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Try the failed trials of earlier runs again, in addition to --trials.",
)
@click.option(
    "--mirror",
    metavar="URI",
    show_envvar=True,
    help="Copy the study to this folder or bucket while it runs (/content/drive/..., gs://..., "
    "s3://...), and restore it from there if its folder is empty.",
)
@click.option(
    "--resume-from",
    metavar="URI",
    show_envvar=True,
    help="Restore the study from this mirror if its folder is empty; writes nothing there.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run the workers on this Ray cluster: auto for the one that this machine is a node of, or "
    "HOST:PORT of its head.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything and print what would run, without running it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the Pareto front as JSON at the end.")
@click.pass_obj
def command(
    stop: StopRequest,
    study: str,
    *,
    out: Path | None,
    storage: str | None,
    workers: int | None,
    trials: int | None,
    hours: float | None,
    session_hours: float | None,
    warm_start: tuple[Path, ...],
    retry_failed: bool,
    mirror: str | None,
    resume_from: str | None,
    ray: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a study, or resume it.

    STUDY is a YAML file or the name of a shipped study. All errors are reported before anything is
    started. At the end the Pareto front is printed, and a report is written into the study's
    folder. Ctrl-C, SIGTERM and SIGHUP do so too, after they have saved the running trials: rerun
    the same command to resume. A second one ends it at once.
    """
    from effv2_tune.session.study import Study

    loaded = Study.load(
        study,
        out=out,
        storage=storage,
        trials=trials,
        hours=hours,
        workers=workers,
        warm_start=warm_start,
        session_hours=session_hours,
        retry_failed=retry_failed,
        mirror=mirror,
        resume_from=resume_from,
        ray=ray,
    )
    if dry_run:
        for line in loaded.dry_run_lines():
            print_message(line)
        return EXIT_DONE
    results = run_and_show(
        loaded,
        partial(loaded.run, stop=stop),
        stop=stop,
        session_hours=session_hours,
        as_json=as_json,
    )
    if results is None:
        return EXIT_DONE
    if results.has_front:
        click.echo(
            f"Next: effv2-tune export {results.arguments} --pick knee -o train.yaml", err=True
        )
    return EXIT_FAILED if results.has_failed else EXIT_DONE
