"""Counts agree with their nouns and verbs."""

from __future__ import annotations

import pytest

from effv2_tune.plurals import all_of, are, pluralized


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1293, "1,293 trials")],
)
def test_one_alone_is_singular(count: int, text: str) -> None:
    assert pluralized(count, "trial") == text


def test_hours_may_be_fractions() -> None:
    assert [pluralized(hours, "hour") for hours in (0.5, 1.0, 2.0)] == [
        "0.5 hours",
        "1 hour",
        "2 hours",
    ]


@pytest.mark.parametrize(
    ("count", "sentence"),
    [(1, "The only replicate is done."), (4, "All 4 replicates are done.")],
)
def test_all_of_one_is_the_only_one(count: int, sentence: str) -> None:
    assert f"{all_of(count, 'replicate')} {are(count)} done." == sentence
