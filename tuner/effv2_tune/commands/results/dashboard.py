"""``effv2-tune dashboard``: serves the report of a study as a page that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from effv2_tune.commands.options import study_location
from effv2_tune.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_PORT = 65535
#: Training on the same machine comes first.
_NICE = 10


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune dashboard runs/quickstart\n"
    "  effv2-tune dashboard runs/quickstart --port 9000"
)
@study_location
@click.option(
    "--port",
    type=click.IntRange(0, _LARGEST_PORT),
    default=8765,
    show_default=True,
    metavar="N",
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. Beyond this machine, requests need the token that is printed.",
)
def command(folder: str | Path, *, name: str | None, port: int, host: str) -> int:
    """Serve the report of a study as a page that follows it.

    The page shows what each worker does, the trials done and the time left, and its figures grow
    with the study. Read-only, and safe while the study is running; it goes on when the study is
    interrupted and resumed. Ctrl-C ends it.
    """
    import os

    from effv2_tune.session.live.dashboard import Dashboard
    from effv2_tune.session.live.server import DashboardServer

    os.nice(_NICE)
    try:
        dashboard = Dashboard(folder, name=name)
        with DashboardServer(dashboard, host, port) as server, server.following():
            click.echo(server.url)
            server.serve_forever()
    except KeyboardInterrupt:
        # The usual way to end it.
        return EXIT_INTERRUPTED
    return 0
