"""EfficientNetV2 as a Keras model made for training: quick to build, its rates variables."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from effv2_tune.catalog import Stage, Variant
from effv2_tune.network.architecture import extract_features
from effv2_tune.network.fast_layers import QuickBatchNormalization, QuickDepthwiseConv2D
from effv2_tune.network.hash_rng import kept_of_table
from effv2_tune.network.layers import (
    CLASSIFIER,
    LayerKinds,
    LayerMaker,
    classifier_layer,
    trunk_layers,
)
from effv2_tune.network.stages import TrainableFrom, first_trained_stage, stage_of

if TYPE_CHECKING:
    from effv2_tune.catalog import Block


class _Operations:
    """The words between the layers as plain operations: no layer, no call of a layer."""

    def silu(self, x: Any, name: str) -> Any:  # noqa: ARG002 - the name is for models of layers
        return ops.silu(x)

    def pad(self, x: Any, name: str) -> Any:  # noqa: ARG002
        return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def squeeze(self, x: Any, name: str) -> Any:  # noqa: ARG002
        return ops.mean(x, axis=(1, 2), keepdims=True)

    def multiply(self, x: Any, gate: Any, name: str) -> Any:  # noqa: ARG002
        return x * gate

    def add(self, x: Any, shortcut: Any, name: str) -> Any:  # noqa: ARG002
        return x + shortcut

    def pool(self, x: Any, name: str) -> Any:  # noqa: ARG002
        return ops.mean(ops.cast(x, keras.backend.result_type(x.dtype, "float32")), axis=(1, 2))


_OPERATIONS = _Operations()


def _keep_each(rates: Any, noise: Any) -> Any:
    """0 where dropped, 1 / (1 - rate) where kept; exactly 1 everywhere at rate 0.

    Args:
        rates: From 0 to below 1.
        noise: Uniform random numbers from [0, 1), so that rate 0 keeps everything.
    """
    return ops.where(noise >= rates, 1 / (1 - rates), 0.0)


class _WithDropout(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model with random numbers of its own and rates that are variables."""

    def __init__(self, *, seed: int, rates: dict[str, float], name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rates = {
            rate_name: self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(rate),
                dtype="float32",
                trainable=False,
                autocast=False,
                name=f"{rate_name}_rate",
            )
            for rate_name, rate in rates.items()
        }

    def classify(self, features: Any, *, training: bool) -> Any:
        """Features, with dropout where training, through the classifier."""
        if training:
            features = ops.where(self.kept(features), features / (1 - self.dropout), 0.0)
        return self.get_layer(CLASSIFIER)(features)

    @property
    def dropout(self) -> Any:
        """The present rate."""
        return ops.convert_to_tensor(self.rates["dropout"])

    def kept(self, features: Any) -> Any:
        """Which of the features dropout keeps; others at each call."""
        rows, columns = ops.shape(features)
        numbers = ops.unstack(self.seed_generator.next())
        return kept_of_table(rows, columns, self.dropout, *numbers)


