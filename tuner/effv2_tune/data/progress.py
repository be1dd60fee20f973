"""How far a download or a decoding is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one activity is.

    Attributes:
        activity: What is being done, such as "decoding images".
        done: How much of it, in ``unit``.
        total: How much there is, or None where nobody says.
        unit: "bytes" or "images".
    """

    activity: str
    done: int
    total: int | None
    unit: str


OnProgress = Callable[[Progress], None]


def say_nothing(progress: Progress) -> None:
    """Take a progress and keep quiet."""
    del progress
