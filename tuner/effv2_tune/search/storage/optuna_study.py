"""Creates and updates studies through Optuna's storage API."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from effv2_tune.search.storage.base import FITS, optuna_state_name, optuna_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optuna.storages import BaseStorage

    from effv2_tune.study.plan import Direction
    from effv2_tune.study.trial import Trial

#: System attribute under which Optuna's samplers read whether a trial is feasible; see
#: ``optuna.Trial.set_constraint``.
CONSTRAINT = f"constraints:{FITS}"
#: Its value for an infeasible trial: above 0.
VIOLATED = 1.0
#: System attribute of a study with the names of its objectives: ``optuna.Study.set_metric_names``
#: writes it, with a warning that it is experimental.
METRIC_NAMES = "study:metric_names"


@contextlib.contextmanager
def silence_optuna() -> Iterator[None]:
    """Optuna without its log messages on stderr."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def create_study(storage: BaseStorage, name: str, directions: tuple[Direction, Direction]) -> None:
    """Create a study unless there is one of that name."""
    kinds = [StudyDirection[direction.upper()] for direction in directions]
    with silence_optuna(), contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
        storage.create_new_study(kinds, name)


def name_objectives(storage: BaseStorage, study_id: int, names: Sequence[str]) -> None:
    """Name the objectives for Optuna's own tools, unless they have these names.

    Args:
        storage: Of the study.
        study_id: Optuna's id of the study.
        names: One for each objective.
    """
    if storage.get_study_system_attrs(study_id).get(METRIC_NAMES) != list(names):
        storage.set_study_system_attr(study_id, METRIC_NAMES, list(names))


def optuna_state(trial: Trial) -> TrialState:
    """Optuna's state of a trial."""
    return TrialState[optuna_state_name(trial)]


def end_trial(storage: BaseStorage, trial_id: int, trial: Trial) -> None:
    """Give a trial its last state and its values, and mark it as infeasible if it is."""
    if trial.state == "infeasible":
        storage.set_trial_system_attr(trial_id, CONSTRAINT, VIOLATED)
    storage.set_trial_state_values(trial_id, optuna_state(trial), optuna_values(trial))
