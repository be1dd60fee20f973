"""Where each variable lies in one flat vector of all of them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import keras
from keras import ops

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class FlatLayout:
    """The variables of a flat vector, one after the other.

    Attributes:
        shapes: Of each variable, in order.
        dtypes: Of each variable.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, variables: Sequence[Any]) -> Self:
        """Lay out Keras variables in their order."""
        return cls(
            tuple(tuple(variable.shape) for variable in variables),
            tuple(keras.backend.standardize_dtype(variable.dtype) for variable in variables),
        )

    @property
    def sizes(self) -> list[int]:
        """Elements of each variable."""
        return [math.prod(shape) for shape in self.shapes]

    def flatten(self, arrays: Sequence[Any]) -> Any:
        """Join arrays of these shapes to one float32 vector."""
        flat = [ops.reshape(ops.cast(array, "float32"), (-1,)) for array in arrays]
        return ops.concatenate(flat) if len(flat) > 1 else flat[0]

    def split(self, vector: Any) -> list[Any]:
        """Cut a float32 vector into arrays of these shapes and dtypes."""
        ends = list(itertools.accumulate(self.sizes))
        parts = ops.split(vector, ends[:-1]) if len(ends) > 1 else [vector]
        return self.as_stored(
            ops.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )

    def as_stored(self, arrays: Any) -> list[Any]:
        """Cast arrays to the dtypes of the variables."""
        return [ops.cast(part, dtype) for part, dtype in zip(arrays, self.dtypes, strict=True)]
