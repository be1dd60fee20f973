"""Writes the page of benchmarks/half_classes.py from its tables."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from half_classes_methods import (
    BATCH,
    EPOCHS,
    FULL,
    HEAD_FIRST,
    METHODS,
    PRETRAINED,
    PRETRAINING,
    PRETRAINING_IMAGES,
    SEEDS,
    SOUP_RANGE,
    TRAIN,
    runs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ABOUT = (
    "`python benchmarks/half_classes.py --data cifar10.npz`: EfficientNetV2-B0 at 32 px, one CPU "
    f"core. Pretrained on {PRETRAINING_IMAGES:,} images of classes 0 to 4 of CIFAR-10, "
    f"{PRETRAINING['epochs']} epochs{{pretrained}}. Then {TRAIN:,} images of classes 5 to 9, "
    f"AdamW, batch {BATCH}, {EPOCHS} epochs; tested on 5,000 images. *Head first*: "
    f"{HEAD_FIRST['head_epochs']} epochs of the classifier alone, on cached features, in the place "
    "of one of all layers (LP-FT). Seconds are processor time of the steps and of extracting these "
    "features."
)
GAINS = (
    "Test accuracy by maximal learning rate, mean over the seeds (their number in brackets); of "
    "the rates of a method, the one of the highest mean validation accuracy is in bold. "
    f"*Points* are those above *{FULL}* with the same seed, both at their rates in bold: mean and "
    "standard error over the seeds."
)
SOUPS = (
    "*Soups* average weights (Wortsman et al., arXiv 2203.05482): the candidates are the trainings "
    f"of all seeds and rates within {100 * SOUP_RANGE:g} point of the best one by validation "
    "accuracy; the greedy soup adds one unless the validation accuracy of the average falls, the "
    "uniform soup averages all candidates. Both are to be compared with the best training by "
    "validation of the same pool. Seeds differ in the initial classifier, too."
)
Row = dict[str, str]


def page(trained: Sequence[Row], soups: Sequence[Row]) -> str:
    """The tables of the methods and of the soups."""
    tuned = [row for row in trained if row["method"] in METHODS]
    expected = list(runs(SEEDS))
    count = sum(len(of(tuned, name, rate)) for name, rate in planned_rates())
    before = ", ".join(
        f"{100 * float(row['test']):.1f} % of the 5,000 test images of these classes"
        for row in trained
        if row["method"] == PRETRAINED
    )
    rates = sorted({rate for _, rate in planned_rates()} | {float(row["rate"]) for row in tuned})
    text = [
        "# Finetuning on the other half of the classes",
        "",
        ABOUT.format(pretrained=f" ({before})" if before else ""),
        "",
        GAINS,
        "",
        f"So far, {count} of {len(expected)} trainings and {len(soups)} soups.",
        "",
        f"| method | {' | '.join(f'{rate:g}' for rate in rates)} | points | seeds | seconds |",
        "|---|" + "---:|" * (len(rates) + 3),
        *(method_line(tuned, name, rates) for name in METHODS),
    ]
    if soups:
        text += ["", SOUPS, "", *soup_lines(soups)]
    return "\n".join(text) + "\n"


def planned_rates() -> list[tuple[str, float]]:
    """Each method with each of its rates."""
    return [(name, rate) for name, method in METHODS.items() for rate in method.rates]


def method_line(tuned: Sequence[Row], name: str, rates: Sequence[float]) -> str:
    """A method's line of the table."""
    chosen, paired = chosen_rate(tuned, name), gains(tuned, name)
    cells = [accuracy_cell(of(tuned, name, rate), is_chosen=rate == chosen) for rate in rates]
    points = "" if name == FULL else with_error(paired)
    rows = [] if chosen is None else of(tuned, name, chosen)
    seconds = f"{statistics.fmean(float(row['seconds']) for row in rows):.0f}" if rows else ""
    return f"| {name} | {' | '.join(cells)} | {points} | {len(paired)} | {seconds} |"


def of(tuned: Sequence[Row], name: str, rate: float) -> list[Row]:
    """The trainings of a method at one rate."""
    return [row for row in tuned if row["method"] == name and float(row["rate"]) == rate]


def accuracy_cell(rows: Sequence[Row], *, is_chosen: bool) -> str:
    """Mean test accuracy at a rate, with the number of seeds; in bold at the chosen one."""
    if not rows:
        return ""
    accuracy = f"{100 * statistics.fmean(float(row['test']) for row in rows):.1f} %"
    return f"{f'**{accuracy}**' if is_chosen else accuracy} ({len(rows)})"


def chosen_rate(tuned: Sequence[Row], name: str) -> float | None:
    """The rate of the highest mean validation accuracy, over the seeds with all rates; else None.

    Of equal ones, the lowest.
    """
    by_rate = {
        rate: {
            (row["weights"], row["seed"]): float(row["validation"]) for row in of(tuned, name, rate)
        }
        for rate in METHODS[name].rates
    }
    seeds = set.intersection(*(set(found) for found in by_rate.values()))
    if not seeds:
        return None
    return max(by_rate, key=lambda rate: statistics.fmean(by_rate[rate][seed] for seed in seeds))


def gains(tuned: Sequence[Row], name: str) -> list[float]:
    """Points of test accuracy above all layers, by seed; both at their chosen rates."""
    rates = {method: chosen_rate(tuned, method) for method in (name, FULL)}
    paired: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for method, rate in rates.items():
        for row in of(tuned, method, rate) if rate is not None else ():
            paired[row["weights"], row["seed"]][method] = 100 * float(row["test"])
    both = [found for found in paired.values() if len(found) == len(rates)]
    return [found[name] - found[FULL] for found in both]


def with_error(values: Sequence[float]) -> str:
    """Mean and standard error."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:+.1f}"
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):+.1f} ± {error:.1f}"


def soup_lines(soups: Sequence[Row]) -> list[str]:
    """The table of the soups."""
    heads = (
        "pool",
        "trainings",
        "candidates",
        "in the greedy soup",
        "best by validation",
        "mean of the candidates",
        "greedy soup",
        "uniform soup",
    )
    columns = ("best_test", "mean_test", "soup_test", "uniform_test")
    return [
        f"| {' | '.join(heads)} |",
        "|---|" + "---:|" * (len(heads) - 1),
        *(
            f"| {row['pool']} | {row['trainings']} | {row['candidates']} | {row['ingredients']} | "
            + " | ".join(f"{100 * float(row[column]):.1f} %" for column in columns)
            + " |"
            for row in soups
        ),
    ]
