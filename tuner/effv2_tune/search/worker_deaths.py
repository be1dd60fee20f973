"""Counts the deaths of workers during a trial, and decides which count against its config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.errors import RESUME_HINT, UnavailableError

if TYPE_CHECKING:
    from effv2_tune.errors import TuneError
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.pool import WorkerExited

#: Workers that crash at one point of a trial before it is infeasible.
MAX_CRASHES = 2
#: Workers that the kernel kills at one point of a trial, as the host memory ran out, before it is
#: infeasible.
MAX_MEMORY_KILLS = 3
#: Workers that others kill at one point of a trial, in one run, before the study ends.
MAX_KILLS = 10


def with_death(trial: Trial, exited: WorkerExited) -> Trial:
    """The trial after the death of its worker; a newer checkpoint sets all counts to zero."""
    before = (0, 0, 0)
    if exited.step <= trial.death_step:
        before = (trial.deaths, trial.crashes, trial.memory_kills)
    return trial.model_copy(
        update={
            "deaths": before[0] + 1,
            "crashes": before[1] + (exited.kind == "crash"),
            "memory_kills": before[2] + (exited.kind == "memory"),
            "death_step": max(exited.step, trial.death_step),
        }
    )


def infeasible_reason(trial: Trial, cause: str) -> str:
    """Why a trial is infeasible after the death of its worker; empty while it may be resumed.

    Args:
        trial: With the deaths so far.
        cause: Of the last one, in words.
    """
    point = f"without a checkpoint after step {trial.death_step}"
    if trial.memory_kills >= MAX_MEMORY_KILLS:
        return (
            f"does not fit the host memory: the kernel killed {trial.memory_kills} workers in a "
            f"row for lack of it, {point}"
        )
    if trial.crashes >= MAX_CRASHES:
        return f"crashed {trial.crashes} workers at the same point, {point}: {cause}"
    return ""


def repeated_kills(trial: Trial, last: WorkerExited) -> TuneError:
    """The error that ends the study where its workers are killed again and again."""
    return UnavailableError(
        f"Trial {trial.number} cannot go on: {MAX_KILLS} workers in a row were killed without a "
        f"checkpoint after step {trial.death_step} (the last: {last.cause}).",
        hint="The kernel did not count a lack of host memory, so the trial is not infeasible: find "
        "out what kills the workers, such as a limit of a container or of a scheduler, or use "
        f"fewer workers.\n{RESUME_HINT}",
    )
