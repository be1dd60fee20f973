"""Exports trained models to other formats, each in a process of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.atomic import sync, write_text
from effv2_tune.keras_backend import has_package
from effv2_tune.session.location import check_folder, make_folder
from effv2_tune.session.models.agreement import TOLERANCE, Agreement
from effv2_tune.session.models.formats import FORMATS, Format, check_packages
from effv2_tune.session.models.location import locate_model
from effv2_tune.study.model_facts import class_lines, read_facts
from effv2_tune.study.training_run import CARD_FILE, CLASSES_FILE
from effv2_tune.workers.exits import describe_exit
from effv2_tune.workers.launch import worker_environment
from effv2_tune.workers.local import LocalProcess
from effv2_tune.workers.messages import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONVERSION_COMMAND = (sys.executable, "-m", "effv2_tune.session.models.conversion_process")

#: The largest networks take the converters some minutes.
_TIMEOUT_SECONDS = 3600.0
_GRACE_SECONDS = 30.0
_LOG_LINES = 15


@dataclass(frozen=True)
class ConvertModel:
    """To the process: what it converts.

    Attributes:
        model: The ``.keras`` file.
        image_shape: Height, width and channels of the images that it was trained on.
        format: The format.
        folder: Where the result is written.
    """

    model: Path
    image_shape: tuple[int, int, int]
    format: Format
    folder: Path


@dataclass(frozen=True)
class ExportedModel:
    """A model in another format.

    Attributes:
        path: The file, or the folder of a SavedModel.
        format: The format.
        classes: Names in the order of its outputs; ``classes.txt`` beside it has them, too.
        input_shape: Height, width and channels of the uint8 images that it takes; None for any.
        agreement: How it compares with the Keras model.
    """

    path: Path
    format: Format
    classes: tuple[str, ...]
    input_shape: tuple[int | None, int | None, int]
    agreement: Agreement

    def plain(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "model": str(self.path),
            "format": self.format,
            "classes": list(self.classes),
            "input_shape": list(self.input_shape),
            "agreement": self.agreement.model_dump() | {"tolerance": TOLERANCE},
        }

    def sentence(self) -> str:
        """Its input and its agreement in words."""
        height, width, _ = self.input_shape
        size = "any size" if height is None else f"{height} x {width} px"
        return (
            f"Takes uint8 RGB images of {size}, [batch, height, width, 3]. It has "
            f"{self.agreement.sentence()}."
        )


def export_model(
    model: Path,
    form: Format,
    *,
    out: Path | None = None,
    command: Sequence[str] = CONVERSION_COMMAND,
) -> ExportedModel:
    """Export a trained model, and compare the result with it.

    Args:
        model: A ``.keras`` file, or the folder of its training.
        form: The format.
        out: A new folder for the exported model; beside the model, named like the format, if left
            out.
        command: The process that converts; ``--fd N`` is added.

    Raises:
        TuneError: The model cannot be read, packages are missing, the folder exists, or the result
            is not the same as the model. Nothing is left then.
    """
    path = locate_model(model)
    facts = read_facts(path)
    check_packages(form)
    target = path.parent / form if out is None else out
    with _new_folder(target) as folder:
        request = ConvertModel(path.resolve(), facts.image_shape, form, folder)
        agreement = _convert(request, command)
        write_text(folder / CLASSES_FILE, class_lines(facts.classes))
        with suppress(FileNotFoundError):  # the model was copied without its card
            shutil.copy(path.with_name(CARD_FILE), folder)
    wanted = FORMATS[form]
    height, width, channels = facts.image_shape
    return ExportedModel(
        target / wanted.file,
        form,
        facts.classes,
        (None, None, channels) if wanted.takes_any_size else (height, width, channels),
        agreement,
    )


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder, which becomes ``target`` if nothing fails, and is removed otherwise.

    Raises:
        TuneError: ``target`` exists, or cannot be created.
    """
    if target.exists():
        raise TuneError(
            f"{target} exists already, and is not overwritten.",
            hint="Choose another folder: -o FOLDER",
        )
    check_folder(target)
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as parent:
        folder = Path(parent).resolve() / target.name
        folder.mkdir()
        yield folder
        folder.rename(target)
        sync(target.parent)


def _convert(request: ConvertModel, command: Sequence[str]) -> Agreement:
    """Convert in a process: Keras may be loaded here already, on another backend."""
    with tempfile.TemporaryDirectory(prefix="effv2-tune-") as folder:
        log = Path(folder) / "conversion.log"
        # Of the formats, Keras alone does without TensorFlow.
        backend = "tensorflow" if has_package("tensorflow") else "jax"
        environment = worker_environment(backend, "cpu", workers=1, cpu_count=1)
        process = LocalProcess(command, environment=environment, log=log)
        try:
            process.connection.send(request)
            for message in process.messages(timeout_seconds=_TIMEOUT_SECONDS):
                if isinstance(message, Refused):
                    raise message.error()
                if isinstance(message, Agreement):
                    return message
            status = process.end(grace_seconds=_GRACE_SECONDS)
        finally:
            process.end(grace_seconds=0.0)
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    raise TuneError(
        f"The process that exports to {FORMATS[request.format].title} ended: "
        f"{describe_exit(status)}",
        hint="\n".join(["The end of its output:", *tail]),
        exit_code=EXIT_FAILED,
    )
