"""The table of networks with validation and test accuracy."""

from __future__ import annotations

import csv
import io
from typing import Any

from effv2_tune.report.tables.networks import (
    FinalScores,
    network_rows,
    networks_csv,
    networks_markdown,
)
from effv2_tune.study.recipe import Recipe
from effv2_tune.study.trial import Scores, Trial


def scores(accuracy: float) -> Scores:
    return Scores(
        accuracy=accuracy, balanced_accuracy=0.5, macro_f1=0.5, top5=accuracy + 0.05, loss=0.1
    )


def trial(number: int, variant: str, size: int, accuracy: float, **facts: Any) -> Trial:
    recipe = Recipe(variant=variant, resolution=size)
    found = {"state": "complete", "scores": scores(accuracy), **facts}
    return Trial(number=number, config={}, recipe=recipe, **found)


TRIALS = [
    trial(0, "b1", 64, 0.80),
    trial(1, "b0", 64, 0.70),
    trial(2, "b0", 64, 0.75),
    trial(3, "b0", 96, 0.75),
    trial(4, "b0", 64, 0.90, replicate_of=2),
    trial(5, "b0", 64, 0.0, state="pruned", scores=None),
    trial(6, "b0", 64, 0.75),
]


def test_each_network_has_its_most_accurate_trial_in_the_order_of_the_family() -> None:
    rows = network_rows(TRIALS, [])

    assert [(row.variant, row.size, row.trial) for row in rows] == [
        ("b0", 64, 2),
        ("b0", 96, 3),
        ("b1", 64, 0),
    ]
    assert all(row.test is None for row in rows)


def test_a_trial_that_was_trained_to_the_end_has_a_row_for_each_training() -> None:
    finals = [
        FinalScores(1, scores(0.71)),
        FinalScores(2, scores(0.76)),
        FinalScores(2, scores(0.74)),
    ]

    rows = network_rows(TRIALS, [*finals, FinalScores(99, scores(0.99))])

    found = [(row.trial, None if row.test is None else row.test.accuracy) for row in rows]
    assert found == [(1, 0.71), (2, 0.76), (2, 0.74), (3, None), (0, None)]


def test_markdown_and_csv_have_the_same_cells() -> None:
    rows = network_rows(TRIALS, [FinalScores(3, scores(0.72))])
    (header, *lines) = csv.reader(io.StringIO(networks_csv(rows)))
    markdown = networks_markdown(rows).splitlines()

    assert header == [
        "variant",
        "size",
        "trial",
        "validation_accuracy",
        "validation_top5",
        "test_accuracy",
        "test_top5",
    ]
    assert lines[1] == ["b0", "96", "3", "0.7500", "0.8000", "0.7200", "0.7700"]
    assert lines[0][-2:] == ["", ""]
    assert markdown[0] == (
        "| variant | size | trial | validation accuracy | validation top-5 | test accuracy | "
        "test top-5 |"
    )
    assert [line[2:-2].split(" | ") for line in markdown[2:]] == lines
