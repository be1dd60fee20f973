"""``effv2-tune predict``: predicts the classes of image files with a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from effv2_tune.commands.options import COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from effv2_tune.session.models.prediction import Prediction


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune predict runs/flowers-trial-7 rose.jpg\n"
    "  effv2-tune predict model.keras rose.jpg tulip.png --top 1 --json\n"
    "  effv2-tune predict model.keras holiday/ > holiday.csv"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path)
)
@click.option(
    "--top",
    type=COUNT,
    metavar="K",
    help="The K most probable classes of each image.  [default: 5, or all of fewer classes]",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV; the default for a folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--hardware",
    type=click.Choice(["auto", "cpu", "gpu", "tpu"]),
    default="cpu",
    show_default=True,
    help="The device to use; auto for the fastest of this machine.",
)
def command(
    model: Path,
    images: tuple[Path, ...],
    *,
    top: int | None,
    as_csv: bool,
    as_json: bool,
    hardware: Literal["auto", "cpu", "gpu", "tpu"],
) -> None:
    """Predict the classes of image files with a trained model.

    MODEL is the model.keras that `effv2-tune train` writes, or its folder. An IMAGE is a file, or a
    folder with images in it. Images are prepared as those of the training were: turned upright by
    their Exif orientation, cropped, padded or squashed to the same shape, and resized. Files that
    are missing or are no images are named before anything is loaded.
    """
    from effv2_tune.session.models.prediction import PredictionSession

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    session = PredictionSession.load(model, images, top=top)
    predictions = session.run(hardware)
    if as_json:
        _print_json(predictions)
    elif as_csv or any(place.is_dir() for place in images):
        click.echo(session.header())
        for prediction in predictions:
            click.echo(prediction.csv_line())
    else:
        for prediction in predictions:
            click.echo(prediction.text())


def _print_json(predictions: Iterator[Prediction]) -> None:
    """Print a list, also where images at its end cannot be decoded."""
    found: list[Prediction] = []
    try:
        found.extend(predictions)
    finally:
        if found:
            click.echo(json.dumps([prediction.plain() for prediction in found], indent=2))
