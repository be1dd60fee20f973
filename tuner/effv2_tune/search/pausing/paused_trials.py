"""Pauses, promotes and stops the paused trials of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from effv2_tune.pareto import Objective
from effv2_tune.search import events
from effv2_tune.search.pausing.worst import worst_paused
from effv2_tune.search.running_trial import RunningTrial
from effv2_tune.search.storage.base import LeaseLostError
from effv2_tune.search.trial_updates import with_state

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from effv2_tune.search.budget import Budget
    from effv2_tune.search.clock import Clock
    from effv2_tune.search.confirmation.decisions import Confirmation
    from effv2_tune.search.duplicates import Duplicates
    from effv2_tune.search.events import Event
    from effv2_tune.search.rung_decision import RungPolicy
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.study.trial import Trial
    from effv2_tune.workers.messages import Paused

#: Ends after which paused trials are still continued: no new trial may begin.
_ONLY_OF_NEW_TRIALS = ("trials", "exhausted")


class PausingLoop(Protocol):
    """The event loop, as far as paused trials need it.

    Attributes:
        plan: The study.
        storage: Of the study.
        clock: Real or simulated.
        budget: Of the search, or of the confirmation.
        duplicates: The trials that wait for the outcome of another one.
        end: Why no further trial begins; None while one may.
        confirmation: Present where the search has ended: replicates are never paused.
        running: The trials that this supervisor runs, by number.
    """

    plan: StudyPlan
    storage: Storage
    clock: Clock
    budget: Budget | Confirmation
    duplicates: Duplicates
    end: events.StudyEnded | None
    confirmation: Confirmation | None
    running: dict[int, RunningTrial]

    def queue(self, trial: Trial) -> None:
        """Let a trial wait for an idle worker."""

    def fetch_checkpoint(self, trial: Trial) -> Iterator[Event]:
        """Fetch the checkpoint of a trial that was trained elsewhere."""

    def finish(self, running: RunningTrial, trial: Trial) -> Iterator[Event]:
        """Record the outcome of a trial and of its duplicates."""

    def finish_duplicates(self, trial: Trial) -> Iterator[Event]:
        """Record the outcome of a trial for the duplicates that wait for it."""

    def drop(self, number: int) -> Iterator[Event]:
        """Stop tracking a trial that another supervisor has taken over."""


class PausedTrials:
    """The paused trials of a study, which belong to no supervisor and to no worker.

    Args:
        loop: Of the study.
        policy: Which of them are continued.
        missing_bytes: How many more bytes the disk needs; 0 if it has room.
    """

    def __init__(
        self, loop: PausingLoop, policy: RungPolicy, missing_bytes: Callable[[], int]
    ) -> None:
        self._loop = loop
        self._policy = policy
        self._missing_bytes = missing_bytes

    def pause(self, running: RunningTrial, message: Paused) -> Iterator[Event]:
        """Pause a trial, whose worker has written its checkpoint."""
        loop, number = self._loop, running.number
        pause = running.pause(message, now=loop.clock.now(), since=loop.clock.utc())
        try:
            loop.storage.pause(running.trial)
        except LeaseLostError:
            yield from loop.drop(number)
            return
        del loop.running[number]
        quality = running.trial.rungs[-1].quality
        yield events.TrialPaused(trial=number, pause=pause, quality=quality)
        yield from self.make_room()

    def has_promotion(self) -> bool:
        """Whether a paused trial would be continued by an idle worker."""
        return self._chosen() is not None

    def promote(self) -> Generator[Event, None, bool]:
        """Let the best paused trial wait for an idle worker; whether there was one to promote."""
        paused = self._chosen()
        if paused is None or paused.pause is None:
            return False
        trial = paused.model_copy(update={"state": "running", "pause": None})
        try:
            self._loop.storage.take_paused(trial)
        except LeaseLostError:
            return True  # another supervisor was faster; the next choice knows it
        self._loop.queue(trial)
        yield events.TrialPromoted(trial=trial.number, pause=paused.pause)
        yield from self._loop.fetch_checkpoint(trial)
        return True

    def make_room(self) -> Generator[Event, None, bool]:
        """Stop paused trials for good, the worst first, while the disk is nearly full.

        Returns:
            Whether there is more room now.
        """
        has_room = False
        missing = self._missing_bytes()
        objective = Objective(self._loop.plan.directions[0])
        while missing > 0:
            worst = worst_paused(self._loop.storage.trials(), objective)
            if worst is None:
                break
            yield from self._stop(worst, "the disk was nearly full")
            before, missing = missing, self._missing_bytes()
            if missing >= before:
                break  # something else fills the disk
            has_room = True
        return has_room

    def stop_all(self) -> Iterator[Event]:
        """Stop them for good, as the study has ended."""
        for trial in self._loop.storage.trials():
            if trial.state == "paused":
                yield from self._stop(trial, "the study ended")

    def follow_duplicates(self) -> Iterator[Event]:
        """Settle the duplicates of paused trials that other supervisors have continued."""
        loop = self._loop
        others = [number for number in loop.duplicates.originals() if number not in loop.running]
        if not others:
            return
        known = {trial.number: trial for trial in loop.storage.trials()}
        for number in others:
            if known[number].has_ended:
                yield from loop.finish_duplicates(known[number])
            elif known[number].state == "running":
                for duplicate in loop.duplicates.pop_waiting(number):
                    loop.queue(duplicate)

    def _chosen(self) -> Trial | None:
        """The paused trial that an idle worker continues."""
        loop = self._loop
        is_over = loop.end is not None and loop.end.kind not in _ONLY_OF_NEW_TRIALS
        if is_over or loop.confirmation is not None or not self._policy.pauses:
            return None
        known = loop.storage.trials()
        number = self._policy.choose_paused(known, seconds_left=loop.budget.seconds_left())
        return next((trial for trial in known if trial.number == number), None)

    def _stop(self, trial: Trial, why: str) -> Iterator[Event]:
        """Stop a paused trial for good."""
        if trial.pause is None:
            raise AssertionError("a paused trial has a pause")
        reason = f"paused after epoch {trial.pause.epoch}, and stopped as {why}"
        pruned = with_state(trial, "pruned", reason)
        pruned = pruned.model_copy(update={"ended": self._loop.clock.utc()})
        try:
            self._loop.storage.take_paused(pruned)
        except LeaseLostError:
            return  # another supervisor continues or stops it
        running = RunningTrial(pruned)
        self._loop.running[trial.number] = running
        yield from self._loop.finish(running, pruned)
