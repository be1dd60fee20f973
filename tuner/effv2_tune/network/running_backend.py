"""Finds the fast operations of the running backend, and asks it for exact products."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import ModuleType


@functools.cache
def backend_operations() -> ModuleType | None:
    """The fast operations of the running backend, if any: a JAX process imports no TensorFlow."""
    name = f"effv2_tune.network.{keras.backend.backend()}_operations"
    return import_module(name) if find_spec(name) else None


def exact_products(dtype: str = "float32") -> AbstractContextManager[None]:
    """Compute matrix products and convolutions that are traced inside in float32, not rounded.

    By default JAX rounds float32 factors on a TPU to bfloat16, and on a GPU to TensorFloat-32.

    Args:
        dtype: Of the computation; only for float32 does this change anything.
    """
    operations = backend_operations()
    if dtype != "float32" or operations is None:
        return nullcontext()
    context: AbstractContextManager[None] = operations.exact_products()
    return context


def gathers_slowly() -> bool:
    """Whether the device reads single pixels at computed positions much slower than neighbours."""
    operations = backend_operations()
    return operations is not None and bool(operations.gathers_slowly())
