"""Tabulates the best trial of each network with its validation and test accuracy."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.catalog import VARIANTS
from effv2_tune.report.analysis import pixels_of, variant_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.study.trial import Scores, Trial

_COLUMNS = (
    "variant",
    "size",
    "trial",
    "validation_accuracy",
    "validation_top5",
    "test_accuracy",
    "test_top5",
)
_ORDER = {name: position for position, name in enumerate(VARIANTS)}


@dataclass(frozen=True)
class FinalScores:
    """The test scores of a final training.

    Attributes:
        trial: Number of the trial whose recipe it trained.
        test: Its scores on the test images.
    """

    trial: int
    test: Scores


@dataclass(frozen=True)
class NetworkRow:
    """A trial of a network, and what a final training of its recipe came to.

    Attributes:
        variant: The network.
        size: Resolution in pixels.
        trial: Number of the trial.
        validation: What the search measured.
        test: What the final training measured; None where there is none.
    """

    variant: str
    size: int
    trial: int
    validation: Scores
    test: Scores | None

    def cells(self) -> list[str]:
        """One text for each column; empty where there is no final training."""
        validation = [f"{self.validation.accuracy:.4f}", f"{self.validation.top5:.4f}"]
        test = ["", ""]
        if self.test is not None:
            test = [f"{self.test.accuracy:.4f}", f"{self.test.top5:.4f}"]
        return [self.variant, str(self.size), str(self.trial), *validation, *test]


def network_rows(trials: Sequence[Trial], finals: Iterable[FinalScores]) -> list[NetworkRow]:
    """The trial of each network with the highest validation accuracy, and all trained to the end.

    A network is a variant at a resolution. Of equally accurate trials the first one counts. A trial
    with several final trainings has a row for each.

    Args:
        trials: Of a study, in any state; complete ones that are no replicates count.
        finals: Final trainings of its recipes.

    Returns:
        Ordered as the variants are in the catalog, then by resolution and trial.
    """
    complete = {
        trial.number: (trial, trial.scores)
        for trial in trials
        if trial.state == "complete" and trial.scores is not None and trial.replicate_of is None
    }
    best: dict[tuple[str, int], int] = {}
    for number, (trial, scores) in sorted(complete.items()):
        network = variant_of(trial), pixels_of(trial)
        if network not in best or scores.accuracy > complete[best[network]][1].accuracy:
            best[network] = number
    tests: dict[int, list[Scores]] = {}
    for final in finals:
        tests.setdefault(final.trial, []).append(final.test)
    shown = sorted({*best.values(), *(tests.keys() & complete.keys())})
    rows = [
        NetworkRow(variant_of(trial), pixels_of(trial), number, scores, test)
        for number in shown
        for trial, scores in [complete[number]]
        for test in tests.get(number, [None])
    ]
    return sorted(rows, key=lambda row: (_ORDER.get(row.variant, -1), row.size, row.trial))


def networks_csv(rows: Iterable[NetworkRow]) -> str:
    """The rows as CSV; accuracies from 0 to 1."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(row.cells() for row in rows)
    return text.getvalue()


def networks_markdown(rows: Iterable[NetworkRow]) -> str:
    """The rows as a Markdown table; accuracies from 0 to 1."""
    titles = [name.replace("_top5", " top-5").replace("_", " ") for name in _COLUMNS]
    lines = [titles, ["---", *(["---:"] * (len(titles) - 1))], *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
