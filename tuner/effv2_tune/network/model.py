"""Defines EfficientNetV2 as a Keras model for training: fast to build, drop rates as variables."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from effv2_tune.catalog import Stage, Variant
from effv2_tune.network.architecture import feature_map
from effv2_tune.network.fast_layers import FastBatchNormalization, FastDepthwiseConv2D
from effv2_tune.network.hash_rng import dropout_mask
from effv2_tune.network.layers import (
    CLASSIFIER,
    LayerKinds,
    LayerMaker,
    classifier_layer,
    network_layers,
)
from effv2_tune.network.running_backend import exact_products
from effv2_tune.network.stages import TrainableFrom, freeze_stages

if TYPE_CHECKING:
    from effv2_tune.catalog import Block
    from effv2_tune.tensor import Tensor


class _Operations:
    """The operations between the layers with weights as plain operations: no layer is called."""

    def silu(self, x: Tensor, name: str) -> Tensor:  # noqa: ARG002 - the name is for models of layers
        return ops.silu(x)

    def pad(self, x: Tensor, name: str) -> Tensor:  # noqa: ARG002
        return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def squeeze(self, x: Tensor, name: str) -> Tensor:  # noqa: ARG002
        return ops.mean(x, axis=(1, 2), keepdims=True)

    def multiply(self, x: Tensor, gate: Tensor, name: str) -> Tensor:  # noqa: ARG002
        return x * gate

    def add(self, x: Tensor, shortcut: Tensor, name: str) -> Tensor:  # noqa: ARG002
        return x + shortcut


_OPERATIONS = _Operations()


class _WithDropout(keras.Model):  # type: ignore[misc]  # Keras ships no types
    """A model with its own random state, and drop rates that are variables."""

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

    def classify(self, features: Tensor, *, training: bool) -> Tensor:
        """Apply dropout, in training, and the classifier."""
        if training:
            features = ops.where(self.keep_mask(features), features / (1 - self.dropout), 0.0)
        with exact_products():
            return self.get_layer(CLASSIFIER)(features)

    @property
    def dropout(self) -> Tensor:
        """The current dropout rate."""
        return ops.convert_to_tensor(self.rates["dropout"])

    def keep_mask(self, features: Tensor) -> Tensor:
        """Draw a mask of the features that dropout keeps; another at each call."""
        rows, columns = ops.shape(features)
        keys = ops.unstack(self.seed_generator.next())
        return dropout_mask(rows, columns, self.dropout, *keys)


@keras.saving.register_keras_serializable(package="effv2_tune")
class EfficientNetV2(_WithDropout):
    """A network of the family; `training_network` documents the arguments."""

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
        batch_norm_epsilon: float | None,
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
        self.batch_norm_epsilon = (
            variant.batch_norm_epsilon if batch_norm_epsilon is None else batch_norm_epsilon
        )
        self.trainable_from = trainable_from
        make = LayerMaker(
            variant,
            dtype=self.dtype_policy,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            kinds=LayerKinds(FastDepthwiseConv2D, FastBatchNormalization),
        )
        self.layers_by_name = network_layers(
            variant, make, classes=classes, activation=classifier_activation
        )
        self.first_trained_stage = freeze_stages(self.layers_by_name, variant, trainable_from)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:  # noqa: FBT001 - Keras' own
        """Compute logits, or features without classifier, of scaled images."""
        with exact_products(self.compute_dtype):
            features = self.extract(inputs, training=bool(training))
        if self.classes is None:
            return features
        return self.classify(features, training=bool(training))

    def extract(self, images: Tensor, *, training: bool) -> Tensor:
        """Compute pooled features [batch, head_width], float32, of scaled images."""
        factors = self._branch_factors(ops.shape(images)[0]) if training else {}

        def drop(block: Block, x: Tensor) -> Tensor:
            factor = factors.get(block.position)
            return x if factor is None else x * ops.cast(factor, x.dtype)

        x = feature_map(
            self.variant, self.layers_by_name, _OPERATIONS, images, drop=drop, training=training
        )
        return ops.mean(ops.cast(x, keras.backend.result_type(x.dtype, "float32")), axis=(1, 2))

    def _branch_factors(self, batch: Any) -> dict[int, Tensor]:
        """Draw the factor of stochastic depth [batch, 1, 1, 1] for each block, by position."""
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
        shares = ops.convert_to_tensor([index / len(blocks) for index in dropping], "float32")
        rates = ops.reshape(ops.convert_to_tensor(self.rates["stochastic_depth"]) * shares, (-1, 1))
        # One draw for all blocks: a draw each would make the compiled step a third longer.
        shape = (len(dropping), batch)
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        # Uniform numbers are below 1: at rate 0 every factor is exactly 1.
        factors = ops.where(uniform >= rates, 1 / (1 - rates), 0.0)
        return {
            position: ops.reshape(factors[row], (-1, 1, 1, 1))
            for row, position in enumerate(dropping)
        }

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build the same network, without its weights."""
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
        """Build the network that `get_config` describes."""
        stages = tuple(Stage(**stage) for stage in config["variant"]["stages"])
        variant = Variant(**{**config["variant"], "stages": stages})
        return cls(**{**config, "variant": variant})


class Classifier(_WithDropout):
    """The classifier head alone, for extracted features; built by `classifier`."""

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

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:  # noqa: FBT001 - Keras' own
        """Compute logits [batch, classes] of pooled features [batch, head_width]."""
        return self.classify(inputs, training=bool(training))

    def classify(self, features: Tensor, *, training: bool) -> Tensor:
        """Apply dropout and the classifier; the product is most of a step, so it is a fast one."""
        layer = self.get_layer(CLASSIFIER)
        if not training:
            return super().classify(features, training=False)
        kept = ops.where(self.keep_mask(features), features, 0.0)
        # Cast outside: TensorFlow's custom gradients must return those of variables read inside.
        kernel, bias = (ops.cast(weight, "float32") for weight in (layer.kernel, layer.bias))
        return layer.activation(_scaled_product(kept, kernel, 1 / (1 - self.dropout)) + bias)


@ops.custom_gradient  # type: ignore[untyped-decorator]  # Keras ships no types
def _scaled_product(features: Tensor, kernel: Tensor, scale: Tensor) -> Tensor:
    """``scale * features @ kernel``, for a scale that is not differentiated.

    The kernel's gradient is computed as a product of few rows: on a CPU, XLA takes 0.24 ms for
    [1280, 128] x [128, 10], and 0.03 ms for [10, 128] x [128, 1280] (JAX 0.10.2). The scale between
    product and transposition keeps XLA from exchanging the two.
    """

    def gradient(*args: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor, Tensor]:
        up = args[0] if upstream is None else upstream
        with exact_products():
            to_features = scale * ops.matmul(up, ops.transpose(kernel))
            to_kernel = ops.transpose(scale * ops.matmul(ops.transpose(up), features))
        return to_features, to_kernel, ops.zeros_like(scale)

    with exact_products():
        return scale * ops.matmul(features, kernel), gradient
