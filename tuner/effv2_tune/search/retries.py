"""Retries failed trials: each as a new trial of the same config, linked to the failed one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from effv2_tune.search.engines.base import begin_trial
from effv2_tune.search.engines.distributions import params_of_config
from effv2_tune.search.events import StudyEnded
from effv2_tune.search.storage.records import record_attributes, unretried
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial

    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.study.space import Config, Space


class AlreadyRetriedError(Exception):
    """Another supervisor has begun the retry."""


def retry_notes(trial: Trial) -> tuple[str, ...]:
    """The first notes in the record of a trial."""
    return () if trial.retry_of is None else (f"retry of trial {trial.retry_of}",)


def begin_retry(storage: TrialStore, space: Space, failed: Trial, *, now: datetime) -> Trial:
    """Begin the retry of a failed trial; its record is in the storage from the beginning.

    Raises:
        AlreadyRetriedError: It has one.
    """
    params, distributions = params_of_config(space, failed.config)

    def retry(number: int) -> Trial:
        trial = Trial(
            number=number,
            state="running",
            config=failed.config,
            retry_of=failed.number,
            started=now,
        )
        return trial.model_copy(update={"notes": retry_notes(trial)})

    def propose(trials: Sequence[FrozenTrial]) -> tuple[FrozenTrial, Config]:
        if all(trial.number != failed.number for trial in unretried(storage.trials())):
            raise AlreadyRetriedError
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=distributions,
            user_attrs=record_attributes(retry(len(trials))),
        )
        return template, failed.config

    return retry(begin_trial(storage, propose).number)


def with_failures(end: StudyEnded, trials: Sequence[Trial]) -> StudyEnded:
    """The end of a study with the number of its failed trials, so that it is not called done."""
    count = len(unretried(trials))
    if not count:
        return end
    reason = end.reason.replace(" are done.", " have ended.").removesuffix(".")
    which, them = ("1 trial", "it") if count == 1 else (f"{count} trials", "them")
    return StudyEnded(
        kind=end.kind,
        reason=f"{reason}. {which} failed: add --retry-failed to the command to try {them} again.",
    )
