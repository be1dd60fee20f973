"""``effv2-tune init``: writes a study file to edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from effv2_tune.commands.new_file import output_option, write_new
from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.study.shipped import shipped_studies

if TYPE_CHECKING:
    from pathlib import Path


@click.command(epilog="\b\nExamples:\n  effv2-tune init\n  effv2-tune init quickstart -o mine.yaml")
@click.argument("name", default="quickstart")
@output_option("study.yaml")
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
    write_new(output, studies[name].read_text(encoding="utf-8"), next_command="check")
