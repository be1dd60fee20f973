"""Keras' default backend is TensorFlow, which need not be installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from effv2_tune import keras_backend
from effv2_tune.keras_backend import set_keras_backend

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("installed", "before", "after"),
    [
        ({"jax"}, None, "jax"),
        ({"jax"}, "torch", "torch"),
        ({"jax", "tensorflow"}, None, None),
        (set(), None, None),
    ],
)
def test_keras_is_switched_to_jax_only_where_tensorflow_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    before: str | None,
    after: str | None,
) -> None:
    is_installed: Callable[[str], bool] = installed.__contains__
    monkeypatch.setattr(keras_backend, "has_package", is_installed)
    monkeypatch.setattr(os, "environ", {} if before is None else {"KERAS_BACKEND": before})

    set_keras_backend()

    assert os.environ.get("KERAS_BACKEND") == after
