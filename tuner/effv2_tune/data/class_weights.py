"""Computes the weight of each class in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from effv2_tune.errors import TuneError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from effv2_tune.data.dataset import Labels


def class_weights(
    labels: Labels, classes: Sequence[str], spec: Literal["balanced"] | Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """The weight of each class, as float32 [classes].

    ``balanced`` is scikit-learn's ``compute_class_weight("balanced")``: images / (classes x
    images of the class), so that every class has the same sum of weights and the mean weight of
    an image is 1. In a mapping, a class that is left out weighs 1, as in Keras.

    Args:
        labels: [count] int32, of the training images.
        classes: Names of the classes.
        spec: ``balanced``, or weights by the names of classes.

    Raises:
        TuneError: If a mapping names an unknown class, or a class to be balanced has no image.
    """
    if spec == "balanced":
        return _balanced(labels, classes)
    unknown = [name for name in spec if name not in classes]
    if unknown:
        raise TuneError(
            f"class_weight names a class {unknown[0]!r} that the dataset does not have"
            f"{did_you_mean(unknown[0], classes) or '.'}",
            hint=f"Its classes are: {', '.join(classes)}.",
        )
    return np.array([spec.get(name, 1.0) for name in classes], np.float32)


def _balanced(labels: Labels, classes: Sequence[str]) -> npt.NDArray[np.float32]:
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if missing:
        raise TuneError(
            f"'class_weight: balanced' has no weight for {missing[0]!r}: the training split has "
            "no image of it.",
            hint="Use more training images, set 'stratify: true', or give the weights by name.",
        )
    return (len(labels) / (len(classes) * counts)).astype(np.float32)
