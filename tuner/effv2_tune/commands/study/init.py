"""``effv2-tune init``: writes a study file to edit."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from effv2_tune.commands.new_file import write_new
from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.study.shipped import shipped_studies


@click.command(epilog="\b\nExamples:\n  effv2-tune init\n  effv2-tune init quickstart -o mine.yaml")
@click.argument("name", default="quickstart")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("study.yaml"),
    show_default=True,
    help="The file to write; an existing one is never overwritten.",
)
def command(name: str, output: Path) -> None:
    """Write a study file to edit.

    Copies the shipped study NAME with its comments.
    """
    studies = shipped_studies()
    if name not in studies:
        raise TuneError(
            f"No shipped study is called {name!r}{did_you_mean(name, studies) or '.'}",
            hint=f"Shipped studies: {', '.join(studies)}.",
        )
    write_new(output, studies[name].read_text(encoding="utf-8"))
    click.echo(str(output))
    click.echo(f"Next: effv2-tune check {shlex.quote(str(output))}", err=True)
