"""What the two step files have in common: the protocol, what is compiled in, what is an input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from effv2_tune.catalog import Scaling
    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.scores import Counts

SplitName = Literal["train", "validation", "test"]

#: Features that are evaluated at once: a classifier is done with them in a moment.
_FEATURES_AT_ONCE = 1024

#: The state of dropout and stochastic depth, beside the weights in `named_variables`.
RANDOM_STATE = "network/random_state"


@dataclass(frozen=True)
class StepPlan:
    """What is compiled into a step.

    Attributes:
        batch: Images per step, over all devices.
        classes: Number of classes.
        image_shape: Height, width and channels of the stored images; of features, how many sides
            of each image there are (two with flips), and their width.
        resolution: Side in pixels to which images are resized.
        interpolation: How.
        scaling: Of the numbers that go into the network.
        augmentations: Kinds of augmentation.
        averaged: Whether the optimizer keeps a moving average of the weights.
        takes_features: Whether features come in, and the network is the classifier alone.
    """

    batch: int
    classes: int
    image_shape: tuple[int, ...]
    resolution: int
    interpolation: str
    scaling: Scaling
    augmentations: tuple[str, ...]
    averaged: bool
    takes_features: bool = False

    @property
    def evaluation_batch(self) -> int:
        """Images, or features, that are evaluated at once."""
        if not self.takes_features:
            return self.batch
        return self.batch * max(1, _FEATURES_AT_ONCE // self.batch)


@dataclass(frozen=True)
class StepInputs:
    """What a step takes as input, beside the numbers of the optimizer.

    Attributes:
        seed: Of the augmentations.
        strengths: Label smoothing and those of the augmentations, by name.
        class_weights: [classes], float32.
    """

    seed: int
    magnitudes: Mapping[str, float]
    class_weights: NDArray[np.float32]


@dataclass(frozen=True)
class Sums:
    """Over some training steps.

    Attributes:
        loss: Sum of the steps' mean losses.
        correct: Images that were taken for their class.
        steps: How many steps.
    """

    loss: float
    correct: float
    steps: int


class Steps(Protocol):
    """A network and its optimizer on a device, with compiled steps.

    Attributes:
        traces: How often the training step was traced; 1 after any number of trials.
        loops_on_device: Whether the steps of one `run` are one call, with its loop on the device.
    """

    traces: int
    loops_on_device: bool

    def start(self, hyperparameters: StepInputs) -> None:
        """Begin a trial with the present weights of the network and of the optimizer."""

    def begin_epoch(self, order: NDArray[np.int32], mixing: NDArray[np.float32]) -> None:
        """Give the images of each step [steps, batch] of the coming epoch, and how they mix."""

    def run(self, first: int, steps: int) -> Sums:
        """Train the steps from ``first`` on of this epoch, and wait until they are done."""

    def evaluate(self, split: SplitName) -> Counts:
        """Count over every image of a split once, with the averaged weights if there are any."""

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        """All state, by name."""

    def write(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take back all state that :meth:`read` gave."""

    def copies(self) -> list[NDArray[np.float32]]:
        """All trained weights in one row, as each device of the mesh holds them."""

    def evaluated_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The network's weights that :meth:`evaluate` uses, by name."""

    def finish(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """End the trial: these weights go into the network, and :meth:`evaluate` uses them."""


def named_variables(network: Any) -> dict[str, Any]:
    """What training changes in a network, by names that are the same in every process.

    Keras numbers the objects of a process in their names (``seed_generator_7``); the layers of an
    EfficientNetV2 have names of their own.
    """
    weights = {
        f"network/{name}/{variable.name}": variable
        for name, layer in network.layers_by_name.items()
        for variable in layer.variables
    }
    return weights | {RANDOM_STATE: network.seed_generator.state}


def iterations_of(optimizer: StepOptimizer) -> Any:
    """The variable that counts the steps of an optimizer."""
    return next(held for held in optimizer.variables if held.name == "iterations")
