"""Converts exported models to other formats, and runs the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from effv2_tune.network.export_model import FIT_LAYER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]
    Shares = npt.NDArray[np.float32]


def fixed_size(model: Any, image_shape: tuple[int, int, int]) -> Any:
    """A model without its first resize, for images of one shape.

    Args:
        model: From `stock_model`, for images of any size.
        image_shape: Height, width and channels of the images that it then takes.

    Returns:
        A functional model from uint8 [batch, height, width, channels] to the same outputs.
    """
    images = keras.Input(image_shape, dtype="uint8", name="images")
    fitted, scale = model.get_layer(FIT_LAYER).output, model.get_layer("scale")
    x = keras.layers.Rescaling(1.0, name="to_float", dtype="float32")(images)
    if scale.input is not fitted:
        x = keras.Model(fitted, scale.input)(x)
    rest = keras.Model(scale.output, model.output)
    return keras.Model(images, rest(_rescaled(x, scale.get_config())), name=model.name)


def _rescaled(x: Any, statistics: dict[str, Any]) -> Any:
    """Images scaled as by a `Normalization` of constant statistics.

    Its mean and variance are tensors that a graph captures as inputs, and tf2onnx then takes them
    for inputs of the model. Those of `Rescaling` are constants.
    """
    deviations = np.sqrt(np.reshape(statistics["variance"], -1))
    offsets = -np.reshape(statistics["mean"], -1) / deviations
    layer = keras.layers.Rescaling(
        (1 / deviations).tolist(), offsets.tolist(), name="scale", dtype="float32"
    )
    return layer(x)


def write_keras(model: Any, path: Path) -> None:
    """Write a Keras archive."""
    model.save(path)


def write_saved_model(model: Any, path: Path) -> None:
    """Write a folder with a TensorFlow SavedModel, whose endpoint is `serve`."""
    model.export(path, format="tf_saved_model", verbose=False)


def write_onnx(model: Any, path: Path) -> None:
    """Write an ONNX file; the batch may have any size.

    Args:
        model: For images of one shape.
        path: The file.
    """
    # The exporter refuses a model that was never called.
    model(np.zeros((1, *model.input_shape[1:]), "uint8"))
    model.export(path, format="onnx", verbose=False)


def write_litert(model: Any, path: Path) -> None:
    """Write a LiteRT file of built-in operations alone, so that every runtime has them."""
    import tensorflow as tf

    builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", verbose=False, target_spec=builtins)


def write_openvino(model: Any, path: Path) -> None:
    """Write OpenVINO's model.xml, and the weights beside it in model.bin."""
    model.export(str(path), format="openvino", verbose=False)


def run_keras(path: Path, images: Images) -> Shares:
    """The outputs of a Keras archive, [batch, classes]."""
    model = keras.saving.load_model(path, compile=False)
    return np.asarray(model.predict(images, verbose=0))


def run_saved_model(path: Path, images: Images) -> Shares:
    """The outputs of a TensorFlow SavedModel, [batch, classes]."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # its variables are deleted with it
    return np.asarray(loaded.serve(images))


def run_onnx(path: Path, images: Images) -> Shares:
    """The outputs of an ONNX file by ONNX Runtime on the CPU, [batch, classes]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images})
    return np.asarray(outputs)


def run_litert(path: Path, images: Images) -> Shares:
    """The outputs of a LiteRT file by TensorFlow's interpreter, [batch, classes]."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(path))
    (images_in,), (shares_out,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(images_in["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(images_in["index"], images)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(shares_out["index"]))


def run_openvino(path: Path, images: Images) -> Shares:
    """The outputs of an OpenVINO model on the CPU in float32, [batch, classes]."""
    import openvino

    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", precision)
    return np.asarray(compiled(images)[0])


#: By format, what writes a model and what runs the result on images.
CONVERTERS: dict[str, tuple[Callable[[Any, Path], None], Callable[[Path, Images], Shares]]] = {
    "keras": (write_keras, run_keras),
    "saved-model": (write_saved_model, run_saved_model),
    "onnx": (write_onnx, run_onnx),
    "litert": (write_litert, run_litert),
    "openvino": (write_openvino, run_openvino),
}
