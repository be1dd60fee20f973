"""Restores the decimal that was rounded to float32."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_written(value: Any) -> float:
    """Return the shortest decimal that float32 rounds to `value`: 0.9, not 0.8999999761581421.

    Args:
        value: A float32 scalar of numpy.
    """
    return float(str(np.float32(value)))
