"""Progress on stderr: the lines of a study's events."""

from __future__ import annotations

import io
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from effv2_tune.search.events import (
    BucketCompiled,
    BucketTimeRestated,
    EpochTrained,
    StudyStarted,
    TrialEnded,
    TrialPaused,
    TrialStarted,
)
from effv2_tune.session.progress import show_progress
from effv2_tune.study import BucketKey, StudyPlan
from effv2_tune.study.trial import Epoch, Measurement, Pause, RungResult, Scores, Trial

if TYPE_CHECKING:
    from collections.abc import Generator

    from effv2_tune.search.events import Event

PLAN = StudyPlan.from_plain(
    {"name": "mine", "search_space": {"epochs": {"type": "int", "low": 1, "high": 9}}, "trials": 3}
)


def lines(*events: Event) -> list[str]:
    def happening(_: object) -> Generator[Event]:
        yield from events

    written = io.StringIO()
    show_progress(happening, PLAN, Console(file=written, width=200))
    return written.getvalue().splitlines()


def compiled(**differing: object) -> BucketCompiled:
    key = BucketKey(
        backend="tensorflow",
        device_kind="cpu",
        device_count=1,
        precision="float32",
        steps_per_dispatch=1,
        variant="b0",
        resolution=32,
        resize="bilinear",
        batch=32,
        classes=10,
        image_shape=(8, 8, 1),
        trainable="scratch",
        weights="none",
        optimizer=("sgd",),
        schedule="constant",
        augmentation=(),
        class_weighted=False,
    ).model_copy(update=differing)
    return BucketCompiled(trial=0, label=key.label, step_seconds=0.4, fresh=True, bucket=key)


@pytest.mark.parametrize(
    ("known", "unfinished", "line"),
    [
        (0, 0, "mine: starts"),
        (2, 0, "mine: resuming after 2 trials"),
        (0, 1, "mine: resuming 1 unfinished trial"),
        (1, 2, "mine: resuming after 1 trial, with 2 unfinished trials"),
    ],
)
def test_a_study_that_is_resumed_counts_its_trials(known: int, unfinished: int, line: str) -> None:
    assert lines(StudyStarted(study="mine", known=known, unfinished=unfinished)) == [line]


@pytest.mark.parametrize(
    ("resumed_after", "starts_over", "line"),
    [
        (3, "", "trial 1: resumes after epoch 3"),
        (0, "", "trial 1: resumes in epoch 1"),
        (0, "there is no checkpoint of it", "trial 1: starts over: there is no checkpoint of it"),
    ],
)
def test_a_trial_that_is_trained_again_names_where_it_begins(
    resumed_after: int, starts_over: str, line: str
) -> None:
    started = TrialStarted(
        trial=1,
        worker=0,
        config={"epochs": 4},
        epochs=4,
        attempt=2,
        resumed_after=resumed_after,
        starts_over=starts_over,
    )

    assert lines(started) == [line]


def test_a_bucket_is_named_with_what_distinguishes_it_from_one_of_the_same_name() -> None:
    assert lines(compiled(), compiled(variant="b1"), compiled(augmentation=("crop",))) == [
        "compiled b0@32 batch 32: 400 ms per step",
        "compiled b1@32 batch 32: 400 ms per step",
        "compiled b0@32 batch 32 (augmentation: crop): 400 ms per step",
    ]


def test_control_characters_of_class_names_are_escaped() -> None:
    note = "10 (\x1b]0;title\x07\x1b[2Jcat\x9b31m) to 20 (dog)"

    (line,) = lines(compiled().model_copy(update={"notes": (note,)}))[:1]

    assert line == "10 (\\x1b]0;title\\x07\\x1b[2Jcat\\x9b31m) to 20 (dog)"


@pytest.mark.parametrize(
    ("by_trial", "line"),
    [
        (None, "measured b0@32 again: 30 ms per step, not 40 ms"),
        (3, "b0@32: 30 ms per step by those of trial 3, not 40 ms"),
    ],
)
def test_a_step_time_that_is_restated_names_what_has_corrected_it(
    by_trial: int | None, line: str
) -> None:
    bucket = compiled().bucket
    assert bucket is not None
    restated = BucketTimeRestated(
        label="b0@32",
        old_seconds=0.04,
        new_seconds=0.03,
        trials=(2, 3),
        front_changed=True,
        bucket=bucket,
        by_trial=by_trial,
    )

    (written,) = lines(restated)
    assert written == (
        f"{line}; restated the training time of 2 trials (2, 3); the Pareto front has changed"
    )


PAUSE = Pause(rung=0, epoch=4, step=40, since=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("known", "unfinished", "line"),
    [
        (0, 0, "mine: resuming 2 paused trials"),
        (3, 1, "mine: resuming after 3 trials, with 1 unfinished trial and 2 paused trials"),
    ],
)
def test_a_study_that_is_resumed_counts_its_paused_trials(
    known: int, unfinished: int, line: str
) -> None:
    event = StudyStarted(study="mine", known=known, unfinished=unfinished, paused=2)

    assert lines(event) == [line]


def test_a_pause_is_one_line_and_its_end_has_a_reason() -> None:
    result = RungResult(rung=0, epoch=4, quality=0.5, projected_seconds=9.0)
    why = "paused after epoch 4, and stopped as the study ended"
    pruned = Trial(
        number=1, state="pruned", config={"epochs": 5}, rungs=(result,), pause=PAUSE, reason=why
    )

    shown = lines(TrialPaused(trial=1, pause=PAUSE, quality=0.5), TrialEnded(trial=pruned))

    assert shown == [
        "trial 1: paused after epoch 4, accuracy 0.5000",
        f"[1/3] trial 1: stopped early, accuracy 0.5000 after epoch 4, epochs 5, {why}",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_shows_what_is_done_now_and_the_best_trial(width: int) -> None:
    scores = Scores(accuracy=0.75, balanced_accuracy=0.7, macro_f1=0.7, top5=1.0, loss=1.0)
    epoch = Epoch(
        epoch=2,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation=scores,
        seconds=1.0,
    )
    started = TrialStarted(
        trial=1, worker=0, config={"epochs": 4}, epochs=4, attempt=1, resumed_after=0
    )
    done = Trial(
        number=0,
        state="complete",
        config={"epochs": 4},
        measurement=Measurement(quality=0.9306, train_seconds=47.0),
    )
    first = [
        StudyStarted(study="mine", known=0, unfinished=0),
        started.model_copy(update={"trial": 0}),
        TrialEnded(trial=done),
        started,
        EpochTrained(trial=1, epoch=epoch, epochs=4),
    ]

    def happening(_: object) -> Generator[Event]:
        yield from first[:1]
        time.sleep(0.25)  # bars are drawn ten times a second
        yield from first[1:]
        time.sleep(0.25)

    written = io.StringIO()
    show_progress(happening, PLAN, Console(file=written, width=width, force_terminal=True))

    shown = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue()).split())
    assert "worker 0" in shown
    assert "best accuracy 0.9306, less than a minute left" in shown
    assert re.search(r"trial 1 epochs .*2/4 .*accuracy 0\.7500", shown)
    assert "…" not in shown