@keras.saving.register_keras_serializable(package="effv2_tune")
class EfficientNetV2(_WithDropout):
    """A network of the family; made by `efficientnet_v2`, which explains the arguments."""

    def __init__(
        self,
        variant: Variant,
        *,
        classes: int | None,
        resolution: int,
        dropout: float,
        stochastic_depth: float,
        classifier_activation: str | None,
        batch_norm_momentum: float,
        batch_norm_epsilon: float,
        trainable_from: TrainableFrom,
        seed: int,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            seed=seed,
            rates={"dropout": dropout, "stochastic_depth": stochastic_depth},
            name=name or f"efficientnetv2_{variant.name}",
            dtype=dtype,
        )
        self.variant = variant
        self.classes = classes
        self.resolution = resolution
        self.classifier_activation = classifier_activation
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.trainable_from = trainable_from
        make = LayerMaker(
            variant,
            dtype=self.dtype_policy,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            kinds=LayerKinds(QuickDepthwiseConv2D, QuickBatchNormalization),
        )
        self.layers_by_name = {layer.name: layer for layer in trunk_layers(variant, make)}
        if classes is not None:
            top = classifier_layer(variant, classes, activation=classifier_activation)
            self.layers_by_name[CLASSIFIER] = top
        self.first_trained_stage = first_trained_stage(variant, trainable_from)
        for layer_name, layer in self.layers_by_name.items():
            # Batch normalization that is not trainable uses its moving statistics.
            layer.trainable = stage_of(layer_name, variant) >= self.first_trained_stage
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' own
        """Scaled images [batch, height, width, 3] to logits, or features without classifier."""
        features = self.extract(inputs, training=bool(training))
        if self.classes is None:
            return features
        return self.classify(features, training=bool(training))

    def extract(self, images: Any, *, training: bool) -> Any:
        """Scaled images to pooled features [batch, head_width], float32."""
        factors = self._branch_factors(ops.shape(images)[0]) if training else {}

        def drop(block: Block, x: Any) -> Any:
            factor = factors.get(block.position)
            return x if factor is None else x * ops.cast(factor, x.dtype)

        return extract_features(
            self.variant, self.layers_by_name, _OPERATIONS, images, drop=drop, training=training
        )

    def _branch_factors(self, batch: Any) -> dict[int, Any]:
        """By position of the block, the factor [batch, 1, 1, 1] of stochastic depth."""
        blocks = self.variant.blocks
        dropping = [
            block.position
            for block in blocks
            # The first block's rate is always 0. Frozen stages run as in inference.
            if block.has_shortcut and block.position and block.stage >= self.first_trained_stage
        ]
        if not dropping:
            return {}
        # google/automl, effnetv2_model.py: over all blocks, residual or not.
        shares = ops.convert_to_tensor([place / len(blocks) for place in dropping], "float32")
        rates = ops.reshape(ops.convert_to_tensor(self.rates["stochastic_depth"]) * shares, (-1, 1))
        # One draw for all blocks: a draw each would make the compiled step a third longer.
        shape = (len(dropping), batch)
        noise = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keeps = _keep_each(rates, noise)
        return {
            position: ops.reshape(keeps[row], (-1, 1, 1, 1))
            for row, position in enumerate(dropping)
        }

    def get_config(self) -> dict[str, Any]:
        """What makes the same network again (with other weights)."""
        return {
            "variant": dataclasses.asdict(self.variant),
            "classes": self.classes,
            "resolution": self.resolution,
            **{
                name: float(ops.convert_to_numpy(ops.convert_to_tensor(rate)))
                for name, rate in self.rates.items()
            },
            "classifier_activation": self.classifier_activation,
            "batch_norm_momentum": self.batch_norm_momentum,
            "batch_norm_epsilon": self.batch_norm_epsilon,
            "trainable_from": self.trainable_from,
            "seed": self.seed,
            "dtype": self.dtype_policy.name,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> EfficientNetV2:  # noqa: ARG003
        """The network that `get_config` describes."""
        stages = tuple(Stage(**stage) for stage in config["variant"]["stages"])
        variant = Variant(**{**config["variant"], "stages": stages})
        return cls(**{**config, "variant": variant})


class Classifier(_WithDropout):
    """The head alone, for features that were extracted beforehand; made by `classifier`."""

    def __init__(
        self, variant: Variant, *, classes: int, dropout: float, activation: str | None, seed: int
    ) -> None:
        super().__init__(
            seed=seed,
            rates={"dropout": dropout},
            name=f"classifier_{variant.name}",
            dtype="float32",
        )
        self.variant = variant
        self.classes = classes
        self.layers_by_name = {
            CLASSIFIER: classifier_layer(variant, classes, activation=activation)
        }
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' own
        """Pooled features [batch, head_width] to logits [batch, classes]."""
        return self.classify(inputs, training=bool(training))

    def classify(self, features: Any, *, training: bool) -> Any:
        """As in the whole network, with a product that is quick where it is most of a step."""
        layer = self.get_layer(CLASSIFIER)
        if not training:
            return layer(features)
        kept = ops.where(self.kept(features), features, 0.0)
        # Casting reads the variables here: TensorFlow would ask a custom gradient for theirs.
        kernel, bias = (ops.cast(held, "float32") for held in (layer.kernel, layer.bias))
        return layer.activation(_scaled_product(kept, kernel, 1 / (1 - self.dropout)) + bias)


@ops.custom_gradient  # type: ignore[untyped-decorator]  # Keras ships no types
def _scaled_product(features: Any, kernel: Any, scale: Any) -> Any:
    """``scale * features @ kernel``, for a number that is not differentiated.

    The kernel's gradient is computed as a product of few rows: on a CPU, XLA takes 0.24 ms for
    [1280, 128] x [128, 10], and 0.03 ms for [10, 128] x [128, 1280] (JAX 0.10.2). It would exchange
    product and transposition if the scale did not stand between them.
    """

    def gradient(*given: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        up = given[0] if upstream is None else upstream
        to_features = scale * ops.matmul(up, ops.transpose(kernel))
        to_kernel = ops.transpose(scale * ops.matmul(ops.transpose(up), features))
        return to_features, to_kernel, ops.zeros_like(scale)

    return scale * ops.matmul(features, kernel), gradient
