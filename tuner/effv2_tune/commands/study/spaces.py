"""``effv2-tune spaces``: lists the shipped search spaces and studies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.messages import print_message
from effv2_tune.errors import TuneError, did_you_mean
from effv2_tune.study.shipped import shipped_spaces, shipped_studies

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="\b\nExamples:\n  effv2-tune spaces\n  effv2-tune spaces quickstart > my-space.yaml"
)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, *, as_json: bool) -> None:
    """List the shipped search spaces and studies.

    With NAME, print the file of that space, with a reason for each range.
    """
    spaces = shipped_spaces()
    if name is not None:
        if name not in spaces:
            raise TuneError(
                f"No shipped search space is called {name!r}{did_you_mean(name, spaces) or '.'}",
                hint=f"Shipped search spaces: {', '.join(spaces)}.",
            )
        click.echo(spaces[name].read_text(encoding="utf-8"), nl=False)
        return
    listing = {
        "search spaces": {key: _first_comment(path) for key, path in spaces.items()},
        "studies": {key: _first_comment(path) for key, path in shipped_studies().items()},
    }
    if as_json:
        click.echo(json.dumps(listing, indent=2))
        return
    for title, rows in listing.items():
        print_message(f"{title}:")
        for key, about in rows.items():
            print_message(f"  {key:<20} {about}")


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ") if first.startswith("#") else ""
