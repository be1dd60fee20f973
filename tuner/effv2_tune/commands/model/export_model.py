"""``effv2-tune export-model``: exports a trained model to another format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from effv2_tune.session.models.formats import Format

#: As of `session.models.formats`, which the help does not load.
_NAMES = ("keras", "saved-model", "onnx", "litert", "openvino")


@click.command(
    epilog="\b\nExamples:\n"
    "  effv2-tune export-model runs/flowers-trial-7 --format onnx\n"
    "  effv2-tune export-model runs/flowers-trial-7 --format litert -o phone/\n"
    "  effv2-tune export-model model.keras --format saved-model --json"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(_NAMES), required=True, help="The format to write."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A new folder for the files; an existing one is never overwritten.  [default: beside "
    "the model, named like the format]",
)
@click.option("--json", "as_json", is_flag=True, help="Print files, input and agreement as JSON.")
def command(model: Path, *, form: Format, output: Path | None, as_json: bool) -> None:
    """Export a trained model to another format.

    MODEL is the model.keras that `effv2-tune train` writes, or its folder. The exported model takes
    uint8 images and returns probabilities, in the order of classes.txt beside it. It is run on 32
    images and compared with MODEL: the most probable classes must be the same, and all
    probabilities within 0.0001; otherwise nothing is written. Keras and SavedModel take images
    of any size, the other formats those of the size that the training stored.
    """
    from effv2_tune.session.models.conversion import export_model

    exported = export_model(model, form, out=output)
    if as_json:
        click.echo(json.dumps(exported.plain(), indent=2))
    else:
        click.echo(str(exported.path))
        click.echo(exported.sentence(), err=True)
