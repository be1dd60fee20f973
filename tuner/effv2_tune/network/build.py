"""Builds the networks and classifiers that are trained, and sets their drop rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effv2_tune.catalog import MIN_RESOLUTION, TOTAL_STRIDE, find_variant
from effv2_tune.errors import TuneError
from effv2_tune.network.initializers import initialise
from effv2_tune.network.model import Classifier, EfficientNetV2
from effv2_tune.network.pretrained.weights import load_weights

if TYPE_CHECKING:
    from effv2_tune.catalog import Variant
    from effv2_tune.network.stages import TrainableFrom
    from effv2_tune.tensor import Tensor


def training_network(
    variant: str | Variant,
    *,
    classes: int | None = 1000,
    resolution: int | None = None,
    dropout: float | None = None,
    stochastic_depth: float = 0.2,
    classifier_activation: str | None = None,
    batch_norm_momentum: float = 0.9,
    batch_norm_epsilon: float | None = None,
    trainable_from: TrainableFrom = 0,
    weights: str | None = None,
    seed: int = 0,
    dtype: Any = None,
) -> EfficientNetV2:
    """Build an EfficientNetV2 (Tan and Le, arXiv 2104.00298) for a trainer, on any Keras backend.

    The same network as `efficientnet_v2`, which is what a Keras user wants, but quicker to build
    and to run: no layer between those with weights, and subclasses of Keras layers that compute the
    same faster. Dropout and stochastic depth act in training only; their rates are variables
    (`set_drop_rates`). The same seed gives the same initial weights on every backend.

    Args:
        variant: A name in `catalog.VARIANTS`, `tiny`, or a `catalog.Variant`.
        classes: Outputs of the classifier; None leaves it out, and the model gives features.
        resolution: Side of the images in pixels, 32 or more; None for the variant's native one.
            The network takes other sizes too: this one is only kept in its config.
        dropout: Rate before the classifier; None for that of the published training.
        stochastic_depth: Rate that the blocks approach linearly, from 0 at the first one.
        classifier_activation: None for logits, or `softmax`, `sigmoid`.
        batch_norm_momentum: Share of the moving average that each step keeps. 0.9 as in the
            released code; 0.99 in the paper.
        batch_norm_epsilon: Added to the variance; None for the variant's own.
        trainable_from: First stage that is trained, 0 for everything (stem included), the number
            of stages for the last convolution and the classifier, `head` for the classifier
            only. What comes before runs as in inference: moving statistics, no stochastic depth.
        weights: Name of a weight set or path of a file, as in `load_weights`; None for random ones.
        seed: Of the initial weights and of all randomness in training.
        dtype: Keras dtype policy or its name, e.g. `mixed_bfloat16`; None for the global one.

    Returns:
        A model from images [batch, resolution, resolution, 3], scaled as its weights expect
        (`preprocess`), to float32 logits [batch, classes] or features [batch, head_width].

    Raises:
        TuneError: No such variant; a resolution, rate or stage out of range; weights that cannot
            be loaded.
    """
    found = resolve_variant(variant)
    pixels = found.native_resolution if resolution is None else resolution
    check_resolution(pixels)
    rate = found.dropout if dropout is None else dropout
    check_rates(dropout=rate, stochastic_depth=stochastic_depth)
    model = EfficientNetV2(
        found,
        classes=classes,
        resolution=pixels,
        dropout=rate,
        stochastic_depth=stochastic_depth,
        classifier_activation=classifier_activation,
        batch_norm_momentum=batch_norm_momentum,
        batch_norm_epsilon=batch_norm_epsilon,
        trainable_from=trainable_from,
        seed=seed,
        dtype=dtype,
    )
    initialise(model, seed=seed)
    if weights is not None:
        load_weights(model, weights)
    return model


def classifier(
    variant: str | Variant,
    *,
    classes: int,
    dropout: float | None = None,
    activation: str | None = None,
    seed: int = 0,
) -> Classifier:
    """Build the classifier head of `training_network` alone: dropout and `predictions`.

    Args:
        variant: As for `training_network`.
        classes: Outputs.
        dropout: Rate of dropout; None for that of the published training.
        activation: None for logits.
        seed: Of the initial weights (the same as in the whole network) and of dropout.

    Returns:
        A model from features [batch, head_width] to float32 [batch, classes].

    Raises:
        TuneError: No such variant, or a rate out of range.
    """
    found = resolve_variant(variant)
    rate = found.dropout if dropout is None else dropout
    check_rates(dropout=rate)
    model = Classifier(found, classes=classes, dropout=rate, activation=activation, seed=seed)
    initialise(model, seed=seed)
    return model


def drop_rate_variables(model: EfficientNetV2 | Classifier) -> dict[str, Tensor]:
    """Return the variables that hold the drop rates of `model`, by name."""
    return dict(model.rates)


def set_drop_rates(model: EfficientNetV2 | Classifier, **rates: float) -> None:
    """Set `dropout` and `stochastic_depth` of `model` without a new trace.

    Raises:
        TuneError: A rate below 0, or 1 and above, or one that the model does not have.
    """
    check_rates(**rates)
    variables = drop_rate_variables(model)
    for name, rate in rates.items():
        if name not in variables:
            raise TuneError(
                f"{model.name} has no drop rate {name!r}.",
                hint=f"Its drop rates are: {', '.join(variables)}.",
            )
        variables[name].assign(rate)


def resolve_variant(variant: str | Variant) -> Variant:
    """Look up a variant by name; a `Variant` is returned as it is."""
    return find_variant(variant) if isinstance(variant, str) else variant


def check_resolution(pixels: int) -> None:
    """Refuse images with a side below `catalog.MIN_RESOLUTION`."""
    if pixels < MIN_RESOLUTION:
        raise TuneError(
            f"A resolution of {pixels} is too small for EfficientNetV2: its total stride is "
            f"{TOTAL_STRIDE}.",
            hint=f"Use {MIN_RESOLUTION} pixels or more; images are resized to it.",
        )


def check_rates(**rates: float) -> None:
    """Refuse rates below 0, or 1 and above."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise TuneError(
                f"{name} {rate:g} is not a rate.", hint="Use a number from 0 to below 1."
            )
