"""Defines the type of tensors in signatures."""

from __future__ import annotations

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor, array or variable of the running Keras backend; none of them is typed by Keras."""
