"""The benchmark of finetuning: which rates are compared, and which weights are averaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RATES = LOW, MIDDLE, HIGH = 3e-4, 1e-3, 3e-3


@pytest.fixture(scope="module")
def report() -> ModuleType:
    """The script; it imports its neighbours as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import half_classes_report
    finally:
        sys.path.remove(str(BENCHMARKS))
    return half_classes_report


@pytest.fixture(scope="module")
def soups() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import soups
    finally:
        sys.path.remove(str(BENCHMARKS))
    return soups


def row(method: str, seed: int, rate: float, validation: float, test: float) -> dict[str, str]:
    """A line of the table."""
    return {
        "weights": "1f",
        "method": method,
        "seed": str(seed),
        "rate": f"{rate:g}",
        "validation": str(validation),
        "test": str(test),
        "seconds": "50",
        "extraction_seconds": "0",
    }


def test_a_method_is_compared_at_the_rate_that_its_validation_prefers(report: ModuleType) -> None:
    trained = [
        row("all layers", 0, LOW, 0.6, 0.62),
        row("all layers", 0, MIDDLE, 0.65, 0.65),
        row("all layers", 0, HIGH, 0.7, 0.68),
        row("layer decay 0.8", 0, LOW, 0.75, 0.71),
        row("layer decay 0.8", 0, MIDDLE, 0.75, 0.95),
        row("layer decay 0.8", 0, HIGH, 0.7, 0.99),
    ]

    assert report.chosen_rate(trained, "all layers") == HIGH
    assert report.chosen_rate(trained, "layer decay 0.8") == LOW
    assert report.gains(trained, "layer decay 0.8") == pytest.approx([3.0])


def test_a_rate_is_chosen_from_seeds_that_have_all(report: ModuleType) -> None:
    some = [row("all layers", 0, rate, 0.9, 0.9) for rate in (LOW, MIDDLE)]

    assert report.chosen_rate(some, "all layers") is None

    trained = [*some, *(row("all layers", 1, rate, 100 * rate, 0.5) for rate in RATES)]

    assert report.chosen_rate(trained, "all layers") == HIGH


def test_trainings_from_other_pretrained_weights_are_not_paired(report: ModuleType) -> None:
    trained = [row("all layers", 0, rate, 0.6, 0.6) for rate in RATES]
    trained += [row("head first", 0, rate, 0.6, 0.7) | {"weights": "2e"} for rate in RATES]

    assert report.gains(trained, "head first") == []


def test_the_page_says_how_many_trainings_it_is_of(report: ModuleType) -> None:
    trained = [row("pretraining", 0, HIGH, 0.8, 0.81)]
    for seed, test in enumerate((0.60, 0.62, 0.64)):
        trained += [row("all layers", seed, rate, 0.6, test) for rate in RATES]
        trained += [row("head first", seed, rate, 0.6, test + 0.02) for rate in RATES]

    text = report.page(trained, [])

    assert "18 of 66 trainings and 0 soups" in text
    assert "81.0 % of the 5,000 test images" in text
    assert "| method | 0.0003 | 0.001 | 0.003 | 0.01 | points | seeds | seconds |" in text
    accuracies = "**64.0 %** (3) | 64.0 % (3) | 64.0 % (3) | "
    assert f"| head first | {accuracies} | +2.0 ± 0.0 | 3 | 50 |" in text
    assert "| frozen backbone |  |  |  |  |  | 0 |  |" in text


def test_a_rate_beyond_those_of_a_method_is_shown_and_not_chosen(report: ModuleType) -> None:
    trained = [row("all layers", 0, rate, 0.6, 0.6) for rate in RATES]
    trained += [row("all layers", 0, 1e-2, 0.9, 0.7)]

    text = report.page(trained, [])

    assert "3 of 66 trainings" in text
    assert "| all layers | **60.0 %** (1) | 60.0 % (1) | 60.0 % (1) | 70.0 % (1) |" in text


def test_an_average_of_weights_keeps_what_cannot_be_averaged(soups: ModuleType) -> None:
    first = {"kernel": np.float32([1, 2]), "random_state": np.uint32([7, 8])}
    second = {"kernel": np.float32([3, 6]), "random_state": np.uint32([1, 1])}

    average = soups.averaged([first, second])

    assert average["kernel"].tolist() == [2, 4]
    assert average["kernel"].dtype == np.float32
    assert average["random_state"].tolist() == [7, 8]


def test_a_greedy_soup_leaves_out_what_lowers_its_accuracy(soups: ModuleType) -> None:
    """The accuracy is the higher the nearer the average of the weights is to 2."""

    def accuracy(weights: dict[str, Any]) -> float:
        return -abs(float(weights["kernel"][0]) - 2.0)

    candidates = [{"kernel": np.float32([value])} for value in (1.5, 9.0, 2.5, 1.0)]

    assert soups.greedy_soup(candidates, accuracy) == [0, 2]
