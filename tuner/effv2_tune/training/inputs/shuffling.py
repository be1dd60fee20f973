"""Shuffles images as a pure function of seed and epoch, so that no state has to be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from effv2_tune.study.batches import steps_per_epoch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effv2_tune.study.recipe import Recipe


class EpochInputs(NamedTuple):
    """The inputs of the steps of one epoch, as `Steps.begin_epoch` takes them.

    Attributes:
        order: The images of each step [steps, batch].
        mixing: How each step mixes them [steps, 4].
        mirrored: Which of them are mirrored [steps, batch], with alternating flips; else None.
    """

    order: NDArray[np.int32]
    mixing: NDArray[np.float32]
    mirrored: NDArray[np.bool_] | None


def epoch_order(seed: int, epoch: int, *, images: int, batch: int) -> NDArray[np.int32]:
    """The images of each step of one epoch.

    Args:
        seed: The recipe's.
        epoch: From 0.
        images: Number of training images.
        batch: Images per step.

    Returns:
        [steps, batch], positions of images; none comes twice.
    """
    steps = steps_per_epoch(images, batch)
    shuffled = np.random.default_rng([seed, epoch]).permutation(images)[: steps * batch]
    return shuffled.reshape(steps, batch).astype(np.int32)


def epoch_mixing(
    seed: int, epoch: int, *, steps: int, mixup: float, cutmix: float
) -> NDArray[np.float32]:
    """How much each step of one epoch mixes its images.

    Args:
        seed: The recipe's.
        epoch: From 0.
        steps: Steps of the epoch.
        mixup: Both parameters of the Beta distribution of mixup's shares; 0 for no mixup.
        cutmix: Likewise of CutMix. With both, each step does one of them.

    Returns:
        [steps, 4]: share of the image itself in mixup and in CutMix, 1 where a step does not do it;
        middle of CutMix' rectangle, as shares of height and width.
    """
    rng = np.random.default_rng([seed, epoch, 1])
    mixing = np.ones((steps, 4), np.float32)
    does_mixup = rng.random(steps) < (0.5 if mixup and cutmix else float(bool(mixup)))
    if mixup:
        mixing[:, 0] = np.where(does_mixup, rng.beta(mixup, mixup, steps), 1.0)
    if cutmix:
        mixing[:, 1] = np.where(does_mixup, 1.0, rng.beta(cutmix, cutmix, steps))
    mixing[:, 2:] = rng.random((steps, 2))
    return mixing


def alternating_flips(seed: int, epoch: int, *, images: int) -> NDArray[np.bool_]:
    """Which images an epoch mirrors: a random half of them, or the others, in turn.

    Jordan, arXiv 2404.00498, "Alternating flip".

    Args:
        seed: The recipe's.
        epoch: From 0.
        images: Number of training images.

    Returns:
        [images].
    """
    at_first = np.random.default_rng([seed, 0, 2]).random(images) < 0.5  # noqa: PLR2004 - one half
    return at_first ^ bool(epoch % 2)


def epoch_inputs(recipe: Recipe, epoch: int, *, images: int, batch: int) -> EpochInputs:
    """The inputs of one epoch of a recipe.

    Args:
        recipe: Its seed decides.
        epoch: From 0.
        images: Number of training images.
        batch: Images per step.
    """
    order = epoch_order(recipe.seed, epoch, images=images, batch=batch)
    mixup, cutmix = recipe.mixup, recipe.cutmix
    mixing = epoch_mixing(recipe.seed, epoch, steps=len(order), mixup=mixup, cutmix=cutmix)
    mirrored = None
    if recipe.flip == "alternating":
        mirrored = alternating_flips(recipe.seed, epoch, images=images)[order]
    return EpochInputs(order, mixing, mirrored)


def evaluation_order(images: int, batch: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Every image once, in order, in batches of equal size.

    Returns:
        Positions of images [batches, batch], and for each 1 if it counts, 0 where it pads the last
        batch.
    """
    batches = -(-images // batch)
    positions = np.zeros(batches * batch, np.int32)
    positions[:images] = np.arange(images)
    counts = (np.arange(batches * batch) < images).astype(np.float32)
    return positions.reshape(batches, batch), counts.reshape(batches, batch)
