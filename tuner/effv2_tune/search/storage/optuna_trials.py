"""Compares Optuna's trials, which samplers learn from, with the records of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.search.engines.distributions import config_of_params, distribution_of
from effv2_tune.search.storage.base import optuna_values
from effv2_tune.search.storage.damage import DamagedError
from effv2_tune.search.storage.optuna_study import CONSTRAINT, VIOLATED, optuna_state
from effv2_tune.search.storage.records import DUPLICATE, is_in_budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from effv2_tune.study.space import Space
    from effv2_tune.study.trial import Trial


def check_optuna_trials(
    optuna_trials: Sequence[FrozenTrial], records: Sequence[Trial], space: Space
) -> None:
    """Compare Optuna's trials with the records.

    Raises:
        DamagedError: One differs in parameters, state, values, or in what it counts as.
    """
    for trial, record in zip(optuna_trials, records, strict=True):
        # One whose ask was interrupted has no record, or not all parameters yet.
        is_asked = trial.state.is_finished() or len(trial.params) >= len(record.config)
        if record.config and is_asked and not _agree(trial, record, space):
            raise DamagedError(f"Trial {record.number} in Optuna's tables differs from its record.")


def _agree(trial: FrozenTrial, record: Trial, space: Space) -> bool:
    if trial.number != record.number or not _same_config(trial, record, space):
        return False
    if not trial.state.is_finished():
        return True
    return (
        trial.state == optuna_state(record)
        and tuple(trial.values or ()) == (optuna_values(record) or ())
        # Version 0.1 left the mark on a duplicate that was trained after all.
        and (is_in_budget(record) or trial.user_attrs.get(DUPLICATE) is True)
        and trial.system_attrs.get(CONSTRAINT)
        == (VIOLATED if record.state == "infeasible" else None)
    )


def _same_config(trial: FrozenTrial, record: Trial, space: Space) -> bool:
    if record.is_outside:
        return not trial.params
    axes = {axis.name: axis for axis in space.dimensions()}
    if any(
        name not in axes or distribution_of(axes[name]) != distribution
        for name, distribution in trial.distributions.items()
    ):
        return False
    return config_of_params(space, trial.params) == record.config
