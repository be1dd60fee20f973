"""Defines the formats that a trained model can be exported to, and the packages that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command
from effv2_tune.keras_backend import has_package

Format = Literal["keras", "saved-model", "onnx", "litert", "openvino"]


@dataclass(frozen=True)
class ModelFormat:
    """A format of models.

    Attributes:
        title: What it is called where it is documented.
        file: Name of the file that is written, or of the folder.
        extra: The extra of this package that has all that it needs.
        packages: The import names of the packages that it needs, by distribution; for Keras any
            backend will do.
        takes_any_size: Whether the exported model takes images of any height and width; otherwise
            it takes those of the stored shape alone.
    """

    title: str
    file: str
    extra: str
    packages: dict[str, str]
    takes_any_size: bool = False


_TENSORFLOW = {"tensorflow": "tensorflow"}

#: Whether a format takes any size is that of its operations: the antialiased resize of the first
#: layer exists in TensorFlow alone.
FORMATS: dict[Format, ModelFormat] = {
    "keras": ModelFormat("Keras", "model.keras", "tensorflow", {}, takes_any_size=True),
    "saved-model": ModelFormat(
        "TensorFlow SavedModel", "saved_model", "tensorflow", _TENSORFLOW, takes_any_size=True
    ),
    "onnx": ModelFormat(
        "ONNX",
        "model.onnx",
        "onnx",
        _TENSORFLOW | {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
    ),
    "litert": ModelFormat("LiteRT (TensorFlow Lite)", "model.tflite", "tensorflow", _TENSORFLOW),
    "openvino": ModelFormat(
        "OpenVINO IR", "model.xml", "openvino", _TENSORFLOW | {"openvino": "openvino"}
    ),
}


def check_packages(name: Format) -> None:
    """Check that all packages are installed that an export needs; imports none of them.

    Raises:
        TuneError: Some are not; the hint has the command that installs them.
    """
    wanted = FORMATS[name]
    missing = [package for package, module in wanted.packages.items() if not has_package(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise TuneError(
            f"Exporting to {wanted.title} needs {', '.join(missing)}, which {verb} not installed.",
            hint=f"Install what it needs: {install_command(wanted.extra)}",
            exit_code=EXIT_FAILED,
        )
