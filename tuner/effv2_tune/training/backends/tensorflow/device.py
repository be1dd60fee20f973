"""Opens the device that TensorFlow trains on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from effv2_tune.errors import TuneError
from effv2_tune.host import compute_threads, probe_host
from effv2_tune.training.backends.base import ReferenceKernel, missing_device_error
from effv2_tune.training.backends.reference import reference_inputs, reference_work
from effv2_tune.training.backends.tensorflow.extraction import TensorFlowExtractor
from effv2_tune.training.backends.tensorflow.steps import TensorFlowSteps
from effv2_tune.training.inputs.pipeline import device_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.host import Kind
    from effv2_tune.optimizers.step_optimizer import StepOptimizer
    from effv2_tune.training.backends.base import StepPlan
    from effv2_tune.training.inputs.pipeline import DeviceData, Source

#: TensorFlow does not report the memory of a GPU.
_ASSUMED_BYTES = 8 * 2**30


@dataclass(frozen=True)
class TensorFlowBackend:
    """See :class:`effv2_tune.training.backends.base.Backend`; one device.

    Attributes:
        hardware: Its kind.
        device_names: Its name.
    """

    hardware: Kind
    device_names: list[str]

    @classmethod
    def open(cls, hardware: Kind) -> TensorFlowBackend:
        """Restrict TensorFlow to one device of this kind."""
        if hardware == "tpu":
            raise TuneError(
                "TensorFlow cannot use a TPU any more (2.19 was the last that could).",
                hint="Write 'backend: jax'.",
            )
        gpus = tf.config.list_physical_devices("GPU")
        if hardware == "cpu":
            tf.config.set_visible_devices([], "GPU")
            return cls(hardware, [probe_host().cpu])
        if not gpus:
            raise missing_device_error("TensorFlow", hardware)
        # Otherwise TensorFlow takes all memory at once, and a second process finds none.
        tf.config.experimental.set_memory_growth(gpus[0], enable=True)
        tf.config.set_visible_devices(gpus[:1], "GPU")
        # Otherwise products in float32 are rounded to 10 bits: TensorFloat-32.
        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
        details = tf.config.experimental.get_device_details(gpus[0])
        return cls(hardware, [str(details.get("device_name", "GPU"))])

    @property
    def memory_bytes(self) -> int:
        """An assumption."""
        return _ASSUMED_BYTES

    def peak_memory(self) -> int | None:
        """The most bytes in use so far on the GPU."""
        if self.hardware == "cpu":
            return None
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])

    def place(self, sources: Mapping[str, Source], limit: int) -> DeviceData:
        """Images or features by split: resident if they have at most ``limit`` bytes."""

        def place(pixels: Any, labels: Any) -> tuple[Any, Any]:
            return tf.constant(pixels), tf.constant(labels, tf.int32)

        def place_all(source: Source) -> tuple[Any, Any]:
            return place(source.whole(), source.labels)

        return device_data(sources, limit=limit, place_all=place_all, place_batch=place)

    def make_steps(
        self, network: Any, optimizer: StepOptimizer, plan: StepPlan, data: DeviceData
    ) -> TensorFlowSteps:
        """The steps of a network on the device."""
        return TensorFlowSteps(network, optimizer, plan, data)

    def make_extractor(
        self, backbone: Any, plan: StepPlan, data: DeviceData
    ) -> TensorFlowExtractor:
        """The inference of a backbone on the device."""
        return TensorFlowExtractor(backbone, plan, data)

    def reference_kernel(self) -> ReferenceKernel:
        """See :mod:`effv2_tune.training.backends.reference`."""
        images, filters = map(tf.constant, reference_inputs(self.hardware))
        work = tf.function(partial(reference_work, kind=self.hardware), autograph=False)

        def run() -> None:
            work(images, filters).numpy()

        run()
        threads = compute_threads("tensorflow") if self.hardware == "cpu" else None
        return ReferenceKernel(run, threads)

    def take_notes(self) -> tuple[str, ...]:
        """None: nothing is compiled ahead of time."""
        return ()

    def image_flops(self, network: Any, pixels: int) -> None:
        """TensorFlow counts none."""
