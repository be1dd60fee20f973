"""Runs the process that converts a trained model to another format, on TensorFlow."""

from __future__ import annotations

import argparse
import os
import shutil
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, TuneError
from effv2_tune.session.models.agreement import agreement_of, probe_images
from effv2_tune.session.models.formats import FORMATS
from effv2_tune.workers.messages import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.session.models.agreement import Agreement
    from effv2_tune.session.models.conversion import ConvertModel

#: Height and width of an image of another shape, as a share of the stored shape.
_OTHER_SHAPE = (1.7, 0.8)


def convert(request: ConvertModel) -> Agreement:
    """Write a model in another format, and compare it with the Keras model.

    Raises:
        TuneError: Their outputs differ.
    """
    import keras

    from effv2_tune.network.exchange import CONVERTERS, fixed_size

    wanted = FORMATS[request.format]
    path = request.folder / wanted.file
    write, run = CONVERTERS[request.format]
    model = keras.saving.load_model(request.model, compile=False)
    height, width, channels = request.image_shape
    if request.format == "keras":
        shutil.copy(request.model, path)  # with its facts, which Keras would leave out
    else:
        write(
            model if wanted.takes_any_size else fixed_size(model, (height, width, channels)), path
        )
    shapes = [(height, width)]
    if wanted.takes_any_size:
        shapes.append((round(height * _OTHER_SHAPE[0]), round(width * _OTHER_SHAPE[1])))
    # Loaded again: what is compared is what the user gets.
    batches = [probe_images(*shape) for shape in shapes]
    expected = [np.asarray(model.predict(images, verbose=0)) for images in batches]
    found = [run(path, images) for images in batches]
    agreements = [agreement_of(*pair) for pair in zip(expected, found, strict=True)]
    for agreement in agreements:
        if not agreement.is_close:
            raise TuneError(
                f"The exported model differs from {request.model}: {agreement.sentence()}.",
                hint="Nothing was written. Please report this with the output of 'effv2-tune "
                "doctor'.",
                exit_code=EXIT_FAILED,
            )
    return agreements[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive a `ConvertModel`, and send the `Agreement` over the connection."""
    parser = argparse.ArgumentParser(prog="python -m effv2_tune.session.models.conversion_process")
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    connection: Connection[Any, Any] = Connection(parser.parse_args(arguments).fd)
    try:
        connection.send(convert(connection.recv()))
    except TuneError as error:
        return _refuse(connection, error)
    except Exception as error:
        traceback.print_exc()
        message = f"The conversion failed: {type(error).__name__}: {str(error)[:500]}"
        return _refuse(connection, TuneError(message, exit_code=EXIT_FAILED))
    return EXIT_DONE


def _refuse(connection: Connection[Any, Any], error: TuneError) -> int:
    connection.send(Refused.of(error))
    return error.exit_code


if __name__ == "__main__":
    # os._exit: no need to wait for the threads of TensorFlow.
    os._exit(main())
