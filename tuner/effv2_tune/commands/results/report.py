"""``effv2-tune report``: writes the report of a study, or a comparison, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from effv2_tune.commands.options import study_locations
from effv2_tune.errors import TuneError

_PICTURES = (".png", ".svg", ".pdf")
_TABLES = (".md", ".csv")


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune report runs/quickstart\n"
    "  effv2-tune report runs/first runs/second -o comparison.html\n"
    "  effv2-tune report runs/quickstart --picture front.svg\n"
    "  effv2-tune report runs/quickstart --table networks.md"
)
@study_locations
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The HTML file to write.  [default: report.html in FOLDER, or in runs/NAME; with several "
    "studies comparison.html in the first one]",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    help="Write the Pareto front as a picture instead: .png, .svg or .pdf.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Write the accuracies of each network as a table instead: .md or .csv.",
)
def command(
    folders: tuple[str | Path, ...],
    *,
    name: str | None,
    output: Path | None,
    picture: Path | None,
    table: Path | None,
) -> None:
    """Write the report of a study as one HTML file.

    The file works offline: Pareto front, learning curves, a table of all trials, and how the
    accelerator's time was spent. FOLDER is that of the study, such as runs/quickstart (or the URL
    of its database); the study may still be running.

    With several FOLDERs, their studies are compared: Pareto fronts over each other, hypervolumes
    with one reference, and the picks of each. Their objectives must be the same, and at least two
    must have trials on the same kind of device.

    The table of --table has variant, size, validation accuracy, top-5 and test accuracy of each
    network's most accurate trial. Test accuracies are those of final trainings in the folders
    beside FOLDER, where `effv2-tune train` puts them.
    """
    from effv2_tune.session.results import Results

    if output is not None and output.suffix.lower() in _PICTURES:
        raise TuneError(
            f"-o {output}: the report is an HTML file, not a picture.",
            hint=f"For a picture: --picture {output}.",
        )
    if picture is not None and table is not None:
        raise click.UsageError("--picture and --table exclude each other.")
    if table is not None and table.suffix.lower() not in _TABLES:
        raise TuneError(f"--table {table}: a table is a .md or a .csv file.")
    if len(folders) > 1:
        _compare(folders, name, output, is_other=picture is not None or table is not None)
        return
    results = Results(folders[0], name=name)
    if table is not None:
        results.networks_table(table)
        click.echo(str(table))
        return
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


def _compare(
    folders: tuple[str | Path, ...], name: str | None, output: Path | None, *, is_other: bool
) -> None:
    """Write the comparison of several studies."""
    from effv2_tune.report.comparison.studies import compare
    from effv2_tune.report.html.comparison import write_comparison
    from effv2_tune.session.results import Results

    if is_other:
        raise click.UsageError("--picture and --table take one study; name one FOLDER.")
    if name is not None:
        raise TuneError(
            "--name cannot tell several studies apart.",
            hint="Name folders, or databases with one study each.",
        )
    results = [Results(folder) for folder in folders]
    comparison = compare([each.analysis for each in results])
    path = results[0].folder / "comparison.html" if output is None else output
    write_comparison(comparison, path, written=results[0].input.written)
    for warning in comparison.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(str(path))
