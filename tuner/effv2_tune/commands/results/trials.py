"""``effv2-tune trials``: every trial with every number."""

from __future__ import annotations

import click

from effv2_tune.commands.options import study_location


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune trials runs/quickstart\n"
    "  effv2-tune trials runs/quickstart --format csv > trials.csv\n"
    "  effv2-tune trials runs/quickstart --format json | jq '.[0]'"
)
@study_location
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print them.",
)
def command(folder: str, *, name: str | None, form: str) -> None:
    """List every trial with all its numbers.

    Those on the front come first. CSV and JSON have every time and score, with the units in the
    names; the table has what fits.
    """
    from effv2_tune.session.results import Results

    click.echo(Results(folder, name=name).trials_as(form), nl=False)
