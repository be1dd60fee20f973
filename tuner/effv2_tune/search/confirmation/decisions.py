"""Decides which trial is trained again, and when the picks are confirmed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effv2_tune.pareto import Objective
from effv2_tune.pareto.racing import LEAST_GAIN, Race, first_replicate
from effv2_tune.plurals import all_of, are, pluralized
from effv2_tune.search.budget import failing
from effv2_tune.search.confirmation.candidates import contenders, training_cost
from effv2_tune.search.confirmation.replicates import begin_replicate
from effv2_tune.search.events import ReplicateChosen, StudyEnded
from effv2_tune.search.storage.records import is_replicate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.pareto.racing import Pick
    from effv2_tune.search.clock import Clock
    from effv2_tune.search.confirmation.candidates import Contender
    from effv2_tune.search.storage.base import Storage
    from effv2_tune.study.plan import ConfirmSpec, StudyPlan
    from effv2_tune.study.trial import Trial

_HOUR = 3600.0


class NoReplicateError(Exception):
    """There is nothing to train again.

    Args:
        end: Why.
    """

    def __init__(self, end: StudyEnded) -> None:
        super().__init__(end.reason)
        self.end = end


class Confirmation:
    """The confirmation of a study's picks, earlier runs included.

    Its decisions depend on the records of the trials alone, so that a run that was killed and
    continued decides as one that was not.

    Args:
        plan: The study.
        spec: Its budget, and when a pick is clear.
        storage: Of the study.
        clock: Of this run; its confirmation starts now.
    """

    def __init__(self, plan: StudyPlan, spec: ConfirmSpec, storage: Storage, clock: Clock) -> None:
        self._plan = plan
        self._spec = spec
        self._storage = storage
        self._clock = clock
        self._objective = Objective(plan.directions[0])
        self._began = clock.now()
        self._before = storage.confirm_seconds_before()
        self._failed_before = {t.number for t in storage.trials() if t.state == "failed"}

    @property
    def limit(self) -> int | None:
        """The largest number of replicates; None for no limit."""
        return self._spec.trials

    def spent(self) -> StudyEnded | None:
        """Why no replicate may begin; None while one may."""
        found = self.time_spent() or self.failing() or self._decide(self._storage.trials())
        return found if isinstance(found, StudyEnded) else None

    def failing(self) -> StudyEnded | None:
        """The reason where replicate after replicate has failed in this run; None otherwise."""
        return failing(self._storage.trials(), before=self._failed_before)

    def begin(self) -> tuple[Trial, ReplicateChosen]:
        """Begin the replicate that is worth most.

        Raises:
            NoReplicateError: There is none.
        """
        chosen: list[ReplicateChosen] = []

        def choose(trials: Sequence[Trial]) -> Trial:
            decision = self._decide(trials)
            if isinstance(decision, StudyEnded):
                raise NoReplicateError(decision)
            chosen[:] = [decision]
            return next(trial for trial in trials if trial.number == decision.replicate_of)

        space, now = self._plan.search_space, self._clock.utc()
        trial = begin_replicate(self._storage, space, choose, now=now)
        return trial, chosen[0]

    def leave_out(self) -> None:
        """Do not count this run so far: a download needs no device."""
        self._began = self._clock.now()

    def hold(self, worker: int, devices: int) -> None:
        """Devices do not count: replicates are beyond the accelerator-hours of the search."""

    def time_spent(self) -> StudyEnded | None:
        """The reason where the hours are used up; None otherwise."""
        if self.seconds_left() > 0:
            return None
        hours = self._spec.hours or 0
        spent = f"{pluralized(hours, 'hour')} of training replicates {are(hours)}"
        reason = f"The {spent} used up."
        return StudyEnded(kind="hours", reason=f"{reason} {self._unclear(self._picks())}".strip())

    def seconds_left(self) -> float:
        """Seconds until the hours are used up; infinite without a limit."""
        if self._spec.hours is None:
            return math.inf
        return self._spec.hours * _HOUR - self._before - self._running()

    def keep(self) -> None:
        """Store the duration of this run."""
        self._storage.keep_confirm_seconds(self._running())

    def _running(self) -> float:
        return self._clock.now() - self._began

    def _picks(self) -> list[Pick]:
        return self._picks_of(self._race(contenders(self._storage.trials())))

    def _picks_of(self, race: Race) -> list[Pick]:
        """Those that are to be clear."""
        picks = race.picks(self._spec.difference)
        return [pick for pick in picks if self._spec.pick in {None, pick.name}]

    def _race(self, known: Sequence[Contender]) -> Race:
        facts = self._storage.data_facts()
        images = None if facts is None else facts.scored
        candidates = [one.candidate(self._plan.quality, images) for one in known]
        return Race.of(candidates, [one.running for one in known], self._objective)

    def _decide(self, trials: Sequence[Trial]) -> ReplicateChosen | StudyEnded:
        """The replicate that is worth most, or why there is none."""
        known = contenders(trials)
        race = self._race(known)
        picks = self._picks_of(race)
        unclear = self._unclear(picks)
        if not unclear:
            subject = "Every pick" if self._spec.pick is None else f"The {self._spec.pick} pick"
            reason = f"{subject} is clear at {self._spec.level:.0%}."
            return StudyEnded(kind="clear", reason=reason)
        replicates = [trial for trial in trials if is_replicate(trial)]
        reason = self._used_up(trials, replicates)
        if reason:
            return StudyEnded(kind="trials", reason=f"{reason} {unclear}")
        costs = [math.inf if one.is_refused else one.cost_seconds for one in known]
        first = first_replicate(picks, costs)
        if first is not None:
            return ReplicateChosen(
                trial=len(trials),
                replicate_of=known[first].trial.number,
                count=len(known[first].replicates) + 1,
                reason="one training does not show what another seed changes",
            )
        limits = None if self._spec.pick is None else [pick.limit for pick in picks]
        chosen = race.next_replicate(costs, LEAST_GAIN * self._spec.difference, limits=limits)
        if chosen is None:
            is_known_once = any(pick.needs_replicate for pick in picks)
            why = (
                "Training it with other seeds has failed."
                if is_known_once
                else "No further replicate would change that: the validation images are too few to "
                "tell these recipes apart."
            )
            return StudyEnded(kind="unclear", reason=f"{unclear} {why}")
        trial, rival = known[chosen.position].trial.number, known[chosen.rival].trial.number
        better, other = (f"trial {rival}", "it") if chosen.leads else ("it", f"trial {rival}")
        word = "more accurate" if "accuracy" in self._plan.quality else "better"
        return ReplicateChosen(
            trial=len(trials),
            replicate_of=trial,
            count=len(known[chosen.position].replicates) + 1,
            rival=rival,
            probability=chosen.probability,
            reason=f"{better} may be {word} than {other} ({chosen.probability:.0%})",
        )

    def _used_up(self, trials: Sequence[Trial], replicates: Sequence[Trial]) -> str:
        """The limit that is reached, as a sentence; empty where none is."""
        limit = self._spec.trials
        if limit is not None:
            is_reached = len(replicates) >= limit
            return f"{all_of(limit, 'replicate')} {are(limit)} done." if is_reached else ""
        if self._spec.hours is not None:
            return ""
        by_number = {trial.number: trial for trial in trials}
        costs = [training_cost(by_number[trial.replicate_of or 0]) for trial in replicates]
        search = sum(training_cost(trial) for trial in trials if not is_replicate(trial))
        if sum(costs) < search:
            return ""
        return (
            "Replicates have taken as many seconds of training as the search; for more, set a "
            "number of trials or hours."
        )

    def _unclear(self, picks: Sequence[Pick]) -> str:
        """The picks that are not clear, as a sentence; empty where all are."""
        names = [
            f"{pick.name} ({pick.certainty:.0%}{', one training' if pick.needs_replicate else ''})"
            for pick in picks
            if not pick.is_clear(self._spec.level)
        ]
        return f"Not clear at {self._spec.level:.0%}: {', '.join(names)}." if names else ""
