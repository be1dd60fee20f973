"""Finds the final trainings of a study's trials."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from effv2_tune.report.tables.networks import FinalScores
from effv2_tune.study.training_run import METRICS_FILE, RECIPE_FILE, seed_folder
from effv2_tune.study.trial import Scores

if TYPE_CHECKING:
    from pathlib import Path


def final_scores(parent: Path, *, study: str) -> list[FinalScores]:
    """The finished final trainings in the folders of ``parent``, sorted by name of their folders.

    Those of one recipe with several seeds are in folders of such a folder.

    Args:
        parent: Where the folders of trainings are.
        study: Name of the study whose trials they must have trained; those that an earlier version
            trained do not say it.
    """
    found = []
    trained = [
        *parent.glob(f"*/{METRICS_FILE}"),
        *parent.glob(f"*/{seed_folder('*')}/{METRICS_FILE}"),
    ]
    for path in sorted(trained):
        if not (path.parent / RECIPE_FILE).is_file():
            continue  # another program's metrics
        metrics = json.loads(path.read_text(encoding="utf-8"))
        with suppress(KeyError):
            if metrics["trial"]["study"] == study:
                test = Scores.model_validate(metrics["test"])
                found.append(FinalScores(metrics["trial"]["number"], test))
    return found
