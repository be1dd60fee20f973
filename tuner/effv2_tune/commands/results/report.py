"""``effv2-tune report``: writes the report of a study as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from effv2_tune.commands.options import study_location
from effv2_tune.errors import TuneError

_PICTURES = (".png", ".svg", ".pdf")


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune report runs/quickstart\n"
    "  effv2-tune report runs/quickstart --picture front.svg"
)
@study_location
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The HTML file to write.  [default: report.html in FOLDER, or in runs/NAME]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Write the Pareto front as a picture instead: .png, .svg or .pdf.",
)
def command(
    folder: str | Path, *, name: str | None, output: Path | None, picture: Path | None
) -> None:
    """Write the report of a study as one HTML file.

    The file works offline: Pareto front, learning curves, a table of all trials, and how the
    accelerator's time was spent. FOLDER is that of the study, such as runs/quickstart (or the URL
    of its database); the study may still be running.
    """
    from effv2_tune.session.results import Results

    if output is not None and output.suffix.lower() in _PICTURES:
        raise TuneError(
            f"-o {output}: the report is an HTML file, not a picture.",
            hint=f"For a picture: --picture {output}.",
        )
    results = Results(folder, name=name)
    if picture is not None:
        results.picture(picture)
        click.echo(str(picture))
        return
    path = results.folder / "report.html" if output is None else output
    results.report(path)
    click.echo(str(path))
    if results.has_front:
        click.echo(
            f"Next: effv2-tune export {results.arguments} --pick knee -o train.yaml", err=True
        )
