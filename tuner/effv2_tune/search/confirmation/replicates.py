"""Begins replicates: trials that train the config of a complete trial again, with another seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import TrialState

from effv2_tune.search.engines.base import begin_trial
from effv2_tune.search.engines.distributions import params_of_config
from effv2_tune.search.storage.records import is_replicate, record_attributes
from effv2_tune.study.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from optuna.trial import FrozenTrial

    from effv2_tune.search.storage.base import TrialStore
    from effv2_tune.search.workload import TrialPlan
    from effv2_tune.study.space import Config, Space


def replicate_notes(trial: Trial) -> tuple[str, ...]:
    """The first notes in the record of a trial."""
    return (f"replicate of trial {trial.replicate_of}",) if is_replicate(trial) else ()


def replicate_count(trial: Trial, trials: Sequence[Trial]) -> int:
    """A replicate's place among those of the same trial, from 1."""
    return 1 + sum(
        other.replicate_of == trial.replicate_of and other.number < trial.number for other in trials
    )


def replicate_seed(seed: int, count: int) -> int:
    """The seed of a trial's how many-th replicate; another one for each."""
    return int(np.random.SeedSequence([seed, count]).generate_state(1)[0])


def replicate_plan(plan: TrialPlan, trial: Trial, trials: Sequence[Trial]) -> TrialPlan:
    """The training of a replicate: with its own seed, on the same images, and without rungs.

    Args:
        plan: Of the original trial's config.
        trial: The replicate.
        trials: All trials of the study.
    """
    recipe = plan.recipe
    if recipe is not None:
        seed = replicate_seed(recipe.seed, replicate_count(trial, trials))
        recipe = recipe.model_copy(update={"seed": seed})
    return replace(plan, recipe=recipe, rungs={})


def begin_replicate(
    storage: TrialStore,
    space: Space,
    choose: Callable[[Sequence[Trial]], Trial],
    *,
    now: datetime,
) -> Trial:
    """Begin the replicate of a complete trial; its record is in the storage from the beginning.

    Args:
        storage: Of the study.
        space: The search space.
        choose: Returns the trial to train again, by all trials of the study; it may raise where
            there is none. It is called again where another supervisor begins a trial meanwhile.
        now: The time.
    """
    begun: list[Trial] = []

    def propose(trials: Sequence[FrozenTrial]) -> tuple[FrozenTrial, Config]:
        original = choose(storage.trials())
        params, distributions = params_of_config(space, original.config)
        replicate = Trial(
            number=len(trials),
            state="running",
            config=original.config,
            replicate_of=original.number,
            started=now,
        )
        replicate = replicate.model_copy(update={"notes": replicate_notes(replicate)})
        begun[:] = [replicate]
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=distributions,
            user_attrs=record_attributes(replicate),
        )
        return template, original.config

    begin_trial(storage, propose)
    return begun[0]
