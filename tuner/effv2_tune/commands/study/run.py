"""``effv2-tune run``: runs a study, or resumes it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from effv2_tune.commands.options import COUNT, POSITIVE
from effv2_tune.errors import EXIT_DONE, EXIT_FAILED


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune run quickstart\n"
    "  effv2-tune run study.yaml --trials 50 --hours 2\n"
    "  effv2-tune run study.yaml --dry-run"
)
@click.argument("study")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the study.  [default: runs/NAME]"
)
@click.option(
    "--storage",
    metavar="URL",
    show_envvar=True,
    help="Database for several machines; SQLite in the folder if left out.",
)
@click.option("--workers", type=COUNT, metavar="N", help="Worker processes on this machine.")
@click.option("--trials", type=COUNT, metavar="N", help="Trials in all, including earlier runs.")
@click.option(
    "--hours",
    type=POSITIVE,
    metavar="H",
    help="Hours of running in all, including earlier runs.",
)
@click.option(
    "--warm-start",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of an earlier study, whose Pareto front a new study tries first.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything and print what would run, without running it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the Pareto front as JSON at the end.")
def command(
    study: str,
    *,
    out: Path | None,
    storage: str | None,
    workers: int | None,
    trials: int | None,
    hours: float | None,
    warm_start: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a study, or resume it.

    STUDY is a YAML file or the name of a shipped study. All errors are reported before anything is
    started. Ctrl-C loses nothing: rerun the same command to resume. At the end the Pareto front is
    printed, and a report is written into the study's folder.
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
    )
    if dry_run:
        for line in loaded.dry_run_lines():
            click.echo(line)
        return EXIT_DONE
    loaded.run()
    results = loaded.results()
    if as_json:
        click.echo(json.dumps(results.status(), indent=2))
    else:
        results.print_front()
    report = loaded.report()
    click.echo(f"Report: {report}", err=True)
    if results.has_front:
        click.echo(
            f"Next: effv2-tune export {results.arguments} --pick knee -o train.yaml", err=True
        )
    return EXIT_FAILED if results.has_failed else EXIT_DONE
