"""``effv2-tune status``: shows the Pareto front and the running trials."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.options import study_location
from effv2_tune.errors import EXIT_DONE, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pathlib import Path

_WATCH_SECONDS = 5.0


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune status runs/quickstart\n"
    "  effv2-tune status runs/quickstart --json | jq '.front[0]'\n"
    "  effv2-tune status runs/quickstart --watch"
)
@study_location
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Refresh every few seconds while the study is running.")
def command(folder: str | Path, *, name: str | None, as_json: bool, watch: bool) -> int:
    """Show the Pareto front and the running trials.

    Reads the study in FOLDER (its name alone finds it in runs/; or the URL of its database), and
    shows whether it is running, was interrupted (since when, and the command that resumes it) or
    has ended (why). Read-only: safe while the study is running. With --watch and --json, each
    refresh is one line.
    """
    from effv2_tune.report.console import Console
    from effv2_tune.session.results import Results

    try:
        while True:
            results = Results(folder, name=name)
            is_running = results.is_running
            if as_json:
                click.echo(json.dumps(results.status(), indent=None if watch else 2))
            else:
                if watch:
                    Console().clear()
                results.print_status()
            if not watch or not is_running:
                return EXIT_DONE
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        # The usual way to end --watch.
        return EXIT_INTERRUPTED
