"""``effv2-tune status``: the front, and what is running."""

from __future__ import annotations

import json
import time

import click

from effv2_tune.commands.options import study_location
from effv2_tune.errors import EXIT_DONE, EXIT_INTERRUPTED

_WATCH_SECONDS = 5.0


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune status runs/quickstart\n"
    "  effv2-tune status runs/quickstart --json | jq '.front[0]'\n"
    "  effv2-tune status runs/quickstart --watch"
)
@study_location
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Show it again every few seconds, until it ends.")
def command(folder: str, *, name: str | None, as_json: bool, watch: bool) -> int:
    """Show the front and what is running.

    Reads the study in FOLDER (or at a database's URL) without disturbing a study that runs. With
    --watch and --json, each reading is one line.
    """
    from effv2_tune.session.results import Results

    try:
        while True:
            results = Results(folder, name=name)
            has_ended = results.has_ended
            if as_json:
                click.echo(json.dumps(results.status(), indent=None if watch else 2))
            else:
                if watch:
                    click.clear()
                results.print_status()
            if not watch or has_ended:
                return EXIT_DONE
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        # The way to end --watch; there is nothing to continue.
        return EXIT_INTERRUPTED
