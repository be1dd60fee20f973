"""A process that holds one device to what the trainer promises, check after check."""

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
from effv2_tune.workers.messages import Check, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from effv2_tune.training.trainer import Trainer

#: Validation images: no multiple of any batch here, nor of any number of devices.
VALIDATION = 203
_BATCH = 64
EPOCH_STEPS = 5
#: How far two trainings that should be one may end apart, as a share of the weights' norm: on a CPU
#: not one bit; on an accelerator as far as sums in another order bring them. Measured on a CPU with
#: the recipe below: a rounding of one in a million grows to 3e-6, and going on without the first
#: moments, the average, the state of dropout or the count of steps ends 3e-3 to 1.3e-2 apart.
TOLERANCE = {"cpu": 0.0, "gpu": 1e-3, "tpu": 1e-3}
#: Two measurements of one step further apart than this share: the machine is busy, or throttles.
UNSTEADY = 0.1


def selftest_recipe(
    device_count: int, *, precision: Literal["float32", "mixed_bfloat16"]
) -> Recipe:
    """A small training with everything on that a checkpoint must hold.

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
        select="last",  # the weights of an early best epoch would tell nothing of what came after
        precision=precision,
        data=DataSpec(train=_BATCH * EPOCH_STEPS, validation=VALIDATION, test=100),
    )


def apart(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> float:
    """How far two sets of weights are apart, as a share of the first one's norm; inf for none.

    Args:
        one: Arrays by name.
        other: The same names and shapes.
    """
    if one.keys() != other.keys():
        return math.inf
    rows = [
        np.concatenate([np.asarray(side[name], np.float64).ravel() for name in sorted(one)])
        for side in (one, other)
    ]
    distance = float(np.linalg.norm(rows[0] - rows[1]) / np.linalg.norm(rows[0]))
    return distance if math.isfinite(distance) else math.inf


class DeviceChecks:
    """What one process can tell of a device.

    Args:
        trainer: On the device.
        recipe: From `selftest_recipe`.
        tolerance: How far two trainings that should be one may end apart.
    """

    def __init__(self, trainer: Trainer, recipe: Recipe, *, tolerance: float) -> None:
        self._trainer = trainer
        self._recipe = recipe
        self._tolerance = tolerance
        self._device_count = trainer.device.environment.device_count
        self._batch = recipe.global_batch(self._device_count)
        self._bucket = trainer.bucket(recipe)

    def all(self) -> Iterator[Check]:
        """One check after the other."""
        yield self.dispatch()
        yield self.devices()
        yield self.precision()
        yield self.evaluation()
        yield self.step_time()

    def dispatch(self) -> Check:
        """Steps in one call end where the same steps end one by one."""
        ends = []
        for calls in ([(0, EPOCH_STEPS)], [(step, 1) for step in range(EPOCH_STEPS)]):
            self._begin()
            for first, steps in calls:
                self._bucket.steps.run(first, steps)
            ends.append(trained_weights(self._bucket.steps.read()))
        distance = apart(*ends)
        told = f"{EPOCH_STEPS} steps in one call and one by one: {format_distance(distance)}"
        if not self._bucket.steps.loops_on_device:
            told += "; here each step is a call of its own anyway"
        return Check(name="dispatch", passed=distance <= self._tolerance, figure=told)

    def devices(self) -> Check:
        """Every device holds the weights after the steps above, and the same ones."""
        copies = self._bucket.steps.copies()
        same = all(np.array_equal(copies[0], copy) for copy in copies)
        told = f"{len(copies)} of {self._device_count} hold the weights"
        if self._device_count > 1:
            told += f", and the copies are {'equal' if same else 'NOT equal'}"
        return Check(name="devices", passed=same and len(copies) == self._device_count, figure=told)

    def precision(self) -> Check:
        """It computes in the precision that was asked for, keeps float32, and losses are finite."""
        self._begin()
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
        there = np.bincount(images.labels, minlength=len(counts.support))
        return Check(
            name="evaluation",
            passed=bool(np.array_equal(counts.support, there)) and math.isfinite(counts.loss_sum),
            figure=f"{counts.images} of {len(images)} images counted, in batches of {self._batch}",
        )

    def step_time(self) -> Check:
        """How long a step takes, twice; a machine that unsettles it is named, not blamed."""
        from effv2_tune.training.machine_lock import MachineLock

        lock = MachineLock()
        first, second = (self._bucket.measure(self._recipe, lock) for _ in range(2))
        share = abs(second / first - 1)
        unsteady = ": unsteady, something else uses this machine" if share > UNSTEADY else ""
        return Check(
            name="step time",
            passed=min(first, second) > 0,
            figure=f"{1000 * min(first, second):.2f} ms for {self._batch} images at "
            f"{self._recipe.pixels} px; measured again {share:.0%} off{unsteady}",
        )

    def _begin(self) -> None:
        """The recipe's first epoch, from its initial weights."""
        from effv2_tune.training.inputs.shuffling import epoch_mixing, epoch_order

        recipe = self._recipe
        self._bucket.start(recipe)
        images = len(self._trainer.dataset.train)
        order = epoch_order(recipe.seed, 0, images=images, batch=self._batch)
        mixing = epoch_mixing(recipe.seed, 0, steps=len(order), mixup=recipe.mixup, cutmix=0.0)
        self._bucket.steps.begin_epoch(order, mixing)


def trained_weights(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The network's arrays of a state that `Steps.read` gave, or of a checkpoint.

    Counters of randomness are no weights.
    """
    return {
        name: array
        for name, array in state.items()
        if name.startswith("network/") and np.issubdtype(array.dtype, np.floating)
    }


def format_distance(distance: float) -> str:
    """What `apart` gave, for people."""
    return "the same weights" if distance == 0 else f"weights {distance:.1e} of their norm apart"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the device; what is found goes into the connection, one `Check` after the other."""
    parser = argparse.ArgumentParser(prog="python -m effv2_tune.training.device_checks")
    parser.add_argument("--fd", type=int, required=True, help="of a multiprocessing Connection")
    parser.add_argument("--backend", choices=["tensorflow", "jax"], required=True)
    parser.add_argument("--hardware", choices=["cpu", "gpu", "tpu"], required=True)
    given = parser.parse_args(arguments)
    connection: Connection[Any, Any] = Connection(given.fd)
    from effv2_tune.data import load_dataset
    from effv2_tune.training.devices import open_device
    from effv2_tune.training.trainer import Trainer

    try:
        device = open_device(given.backend, hardware=given.hardware)
    except TuneError as error:
        connection.send(Refused(message=error.message, hint=error.hint, exit_code=EXIT_FAILED))
        return EXIT_FAILED
    environment = device.environment
    connection.send(environment)
    recipe = selftest_recipe(environment.device_count, precision=environment.precision)
    trainer = Trainer(load_dataset(recipe.data, base=Path()), device)
    for check in DeviceChecks(trainer, recipe, tolerance=TOLERANCE[given.hardware]).all():
        connection.send(check)
    return EXIT_DONE


if __name__ == "__main__":
    # os._exit: the backends' threads have nothing to say any more.
    os._exit(main())
