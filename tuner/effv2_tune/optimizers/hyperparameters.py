"""New numbers and a fresh start for an optimizer, without a new trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class HasHyperparameters(Protocol):
    """An optimizer whose numbers are variables: `AdaBelief`, `AdamW`, `SGD`, `StepOptimizer`."""

    def set_hyperparameters(self, hyperparameters: Mapping[str, float]) -> None:
        """Give numbers new values."""

    def reset(self) -> None:
        """Begin anew in place."""


def set_hyperparameters(
    optimizer: HasHyperparameters, hyperparameters: Mapping[str, float]
) -> None:
    """Give numbers of `optimizer` new values; compiled steps use them without a new trace.

    Args:
        optimizer: One of this package.
        hyperparameters: New values by name: `learning_rate` or the numbers of the schedule
            (`initial_learning_rate`, `maximal_learning_rate`, `step_size`, `gamma`, ...),
            `weight_decay`, `beta_1`, and what else the optimizer was made with.

    Raises:
        TuneError: If the optimizer has no such number, or a value is out of its range. Then none
            has changed.
    """
    optimizer.set_hyperparameters(hyperparameters)


def reset(optimizer: HasHyperparameters) -> None:
    """Take `optimizer` back to step 0 in place: moments, averages and counters 0; numbers stay."""
    optimizer.reset()
