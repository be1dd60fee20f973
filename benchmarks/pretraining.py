"""Trains a backbone from scratch, for benchmarks of finetuning: no released weights are needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.study.recipe import Recipe


def pretrain(recipe: Recipe, folder: Path, weights: Path) -> dict[str, Any]:
    """Train a recipe, and keep its network without the classifier.

    Args:
        recipe: Trained from scratch.
        folder: Of the training; one that was interrupted resumes.
        weights: The ``.weights.h5`` to write, unless it exists; recipes name it as their
            ``weights``.

    Returns:
        The metrics of the trained model.
    """
    from effv2_tune import train
    from effv2_tune.network import training_network

    result = train(recipe, out=folder, hardware="cpu", on_event=_print_epoch)
    if weights.exists():
        return dict(result.metrics)
    backbone = training_network(
        recipe.variant, classes=None, resolution=recipe.pixels, weights=str(result.model_path)
    )
    # Keras demands the suffix; a kill must not leave half a file under the final name.
    writing = weights.with_name(f"writing-{weights.name}")
    backbone.save_weights(writing)
    writing.replace(weights)
    return dict(result.metrics)


def _print_epoch(event: Any) -> None:
    epoch = getattr(event, "epoch", None)
    if epoch is not None:
        accuracy = epoch.validation.accuracy
        print(f"epoch {epoch.epoch}: validation accuracy {accuracy:.3f}", file=sys.stderr)
