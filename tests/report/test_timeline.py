"""What each worker did over the time of a study."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from effv2_tune.report.timeline import Span, Timeline, recorded_timeline, utilisation
from effv2_tune.study.trial import Times, Trial

if TYPE_CHECKING:
    from collections.abc import Callable


def ended(number: int, at: float, **times: float) -> Trial:
    return Trial(
        number=number,
        state="complete",
        config={},
        times=Times(**times),
        ended=datetime.fromtimestamp(at, UTC),
    )


def test_records_give_the_parts_of_each_trial_up_to_its_end() -> None:
    trial = ended(3, 1000.0, build=1, compile=9, train=60, evaluate=5, checkpoint=5, wall=90)

    assert recorded_timeline([trial]).spans == (
        Span("0", "compilation", 920, 930, 3),
        Span("0", "training", 930, 990, 3),
        Span("0", "evaluation", 990, 1000, 3),
    )


def test_trials_that_overlap_have_different_workers_and_gaps_are_idle() -> None:
    trials = [ended(0, 100, train=50, wall=50), ended(1, 120, train=50, wall=50)]
    later = ended(2, 200, train=60, wall=60)

    timeline = recorded_timeline([*trials, later])

    assert timeline.workers == ["0", "1"]
    assert {span.trial: span.worker for span in timeline.spans if span.trial is not None} == {
        0: "0",
        1: "1",
        2: "0",
    }
    assert [span for span in timeline.spans if span.work == "idle"] == [Span("0", "idle", 100, 140)]
    assert utilisation(timeline.used("0")) == pytest.approx(110 / 150)
    assert utilisation(timeline.used("1")) == 1


def test_spans_of_a_worker_do_not_overlap(trial_maker: Callable[..., Trial]) -> None:
    timeline = recorded_timeline([trial_maker(number) for number in range(60)])

    for worker in timeline.workers:
        its = sorted(span for span in timeline.spans if span.worker == worker)
        its.sort(key=lambda span: span.start)
        assert all(one.end <= next_.start + 1e-6 for one, next_ in pairwise(its))


def test_parts_that_overlap_are_no_longer_than_the_wall_time() -> None:
    (span,) = recorded_timeline([ended(0, 100, train=120, wall=60)]).spans

    assert span.seconds == pytest.approx(60)


def test_without_an_ended_trial_there_is_nothing() -> None:
    timeline = recorded_timeline([Trial(number=0, state="running", config={})])

    assert (timeline.spans, timeline.runs, timeline.workers) == ((), (), [])
    assert utilisation(timeline.used()) == 0


@pytest.mark.parametrize(
    ("moment", "place"), [(90, 0), (100, 0), (150, 50), (250, 100), (310, 110), (500, 200)]
)
def test_the_pause_between_two_runs_counts_nothing(moment: float, place: float) -> None:
    assert Timeline(runs=((100, 200), (300, 400))).at(moment) == place


def test_workers_are_in_the_order_of_their_numbers() -> None:
    spans = tuple(Span(f"worker {number}", "idle", 0, 1) for number in (10, 9, 0))

    assert Timeline(spans=spans).workers == ["worker 0", "worker 9", "worker 10"]
