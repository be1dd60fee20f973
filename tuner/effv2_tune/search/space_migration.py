"""Migrates the trials of a study to an edited search space.

Optuna refuses a parameter whose choices, scale or kind have changed. So the study is rewritten
under its name, trial by trial with the same numbers, and the old one is archived in the database. A
trial outside of the new space no longer counts, but its record is kept: it counts again when the
space is widened.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from effv2_tune.errors import TuneError
from effv2_tune.search.engines.distributions import params_of_config
from effv2_tune.search.storage.base import OURS, optuna_values
from effv2_tune.search.storage.database import DatabaseStorage
from effv2_tune.search.storage.optuna_study import CONSTRAINT, VIOLATED, optuna_state
from effv2_tune.search.storage.records import (
    ARCHIVED,
    OUTSIDE,
    add_checksum,
    connected,
    record_attributes,
    rename_studies,
    study_names,
    verify_checksum,
)
from effv2_tune.study.trial import OUTSIDE_NOTE

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Space
    from effv2_tune.study.trial import Trial

_UNFINISHED_NAME = f"{ARCHIVED}new"
#: Study attributes that are not copied.
_NOT_COPIED = frozenset({f"{OURS}plan", f"{OURS}ended_by"})


def change_space(url: str, plan: StudyPlan) -> tuple[int, int]:
    """Migrate the trials of a study to the space of ``plan``.

    If it is killed, the study is unchanged, and the next call starts from the beginning.

    Args:
        url: The study's database.
        plan: With the study's name, and its new space.

    Returns:
        How many trials are inside and outside of the new space.

    Raises:
        TuneError: Another supervisor runs the study.
    """
    with closing(DatabaseStorage(url, plan.name, plan.directions)) as old:
        if not old.is_idle():
            raise TuneError(
                f"Study {plan.name} is running, so its search space cannot change.",
                hint="Stop the other 'effv2-tune run' (Ctrl-C loses nothing), then try again.",
            )
        trials = [_original(old, trial) for trial in old.recorded_trials()]
        attributes = {k: v for k, v in old.attributes().items() if k not in _NOT_COPIED}
    unfinished = plan.name + _UNFINISHED_NAME
    _discard(url, unfinished, plan)
    with closing(DatabaseStorage(url, unfinished, plan.directions)) as new:
        for key, value in attributes.items():
            new.keep(key.removeprefix(OURS), value)
        inside = [plan.search_space.contains(trial.config) for trial in trials]
        for trial, is_inside in zip(trials, inside, strict=True):
            template = _migrated(trial, plan.search_space) if is_inside else _outside(trial)
            new.add(template)
            if is_inside and trial.state == "paused":
                new.pause(trial)
        new.release_all()
    _swap(url, plan.name)
    return sum(inside), len(inside) - sum(inside)


def _original(storage: DatabaseStorage, trial: Trial) -> Trial:
    """The trial as it was before an edit of the space excluded it."""
    record = storage.trial_attribute(trial.number, OUTSIDE)
    return trial if record is None else verify_checksum(trial.number, record)


def _migrated(trial: Trial, space: Space) -> FrozenTrial:
    """A trial in Optuna's form, as if it had been sampled from ``space``."""
    params, distributions = params_of_config(space, trial.config)
    return optuna.trial.create_trial(
        state=optuna_state(trial),
        params=params,
        distributions=distributions,
        values=optuna_values(trial),
        user_attrs=record_attributes(trial),
        system_attrs={CONSTRAINT: VIOLATED} if trial.state == "infeasible" else {},
    )


def _outside(trial: Trial) -> FrozenTrial:
    """A trial that keeps its number and its record, but no longer counts."""
    placeholder = trial.model_copy(
        update={
            "state": "failed",
            "measurement": None,
            "scores": None,
            "standard_errors": None,
            "reason": f"{OUTSIDE_NOTE} (it was {trial.state})",
            "notes": (OUTSIDE_NOTE,),
        }
    )
    attributes = record_attributes(placeholder) | {OUTSIDE: add_checksum(trial)}
    return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes)


def _discard(url: str, name: str, plan: StudyPlan) -> None:
    """Remove the unfinished study of an earlier attempt."""
    with connected(url) as engine:
        exists = name in study_names(engine)
    if exists:
        with closing(DatabaseStorage(url, name, plan.directions)) as unfinished:
            unfinished.delete()


def _swap(url: str, name: str) -> None:
    """Replace the old study by the new one, in one transaction."""
    with connected(url) as engine:
        finished = name + _UNFINISHED_NAME
        before = [n for n in study_names(engine) if n.startswith(name + ARCHIVED)]
        archive = f"{name}{ARCHIVED}{len(before) - 1}"
        rename_studies(engine, {name: archive, finished: name})
