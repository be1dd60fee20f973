"""Training steps, feature extraction and devices of each backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from effv2_tune.host import Backend as BackendName
    from effv2_tune.host import Kind
    from effv2_tune.training.backends.base import Backend


def open_backend(name: BackendName, hardware: Kind) -> Backend:
    """Start a backend on the devices of one kind.

    Only its own framework is imported: a JAX worker never imports TensorFlow, nor the reverse.

    Raises:
        TuneError: The backend finds no such device.
    """
    if name == "tensorflow":
        from effv2_tune.training.backends.tensorflow.device import TensorFlowBackend

        return TensorFlowBackend.open(hardware)
    from effv2_tune.training.backends.jax.device import JaxBackend

    return JaxBackend.open(hardware)
