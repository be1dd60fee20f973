"""Writes counts with their nouns and verbs."""

from __future__ import annotations


def pluralized(count: float, noun: str) -> str:
    """A count with its noun: ``1 trial``, ``12 trials``, ``0.5 hours``."""
    shown = f"{count:,}" if isinstance(count, int) else f"{count:,g}"
    return f"{shown} {noun}" if count == 1 else f"{shown} {noun}s"


def are(count: float) -> str:
    """The verb after a count: ``is`` after one, else ``are``."""
    return "is" if count == 1 else "are"


def all_of(count: int, noun: str) -> str:
    """The subject of a sentence about all: ``All 4 trials``, and ``The only trial`` of one."""
    return f"The only {noun}" if count == 1 else f"All {pluralized(count, noun)}"
