"""Projects the training time of a recipe."""

from __future__ import annotations


def training_seconds(steps: int, step_seconds: float, *, extraction_seconds: float = 0.0) -> float:
    """Seconds of training of the final training.

    Args:
        steps: Optimizer steps that the recipe plans.
        step_seconds: Steady-state time of one step of its bucket.
        extraction_seconds: One pass of a frozen backbone over the images; 0 for any other.
    """
    return steps * step_seconds + extraction_seconds


def project_seconds(seconds: float, *, epoch: int, epochs: int) -> float:
    """Seconds of a whole run, in proportion to those of its first ``epoch`` epochs."""
    return seconds * epochs / epoch
