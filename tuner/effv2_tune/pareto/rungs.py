"""Places rungs at fractions of a trial's epochs, in the valleys of its learning-rate cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.recipe import Settings

_CYCLING = ("triangular", "triangular2", "exponential")


def cycle_epochs(recipe: Settings) -> float | None:
    """Length of a learning-rate cycle, in epochs; None if any epoch can be a rung.

    Averaged weights need no valley: they are as good at the peak of a cycle.
    """
    if recipe.ema or recipe.schedule not in _CYCLING:
        return None
    return 2 * recipe.step_size_epochs


def rungs_of(recipe: Settings, fractions: Sequence[float]) -> dict[int, int]:
    """The epoch at whose end each rung of a recipe is placed; see :func:`place_rungs`.

    Rungs compare networks whose layers are all trained: where the first epochs train the classifier
    alone, the fractions are those of the epochs after them.
    """
    head = recipe.head_epochs
    placed = place_rungs(recipe.epochs - head, fractions, cycle=cycle_epochs(recipe))
    return {rung: head + epoch for rung, epoch in placed.items()}


def place_rungs(
    epochs: int, fractions: Sequence[float], *, cycle: float | None = None
) -> dict[int, int]:
    """The epoch at whose end each rung is placed.

    A trial at the peak of its learning rate must not be judged against one in its valley, so where
    the schedule cycles a rung moves to the nearest end of a cycle.

    Args:
        epochs: Of the whole trial.
        fractions: Of ``epochs``, ascending; the rung's index is the fraction's position.
        cycle: Length of a cycle in epochs; None leaves the rungs where the fractions put them.

    Returns:
        Epochs from 1 by rung index, both ascending. No rung is at the last epoch, and no two at
        one epoch: of rungs that coincide, the one that moved least remains.
    """
    nearest: dict[int, tuple[float, int]] = {}
    for rung, fraction in enumerate(fractions):
        wanted = fraction * epochs
        epoch = _nearest_epoch(wanted, cycle)
        if epoch < epochs:
            nearest[epoch] = min(
                nearest.get(epoch, (float("inf"), rung)), (abs(epoch - wanted), rung)
            )
    return {rung: epoch for epoch, (_, rung) in sorted(nearest.items())}


def _nearest_epoch(wanted: float, cycle: float | None) -> int:
    if cycle is not None:
        wanted = max(round(wanted / cycle), 1) * cycle
    return max(round(wanted), 1)
