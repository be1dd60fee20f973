"""Checks in a process of its own that training is correct on one device."""

from __future__ import annotations

import argparse
import math
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from effv2_tune.errors import EXIT_DONE, EXIT_FAILED, TuneError
from effv2_tune.study.recipe import DataSpec, PerDevice, Recipe
from effv2_tune.training.machine_lock import MachineLock
from effv2_tune.workers.messages import Check, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from effv2_tune.training.trainer import Trainer

#: Validation images: no multiple of any batch here, nor of any number of devices.
VALIDATION = 203
_BATCH = 64
EPOCH_STEPS = 5
#: Maximal relative distance of the weights of two equivalent trainings: none on a CPU; on an
#: accelerator, sums in another order make some. Measured on a CPU with the recipe below: a relative
#: rounding error of 1e-6 grows to 3e-6, and resuming without the first moments, the average, the
#: state of dropout or the step count leads to 3e-3 to 1.3e-2.
TOLERANCE = {"cpu": 0.0, "gpu": 1e-3, "tpu": 1e-3}
#: Relative difference of two measurements of a step above which the machine is busy or throttles.
UNSTEADY = 0.1


def selftest_recipe(
    device_count: int, *, precision: Literal["float32", "mixed_bfloat16"]
) -> Recipe:
    """A small training that uses everything that a checkpoint must hold.

    Args:
        device_count: Devices that share a batch.
        precision: Of the computation.
    """
    return Recipe(
        variant="tiny",
        resolution=32,
        epochs=6,
        batch_size=PerDevice(per_device=max(1, _BATCH // device_count)),
        epsilon=1e-7,
        initial_learning_rate=1e-3,
        maximal_learning_rate=5e-3,
        step_size_epochs=1.0,
        dropout=0.3,
        stochastic_depth=0.3,
        ema=True,
        ema_momentum=0.9,
        clip_norm=5.0,
        flip=True,
        crop_padding=1,
        cutout=0.2,
        mixup=0.2,
        select="last",  # the weights of an early best epoch would hide errors in later ones
        precision=precision,
        data=DataSpec(train=_BATCH * EPOCH_STEPS, validation=VALIDATION, test=100),
    )


def relative_distance(
    expected: Mapping[str, NDArray[Any]], weights: Mapping[str, NDArray[Any]]
) -> float:
    """The norm of the difference of two sets of weights, relative to the norm of the first.

    Args:
        expected: Arrays by name.
        weights: Arrays of the same shapes.

    Returns:
        Infinity where names differ or the distance is not finite.
    """
    if expected.keys() != weights.keys():
        return math.inf
    first, second = (
        np.concatenate([np.asarray(arrays[name], np.float64).ravel() for name in sorted(expected)])
        for arrays in (expected, weights)
    )
    distance = float(np.linalg.norm(first - second) / np.linalg.norm(first))
    return distance if math.isfinite(distance) else math.inf


class DeviceChecks:
    """The checks of one process on one device.

    Args:
        trainer: On the device.
        recipe: From `selftest_recipe`.
        tolerance: Maximal relative distance of the weights of two equivalent trainings.
    """

    def __init__(self, trainer: Trainer, recipe: Recipe, *, tolerance: float) -> None:
        self._trainer = trainer
        self._recipe = recipe
        self._tolerance = tolerance
        self._device_count = trainer.device.environment.device_count
        self._batch = recipe.global_batch(self._device_count)
        self._bucket = trainer.bucket(recipe)

    def all(self) -> Iterator[Check]:
        """Run the checks one after another."""
        yield self.dispatch()
        yield self.devices()
        yield self.precision()
        yield self.evaluation()
        yield self.step_time()

    def dispatch(self) -> Check:
        """Steps in one call lead to the same weights as one call per step."""
        ends = []
        for calls in ([(0, EPOCH_STEPS)], [(step, 1) for step in range(EPOCH_STEPS)]):
            self._bucket.start_first_epoch(self._recipe)
            for first, steps in calls:
                self._bucket.steps.run(first, steps)
            ends.append(trained_weights(self._bucket.steps.read()))
        distance = relative_distance(*ends)
        figure = f"{EPOCH_STEPS} steps in one call and one by one: {format_distance(distance)}"
        if not self._bucket.steps.loops_on_device:
            figure += "; on this device each step is a separate call anyway"
        return Check(name="dispatch", passed=distance <= self._tolerance, figure=figure)

    def devices(self) -> Check:
        """After the steps above, all devices hold equal weights."""
        copies = self._bucket.steps.copies()
        same = all(np.array_equal(copies[0], copy) for copy in copies)
        figure = f"{len(copies)} of {self._device_count} hold the weights"
        if self._device_count > 1:
            figure += f", and the copies are {'equal' if same else 'NOT equal'}"
        passed = same and len(copies) == self._device_count
        return Check(name="devices", passed=passed, figure=figure)

    def precision(self) -> Check:
        """Computes in the requested precision, stores float32, and losses are finite."""
        self._bucket.start_first_epoch(self._recipe)
        losses = [self._bucket.steps.run(step, 1).loss for step in range(EPOCH_STEPS)]
        network = self._bucket.network
        computed = {layer.compute_dtype for layer in network.layers_by_name.values()}
        expected = "bfloat16" if self._recipe.precision == "mixed_bfloat16" else "float32"
        kept = {str(copy.dtype) for copy in self._bucket.steps.copies()}
        finite = all(map(math.isfinite, losses))
        return Check(
            name="precision",
            passed=finite and expected in computed and kept == {"float32"},
            figure=f"computes in {'/'.join(sorted(computed))}, keeps {'/'.join(sorted(kept))}; "
            f"{len(losses)} losses from {losses[0]:.3f} to {losses[-1]:.3f}",
        )

    def evaluation(self) -> Check:
        """The last batch is padded, and every image counts once."""
        counts = self._bucket.steps.evaluate("validation")
        images = self._trainer.dataset.validation
        support = np.bincount(images.labels, minlength=len(counts.support))
        return Check(
            name="evaluation",
            passed=bool(np.array_equal(counts.support, support)) and math.isfinite(counts.loss_sum),
            figure=f"{counts.images} of {len(images)} images counted, in batches of {self._batch}",
        )

    def step_time(self) -> Check:
        """Measures the step time twice; a difference is reported, but does not fail the check."""
        lock = MachineLock()
        first, second = (self._bucket.measure(self._recipe, lock).seconds for _ in range(2))
        share = abs(second / first - 1)
        unsteady = ": unsteady, something else uses this machine" if share > UNSTEADY else ""
        return Check(
            name="step time",
            passed=min(first, second) > 0,
            figure=f"{1000 * min(first, second):.2f} ms for {self._batch} images at "
            f"{self._recipe.pixels} px; measured again {share:.0%} off{unsteady}",
        )


def trained_weights(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The weights in a state from `Steps.read` or in a checkpoint, without random states."""
    return {
        name: array
        for name, array in state.items()
        if name.startswith("network/") and np.issubdtype(array.dtype, np.floating)
    }


def format_distance(distance: float) -> str:
    """A relative distance as text."""
    return "the same weights" if distance == 0 else f"weights {distance:.1e} of their norm apart"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the device, and send one `Check` after another over the connection."""
    parser = argparse.ArgumentParser(prog="python -m effv2_tune.training.device_checks")
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    parser.add_argument("--backend", choices=["tensorflow", "jax"], required=True)
    parser.add_argument("--hardware", choices=["cpu", "gpu", "tpu"], required=True)
    options = parser.parse_args(arguments)
    connection: Connection[Any, Any] = Connection(options.fd)
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    try:
        device = open_device(options.backend, hardware=options.hardware)
    except TuneError as error:
        connection.send(Refused(message=error.message, hint=error.hint, exit_code=EXIT_FAILED))
        return EXIT_FAILED
    environment = device.environment
    connection.send(environment)
    recipe = selftest_recipe(environment.device_count, precision=environment.precision)
    trainer = Trainer(load_dataset(recipe.data, base=Path()), device)
    for check in DeviceChecks(trainer, recipe, tolerance=TOLERANCE[options.hardware]).all():
        connection.send(check)
    return EXIT_DONE


if __name__ == "__main__":
    # os._exit: no need to wait for the backends' threads.
    os._exit(main())
