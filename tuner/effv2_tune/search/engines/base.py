"""Defines engines, which propose configs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from effv2_tune.search.storage.base import TrialNumberTakenError
from effv2_tune.search.storage.records import is_sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optuna.trial import FrozenTrial

    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.study.space import Config


@dataclass(frozen=True)
class Asked:
    """A new trial.

    Attributes:
        number: From 0; the trial is in the storage, and this supervisor has its lease.
        config: One value for each parameter.
    """

    number: int
    config: Config


class Exhausted(Exception):  # noqa: N818 - not an error: the engine has nothing left to try
    """The engine has no further config."""


def begin_trial(
    storage: TrialStore,
    propose: Callable[[Sequence[FrozenTrial]], tuple[FrozenTrial, Config]],
) -> Asked:
    """Begin a new trial in the storage.

    Args:
        storage: Of the study.
        propose: Samples the next trial, in Optuna's form and as a config, from those before.
    """
    study_id = storage.optuna.get_study_id_from_name(storage.study_name)
    while True:
        trials = storage.optuna.get_all_trials(study_id, deepcopy=False)
        template, config = propose(trials)
        # Sampled again if the number is taken: from the same seed, two supervisors would have the
        # same config.
        with contextlib.suppress(TrialNumberTakenError):
            storage.begin(template, len(trials))
            return Asked(len(trials), config)


def position(trials: Sequence[FrozenTrial], number: int) -> int:
    """The place of trial ``number`` in the order of sampling, from 0.

    Retries and replicates are not sampled.

    Args:
        trials: At least all those of lower numbers.
        number: Of the trial.
    """
    return sum(is_sampled(trial.user_attrs) for trial in trials if trial.number < number)


class Engine(Protocol):
    """Proposes configs; it reads the outcomes of earlier trials from the storage."""

    def ask(self) -> Asked:
        """Begin a new trial.

        Raises:
            Exhausted: There is nothing left to try.
            BudgetSpentError: All trials of the study have been begun.
        """

    def resume(self, number: int) -> Config:
        """The config of a running trial, completed where its ask was interrupted."""
