"""Making networks and classifiers, and setting their rates."""

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


def efficientnet_v2(
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
    """An EfficientNetV2 (Tan and Le, arXiv 2104.00298) on any Keras backend.

    It takes images that are scaled as its weights expect (`preprocess`). Its layers are stock Keras
    layers, or subclasses that compute the same faster, with the names and weights of the released
    files. Dropout and stochastic depth act in training only; their rates are variables
    (`set_drop_rates`). The same seed gives the same initial weights on every backend.

    Args:
        variant: A name in `catalog.VARIANTS`, `tiny`, or a variant of your own.
        classes: Outputs of the classifier; None leaves it out, and the model gives features.
        resolution: Side of the images in pixels, 32 or more; None for the variant's native one.
            The network takes other sizes too: this one is its input shape on record.
        dropout: Rate before the classifier; None for that of the published training.
        stochastic_depth: Rate that the blocks approach linearly, from 0 at the first one.
        classifier_activation: None for logits, or `softmax`, `sigmoid`.
        batch_norm_momentum: Share of the moving average that each step keeps. 0.9 as in the
            released code; the paper says 0.99.
        batch_norm_epsilon: Added to the variance; None for the variant's own.
        trainable_from: First stage that is trained, 0 for everything (stem included), the number
            of stages for the last convolution and the classifier, `head` for the classifier
            only. What comes before runs as in inference: moving statistics, no stochastic depth.
        weights: Name of a weight set or path of a file, as in `load_weights`; None for random ones.
        seed: Of the initial weights and of all randomness in training.
        dtype: Keras dtype policy or its name, e.g. `mixed_bfloat16`; None for the global one.

    Returns:
        A model from float images [batch, resolution, resolution, 3] to float32 [batch, classes],
        or to features [batch, head_width].

    Raises:
        TuneError: No such variant; a resolution, rate or stage out of range; weights that cannot
            be loaded.
    """
    found = find_variant(variant) if isinstance(variant, str) else variant
    pixels = found.native_resolution if resolution is None else resolution
    if pixels < MIN_RESOLUTION:
        raise TuneError(
            f"A resolution of {pixels} is too small for EfficientNetV2: its total stride is "
            f"{TOTAL_STRIDE}.",
            hint=f"Take {MIN_RESOLUTION} pixels or more; images are resized to it.",
        )
    rate = found.dropout if dropout is None else dropout
    _check_rates(dropout=rate, stochastic_depth=stochastic_depth)
    model = EfficientNetV2(
        found,
        classes=classes,
        resolution=pixels,
        dropout=rate,
        stochastic_depth=stochastic_depth,
        classifier_activation=classifier_activation,
        batch_norm_momentum=batch_norm_momentum,
        batch_norm_epsilon=(
            found.batch_norm_epsilon if batch_norm_epsilon is None else batch_norm_epsilon
        ),
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
    """The classifier of `efficientnet_v2` alone: dropout and `predictions`.

    Args:
        variant: As for `efficientnet_v2`.
        classes: Outputs.
        dropout: Rate of dropout; None for that of the published training.
        activation: None for logits.
        seed: Of the initial weights (the same as in the whole network) and of dropout.

    Returns:
        A model from features [batch, head_width] to float32 [batch, classes].

    Raises:
        TuneError: No such variant, or a rate out of range.
    """
    found = find_variant(variant) if isinstance(variant, str) else variant
    rate = found.dropout if dropout is None else dropout
    _check_rates(dropout=rate)
    model = Classifier(found, classes=classes, dropout=rate, activation=activation, seed=seed)
    initialise(model, seed=seed)
    return model


def drop_rate_variables(model: EfficientNetV2 | Classifier) -> dict[str, Any]:
    """The variables that hold the rates of `model`: `dropout`, `stochastic_depth`, by name."""
    return dict(model.rates)


def set_drop_rates(model: EfficientNetV2 | Classifier, **rates: float) -> None:
    """Set `dropout` and `stochastic_depth` of `model`; nothing is compiled anew.

    Raises:
        TuneError: A rate below 0, or 1 and above, or one that the model does not have.
    """
    _check_rates(**rates)
    variables = drop_rate_variables(model)
    for name, rate in rates.items():
        if name not in variables:
            raise TuneError(
                f"{model.name} has no rate called {name!r}.",
                hint=f"It has: {', '.join(variables)}.",
            )
        variables[name].assign(rate)


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise TuneError(
                f"{name} {rate:g} is not a rate.", hint="Give a number from 0 to below 1."
            )
