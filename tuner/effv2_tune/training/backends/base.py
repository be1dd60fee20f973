"""Defines the protocol of a backend: devices, training steps, feature extraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.study.recipe import EVALUATION_FLIP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from effv2_tune.catalog import Scaling
    from effv2_tune.host import Kind
    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.inputs.pipeline import DeviceData, Source
    from effv2_tune.training.scores import Counts

SplitName = Literal["train", "validation", "test"]

#: Features per evaluation batch: evaluating a classifier takes next to no time.
_FEATURES_PER_BATCH = 1024

#: The state of dropout and stochastic depth, beside the weights in `named_variables`.
RANDOM_STATE = "network/random_state"

#: Those of the optimizer in `Steps.read`, for the record: they follow from the recipe.
HYPERPARAMETERS = "optimizer/hyperparameters"


@dataclass(frozen=True)
class StepPlan:
    """What is compiled into a step.

    Attributes:
        batch: Images per step, over all devices.
        classes: Number of classes.
        image_shape: Height, width and channels of the stored images; of features, the number of
            views of each training image (two with flips) and their width.
        resolution: Side in pixels to which images are resized.
        evaluation_resolution: The same in evaluation; None for the same side.
        interpolation: Of resizing.
        scaling: Of the pixel values that the network takes.
        augmentations: Kinds of augmentation, in training and in evaluation.
        averaged: Whether the optimizer keeps a moving average of the weights.
        magnitudes: The names in `StepInputs.magnitudes`.
        takes_features: Whether inputs are cached features, and the network is the classifier alone.
    """

    batch: int
    classes: int
    image_shape: tuple[int, ...]
    resolution: int
    interpolation: str
    scaling: Scaling
    augmentations: tuple[str, ...]
    averaged: bool
    magnitudes: tuple[str, ...] = ()
    takes_features: bool = False
    evaluation_resolution: int | None = None

    @property
    def evaluates_both_views(self) -> bool:
        """Whether an evaluation averages over each image and its mirror image."""
        return EVALUATION_FLIP in self.augmentations

    @property
    def evaluation_batch(self) -> int:
        """Images, or features, per evaluation step."""
        if not self.takes_features:
            return self.batch
        return self.batch * max(1, _FEATURES_PER_BATCH // self.batch)


@dataclass(frozen=True)
class StepInputs:
    """Inputs of a step, beside the hyperparameters of the optimizer.

    Attributes:
        seed: Of the augmentations.
        magnitudes: Label smoothing and those of the augmentations, by name.
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
        correct: Images that were classified correctly.
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

    def start(self, inputs: StepInputs) -> None:
        """Begin a trial with the present weights of the network and of the optimizer."""

    def begin_epoch(
        self,
        order: NDArray[np.int32],
        mixing: NDArray[np.float32],
        mirrored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Set the inputs of the coming epoch: the fields of `shuffling.EpochInputs`."""

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all further steps of this trial, in place of the schedule."""

    def run(self, first: int, steps: int) -> Sums:
        """Train ``steps`` steps of this epoch from ``first`` on, and wait for them."""

    def evaluate(self, split: SplitName, positions: NDArray[np.int32] | None = None) -> Counts:
        """Count over images of a split once, with the averaged weights if there are any.

        Args:
            split: The split.
            positions: Of the images; all of the split if left out.
        """

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        """All state, by name."""

    def write(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore the state that :meth:`read` returned.

        Hyperparameters stay as they are: those that an earlier version wrote may lack some.
        """

    def copies(self) -> list[NDArray[np.float32]]:
        """All trained weights in one row, as each device of the mesh holds them."""

    def evaluated_weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """The network's weights that :meth:`evaluate` uses, by name."""

    def finish(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """End the trial: these weights go into the network, and :meth:`evaluate` uses them."""


@dataclass(frozen=True)
class ReferenceKernel:
    """A fixed piece of work that is timed beside steps.

    Attributes:
        run: Runs it once, and waits for it.
        threads: Of the backend, where the device is the processors; None for an accelerator.
    """

    run: Callable[[], None]
    threads: int | None


class Extractor(Protocol):
    """A backbone on a device, compiled for inference."""

    def run(
        self, split: SplitName, order: NDArray[np.int32], *, mirrored: bool
    ) -> NDArray[np.float32]:
        """Compute the features of some images.

        Args:
            split: Of the images.
            order: Their positions [batches, batch].
            mirrored: Whether they are mirrored first, left to right.

        Returns:
            [batches * batch, width].
        """


class Backend(Protocol):
    """A framework, on the devices that it was opened on."""

    @property
    def device_names(self) -> list[str]:
        """One name for each device that shares a batch."""

    @property
    def memory_bytes(self) -> int:
        """Memory of one accelerator; an assumption where the framework does not report it."""

    def peak_memory(self) -> int | None:
        """The most bytes in use so far on an accelerator; None where none is reported."""

    def place(self, sources: Mapping[str, Source], limit: int) -> DeviceData:
        """Put images or features on the device.

        Args:
            sources: By split.
            limit: Bytes up to which all of them are resident; more are streamed.
        """

    def make_steps(
        self, network: Any, optimizer: StepOptimizer, plan: StepPlan, data: DeviceData
    ) -> Steps:
        """Prepare the training and evaluation steps of a network.

        Args:
            network: From `training_network`, giving logits; from `classifier` for features.
            optimizer: Built for the network's trainable variables.
            plan: What is compiled in.
            data: From :meth:`place`.
        """

    def make_extractor(self, backbone: Any, plan: StepPlan, data: DeviceData) -> Extractor:
        """Prepare the inference of a backbone.

        Args:
            backbone: From `training_network`, without a classifier.
            plan: What is compiled in.
            data: Images, from :meth:`place`.
        """

    def reference_kernel(self) -> ReferenceKernel:
        """A fixed piece of work, compiled."""

    def take_notes(self) -> tuple[str, ...]:
        """Remarks on its compilations that were not reported yet."""

    def image_flops(self, network: Any, pixels: int) -> float | None:
        """FLOPs of a training step for one image, unoptimized; None where nothing counts them."""


def missing_device_error(framework: str, hardware: Kind) -> TuneError:
    """The error of a framework that has no device of this kind."""
    return TuneError(
        f"{framework} finds no {hardware.upper()} in this process.",
        hint="'effv2-tune doctor' shows the hardware of this machine; 'hardware: cpu' trains on "
        "the CPU.",
        exit_code=EXIT_FAILED,
    )


def named_variables(network: Any) -> dict[str, Any]:
    """The state of a network that training changes, by names that are equal in every process.

    Keras numbers the objects of a process in their names (``seed_generator_7``); the layers of an
    EfficientNetV2 have fixed names.
    """
    weights = {
        f"network/{name}/{variable.name}": variable
        for name, layer in network.layers_by_name.items()
        for variable in layer.variables
    }
    return weights | {RANDOM_STATE: network.seed_generator.state}
