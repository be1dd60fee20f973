"""A study whose search space was edited: its trials, moved into the new space.

Optuna refuses a parameter whose choices, scale or kind have changed. So the study is written anew
under its own name, trial by trial with the same numbers, and the old one is kept beside it under
another. A trial that lies outside of the new space no longer counts, and its record is kept: widen
the space again, and it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from effv2_tune.errors import TuneError
from effv2_tune.search.engines.distributions import drawn_by
from effv2_tune.search.storage.database import FITS, OPTUNA_STATES, OURS, DatabaseStorage
from effv2_tune.search.storage.records import (
    ARCHIVED,
    DUPLICATE,
    OUTSIDE,
    OUTSIDE_NOTE,
    RECORD,
    add_checksum,
    is_duplicate,
    rename_studies,
    study_names,
    verify_checksum,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.space import Space
    from effv2_tune.study.trial import Trial

_UNFINISHED_NAME = f"{ARCHIVED}new"
#: Study attributes that the new study gets of its own.
_ITS_OWN = frozenset({f"{OURS}plan", f"{OURS}ended_by"})


def change_space(url: str, plan: StudyPlan) -> tuple[int, int]:
    """Move the trials of a study into the space of ``plan``.

    Killed on the way, the study is as it was, and the next call begins again.

    Args:
        url: The study's database.
        plan: With the study's name, and its new space.

    Returns:
        How many trials lie in the new space, and how many do not.

    Raises:
        TuneError: Another supervisor runs the study at this moment.
    """
    old = DatabaseStorage(url, plan.name, plan.directions)
    try:
        if not old.is_idle():
            raise TuneError(
                f"Study {plan.name} is running, and its search space cannot change meanwhile.",
                hint="Stop the other 'effv2-tune run' (Ctrl-C loses nothing), and start again.",
            )
        trials = [_original(old, trial) for trial in old.trials()]
        attributes = {k: v for k, v in old.attributes().items() if k not in _ITS_OWN}
    finally:
        old.close()
    _discard(url, plan.name + _UNFINISHED_NAME)
    new = DatabaseStorage(url, plan.name + _UNFINISHED_NAME, plan.directions)
    try:
        for key, value in attributes.items():
            new.keep(key.removeprefix(OURS), value)
        inside = [plan.search_space.contains(trial.config) for trial in trials]
        for trial, lies_inside in zip(trials, inside, strict=True):
            template = _moved(trial, plan.search_space) if lies_inside else _left_outside(trial)
            new.add(template)
        new.release_all()
    finally:
        new.close()
    _swap(url, plan.name)
    return sum(inside), len(inside) - sum(inside)


def _original(storage: DatabaseStorage, trial: Trial) -> Trial:
    """The trial as it was before it came to lie outside."""
    sealed = storage.trial_attribute(trial.number, OUTSIDE)
    return trial if sealed is None else verify_checksum(trial.number, sealed)


def _moved(trial: Trial, space: Space) -> FrozenTrial:
    """A trial as Optuna would have it, had it been drawn from ``space``."""
    params, distributions = drawn_by(space, trial.config)
    measured = trial.measurement if trial.state == "complete" else None
    return optuna.trial.create_trial(
        state=OPTUNA_STATES.get(trial.state, TrialState.RUNNING),
        params=params,
        distributions=distributions,
        values=None if measured is None else [measured.quality, measured.train_seconds],
        user_attrs={RECORD: add_checksum(trial), DUPLICATE: is_duplicate(trial)},
        system_attrs={f"constraints:{FITS}": 1.0} if trial.state == "infeasible" else {},
    )


def _left_outside(trial: Trial) -> FrozenTrial:
    """A trial that keeps its number and its record, and no longer counts."""
    placeholder = trial.model_copy(
        update={
            "state": "failed",
            "measurement": None,
            "scores": None,
            "reason": f"{OUTSIDE_NOTE} (it was {trial.state})",
            "notes": (OUTSIDE_NOTE,),
        }
    )
    attributes: dict[str, Any] = {
        RECORD: add_checksum(placeholder),
        OUTSIDE: add_checksum(trial),
        DUPLICATE: True,
    }
    return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes)


def _discard(url: str, name: str) -> None:
    """Remove what an earlier attempt left."""
    engine = sa.create_engine(url)
    try:
        left = name in study_names(engine)
    finally:
        engine.dispose()
    if left:
        optuna.delete_study(study_name=name, storage=url)


def _swap(url: str, name: str) -> None:
    """Put the new study in the old one's place, in one transaction."""
    engine = sa.create_engine(url)
    try:
        finished = name + _UNFINISHED_NAME
        before = [one for one in study_names(engine) if one.startswith(name + ARCHIVED)]
        archive = f"{name}{ARCHIVED}{len(before) - 1}"
        rename_studies(engine, {name: archive, finished: name})
    finally:
        engine.dispose()
