"""Reports the progress of downloads and decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of one activity.

    Attributes:
        activity: What is being done, such as "decoding images".
        done: How much of it, in ``unit``.
        total: How much there is, or None if unknown.
        unit: "bytes" or "images".
    """

    activity: str
    done: int
    total: int | None
    unit: str


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Report nothing."""
    del progress
