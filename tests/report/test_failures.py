"""Trials without a result, grouped by reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effv2_tune.report.failures import common_reason, failure_groups, failure_sentence
from effv2_tune.study.trial import OUTSIDE_NOTE, Times, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput


def ended(number: int, state: str, reason: str = "", **more: object) -> Trial:
    facts = {"number": number, "state": state, "config": {}, "reason": reason, **more}
    return Trial.model_validate(facts)


def test_reasons_that_differ_in_numbers_are_one_group(
    study_maker: Callable[..., ReportInput],
) -> None:
    study = study_maker(
        trials=(
            ended(0, "diverged", "The loss became NaN in epoch 3"),
            ended(1, "complete"),
            ended(2, "diverged", "The loss became NaN in epoch 12"),
            ended(3, "failed", "No space left on device"),
            ended(4, "infeasible", "144 GiB wanted, 139 GiB there"),
        )
    )

    found = [(group.state, group.reason, group.trials) for group in failure_groups(study)]

    assert found == [
        ("failed", "No space left on device", (3,)),
        ("diverged", "The loss became NaN in epoch 3 to 12", (0, 2)),
        ("infeasible", "144 GiB wanted, 139 GiB there", (4,)),
    ]


def test_retried_trials_and_those_outside_of_an_edited_space_are_no_failures(
    study_maker: Callable[..., ReportInput],
) -> None:
    trials = (
        ended(0, "failed", "No network"),
        ended(1, "complete", retry_of=0),
        ended(2, "failed", OUTSIDE_NOTE, notes=(OUTSIDE_NOTE,)),
    )

    assert failure_groups(study_maker(trials=trials)) == []


def test_the_sentence_says_how_many_there_are_and_what_they_cost(
    study_maker: Callable[..., ReportInput],
) -> None:
    trials = (
        ended(0, "diverged", times=Times(wall=30)),
        ended(1, "complete", times=Times(wall=90)),
    )
    study = study_maker(trials=trials)

    sentence = failure_sentence(failure_groups(study), study)

    assert sentence == (
        "1 of 2 trials ended without a result. They took 30 s, 25 % of the workers' time."
    )


@pytest.mark.parametrize(
    ("reasons", "common"),
    [
        (["1,024 bytes", "512 bytes"], "512 to 1,024 bytes"),
        (["at 10.0.0.1", "at 10.0.0.2"], "at 10.0.0.1 to 10.0.0.2"),
        (["epoch 3", "epoch 3.0"], "epoch 3"),
        (["no number"], "no number"),
        ([""], ""),
    ],
)
def test_numbers_that_differ_are_ranges(reasons: list[str], common: str) -> None:
    assert common_reason(reasons) == common


@given(st.text())
def test_one_reason_stays_as_it_is(reason: str) -> None:
    assert common_reason([reason]) == reason
