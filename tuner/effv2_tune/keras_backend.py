"""Sets Keras' backend where its default is not installed."""

from __future__ import annotations

import os
from importlib.util import find_spec


def set_keras_backend() -> None:
    """Set ``KERAS_BACKEND=jax`` where Keras would otherwise fail to import.

    Keras defaults to TensorFlow, which is optional here. A backend that is set in the environment,
    or installed, is kept.
    """
    if "KERAS_BACKEND" not in os.environ and not has_package("tensorflow") and has_package("jax"):
        os.environ["KERAS_BACKEND"] = "jax"


def has_package(name: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
