"""Progress on stderr: the lines of a study's events."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from effv2_tune.search.events import BucketCompiled, StudyStarted, TrialStarted
from effv2_tune.session.progress import show_progress
from effv2_tune.study import BucketKey, StudyPlan

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
