"""What each worker did, by the events of a study."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.session.live.logs import DATA, HERE

from effv2_tune.report.timeline import Span
from effv2_tune.search import events as happened
from effv2_tune.session.live.event_log import Logged
from effv2_tune.session.live.worker_times import logged_timeline, study_timeline
from effv2_tune.study.trial import Epoch, Scores, Times, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.search.events import Event

STARTED = happened.StudyStarted(study="mine", known=0, unfinished=0)


def ready(worker: int) -> happened.WorkerReady:
    return happened.WorkerReady(worker=worker, environment=HERE, data=DATA)


def began(trial: int, worker: int = 0) -> happened.TrialStarted:
    return happened.TrialStarted(
        trial=trial, worker=worker, config={}, epochs=2, attempt=1, resumed_after=0
    )


def compiled(trial: int) -> happened.BucketCompiled:
    return happened.BucketCompiled(trial=trial, label="b0@32", step_seconds=0.1, fresh=True)


def trained(trial: int, epoch: int, seconds: float) -> happened.EpochTrained:
    scores = Scores(accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5, top5=1.0, loss=1.0)
    line = Epoch(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation=scores,
        seconds=seconds,
    )
    return happened.EpochTrained(trial=trial, epoch=line, epochs=2)


def ended(trial: int) -> happened.TrialEnded:
    return happened.TrialEnded(trial=Trial(number=trial, state="complete", config={}))


def spans(*events: tuple[float, Event]) -> tuple[Span, ...]:
    return logged_timeline(Logged(at, event) for at, event in events).spans


def test_a_trial_is_compiled_trained_and_evaluated() -> None:
    found = spans(
        (0, STARTED),
        (5, ready(0)),
        (6, began(0)),
        (16, compiled(0)),
        (27, trained(0, 1, 10.0)),
        (38, trained(0, 2, 10.0)),
        (40, ended(0)),
        (42, happened.StudyEnded(kind="trials", reason="done")),
    )

    assert found == (
        Span("worker 0", "starting", 0, 5),
        Span("worker 0", "idle", 5, 6),
        Span("worker 0", "compilation", 6, 16, 0),
        Span("worker 0", "training", 16, 36, 0),
        Span("worker 0", "evaluation", 36, 40, 0),
        Span("worker 0", "idle", 40, 42),
    )


def test_a_trial_whose_bucket_was_compiled_before_begins_to_train_before_its_first_epoch() -> None:
    found = spans(
        (0, STARTED), (1, ready(0)), (2, began(0)), (10, trained(0, 1, 6.0)), (11, ended(0))
    )  # fmt: skip

    assert found[2:] == (
        Span("worker 0", "compilation", 2, 4, 0),
        Span("worker 0", "training", 4, 10, 0),
        Span("worker 0", "evaluation", 10, 11, 0),
    )


def test_a_worker_that_died_starts_again_and_others_go_on() -> None:
    found = spans(
        (0, STARTED),
        (1, ready(0)),
        (1, ready(1)),
        (2, began(0, 0)),
        (2, began(1, 1)),
        (3, compiled(0)),
        (3, compiled(1)),
        (8, happened.WorkerDied(worker=0, trial=0, cause="a signal", log_tail="")),
        (12, ready(0)),
        (13, ended(1)),
    )

    # An epoch that was not completed was training, too.
    assert Span("worker 0", "training", 3, 8, 0) in found
    assert Span("worker 0", "starting", 8, 12) in found
    assert Span("worker 1", "training", 3, 13, 1) in found


def test_what_is_between_two_runs_belongs_to_neither() -> None:
    timeline = logged_timeline(
        Logged(at, event)
        for at, event in (
            (0.0, STARTED),
            (1.0, ready(0)),
            (2.0, began(0)),
            (9.0, happened.TrialInterrupted(trial=0, step=3)),
            (100.0, STARTED),
            (102.0, ready(0)),
            (103.0, happened.StudyEnded(kind="trials", reason="done")),
        )
    )

    assert timeline.runs == ((0, 9), (100, 103))
    assert timeline.seconds == 12
    assert all(span.end <= 9 or span.start >= 100 for span in timeline.spans)


def test_a_log_that_lacks_a_trial_gives_way_to_the_records(tmp_path: Path) -> None:
    trial = Trial(
        number=0,
        state="complete",
        config={},
        times=Times(train=5, wall=6),
        ended=datetime(2026, 1, 1, tzinfo=UTC),
    )

    timeline = study_timeline(tmp_path / "events.jsonl", [trial])

    assert not timeline.is_from_log
    assert [span.work for span in timeline.spans] == ["training"]
