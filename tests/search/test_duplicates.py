"""Duplicates of configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.search import simulate
from effv2_tune.study.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def test_a_space_that_is_used_up_ends_the_search() -> None:
    space = Space.model_validate({"k": {"type": "choice", "values": [1, 2, 3]}})

    def short(config: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
        yield 1, config["k"] / 3, 1.0

    trials = simulate(space, short, 10_000)

    trained = [trial for trial in trials if not trial.notes]
    assert sorted(trial.config["k"] for trial in trained) == [1, 2, 3]
    assert all(trial.values is not None for trial in trials)
