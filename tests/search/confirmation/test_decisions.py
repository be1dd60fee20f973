"""A search and its confirmation on a simulated clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from tests.search.simulated_study import make_plan, run_loop

from effv2_tune.search.clock import SimulatedClock
from effv2_tune.search.events import ConfirmStarted, ReplicateChosen, StudyEnded
from effv2_tune.search.storage.in_memory import MemoryStorage
from effv2_tune.study.plan import ConfirmSpec, HalvingSpec, SearchSpec

if TYPE_CHECKING:
    from effv2_tune.search.events import Event
    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.study.plan import StudyPlan


def plan(spec: ConfirmSpec, **changes: object) -> StudyPlan:
    search = SearchSpec(seed=7, halving=HalvingSpec(enabled=False), confirm=spec)
    return make_plan(trials=12, search=search, **changes)


class FewImages(MemoryStorage):
    """A simulated study whose qualities are measured on so few images that none is certain."""

    def data_facts(self) -> DataFacts | None:
        facts = super().data_facts()
        return None if facts is None else facts.model_copy(update={"validation": 10})


def study() -> tuple[MemoryStorage, SimulatedClock]:
    return FewImages("simulated", ("maximize", "minimize")), SimulatedClock()


def replicates(storage: MemoryStorage) -> list[str]:
    """Their states."""
    return [trial.state for trial in storage.trials() if trial.replicate_of is not None]


def ends(events: list[Event]) -> list[str]:
    return [event.kind for event in events if isinstance(event, StudyEnded)]


def test_after_the_hours_of_a_search_its_unfinished_trial_is_left_and_the_picks_are_confirmed() -> (
    None
):
    storage, clock = study()
    short = plan(ConfirmSpec(trials=4, difference=0.0), hours=200 / 3600)

    events = list(run_loop(short, storage, clock))

    assert ends(events) == ["hours", "trials"]
    searched = [trial.state for trial in storage.trials() if trial.replicate_of is None]
    assert searched[-1] == "running"
    assert set(searched[:-1]) == {"complete"}
    assert replicates(storage) == ["complete"] * 4
    longer = plan(ConfirmSpec(trials=4, difference=0.0), hours=2.0)
    assert ends(list(run_loop(longer, storage, clock))) == ["trials", "trials"]
    assert {trial.state for trial in storage.trials()} == {"complete"}


def test_hours_of_confirming_are_a_total_and_beyond_those_of_the_search() -> None:
    storage, clock = study()
    limited = plan(ConfirmSpec(hours=0.1, difference=0.0), hours=1.0)
    for event in run_loop(limited, storage, clock):
        if isinstance(event, ConfirmStarted):
            break
    first, searching = run_loop(limited, storage, clock), clock.seconds
    for _ in itertools.takewhile(lambda _: clock.seconds < searching + 100, first):
        pass
    first.close()  # type: ignore[attr-defined]
    clock.seconds += 10_000  # the machine is off

    events = list(run_loop(limited, storage, clock))

    assert ends(events) == ["trials", "hours"]
    assert storage.confirm_seconds_before() == pytest.approx(360)
    assert storage.seconds_before() == pytest.approx(searching)


def test_two_workers_train_rivals_at_once() -> None:
    storage, clock = study()

    events = list(run_loop(plan(ConfirmSpec(trials=6, difference=0.0), workers=2), storage, clock))

    chosen = [event.replicate_of for event in events if isinstance(event, ReplicateChosen)]
    assert len(set(chosen[:2])) == 2
    assert ends(events) == ["trials", "trials"]


def test_a_search_in_which_nothing_is_complete_is_not_confirmed() -> None:
    storage, clock = study()
    hopeless = plan(ConfirmSpec(trials=4), hours=1 / 3600)

    events = list(run_loop(hopeless, storage, clock))

    assert ends(events) == ["hours"]
    assert not [event for event in events if isinstance(event, ConfirmStarted)]


@pytest.mark.parametrize("pick", ["fastest", "most-accurate"])
def test_all_replicates_are_for_the_only_pick_that_is_asked_for(pick: Any) -> None:
    storage, clock = study()
    spec = ConfirmSpec(trials=8, difference=0.0, pick=pick)

    events = list(run_loop(plan(spec), storage, clock))

    *_, end = [event for event in events if isinstance(event, StudyEnded)]
    unclear = end.reason.partition("Not clear at 90%: ")[2]
    assert unclear.startswith(f"{pick} (")
    assert "," not in unclear
    chosen = {event.replicate_of for event in events if isinstance(event, ReplicateChosen)}
    seconds = {t.number: t.measurement.train_seconds for t in storage.trials() if t.measurement}
    fastest = min(seconds[number] for number in chosen)
    assert all(seconds[number] == fastest for number in chosen) == (pick == "fastest")


def test_a_clear_pick_ends_the_confirmation_of_it_alone() -> None:
    storage, clock = study()
    spec = ConfirmSpec(trials=8, difference=0.5, pick="most-accurate")

    events = list(run_loop(plan(spec), storage, clock))

    *_, end = [event for event in events if isinstance(event, StudyEnded)]
    assert end.reason == "The most-accurate pick is clear at 90%."
    assert len(replicates(storage)) == 1
