"""From a recipe to a measurement: trainer, step files, clock, checkpoints, worker.

From the ground up:

* `order`: which image comes when, from (seed, epoch) alone.
* `scores`: accuracy, balanced accuracy, macro-F1, top-5 and loss from counts per class.
* `checkpoint`: one file that holds everything a trial needs to go on, or its predecessor.
* `clock`: the step time of a bucket, measured once with nothing else training on this machine.
* `devices`: `open_device(backend, hardware=..., precision=...) -> Device`, with the environment and
  the placement; never another kind of device than was asked for.
* `augmentation`: what is done to a batch of training images, on the device.
* `steps`: the protocol of the two step files, `tensorflow_steps` and `jax_steps`.
* `compiled`: one compiled network with its optimizer, given new numbers for each trial.
* `trainer`: `Trainer(dataset, device).train_trial(order, tell=..., decide=...) -> Finished`, with
  `order` a `study.messages.Train`, `tell(Compiled | EpochEnded)` and `decide(RungReached) -> bool`.
* `worker`: `python -m effv2_tune.training.worker --fd N`: a process that does this at the other
  end of a `multiprocessing.connection.Connection`; it reads `Prepare` and `Train`, and waits for a
  `Decision` at every rung. KERAS_BACKEND is set by whoever starts it.
* `standard_run`: what `train` does, the only one that touches the test images.

Importing this package loads no framework; `train` does when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.host import Kind
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.standard_run import TrainResult
    from effv2_tune.workers.messages import Compiled, EpochEnded, Noted

__all__ = ["train"]


def train(
    recipe: Recipe,
    *,
    out: str | Path,
    base: str | Path = ".",
    hardware: Kind | None = None,
    on_event: Callable[[Compiled | EpochEnded | Noted], None] | None = None,
    data_digest: str | None = None,
) -> TrainResult:
    """Carry out the standard training run of a recipe, or go on with it.

    The test images are used once, at the end, with the weights that the recipe selects. The Keras
    backend is that of this process (KERAS_BACKEND).

    Args:
        recipe: What is trained, and on which data.
        out: Folder for ``history.csv`` (the learning curve), ``metrics.json`` (test accuracy and
            all other figures) and ``model.keras`` (stock Keras layers; takes uint8 images); and for
            the checkpoints from which an interrupted run goes on.
        base: Folder that relative paths of the recipe start from.
        hardware: The kind of device that must be used; the best of this machine if left out.
        on_event: Hears of the compilation, of every epoch, and what else is worth a sentence.
        data_digest: Of the images and splits that it must be trained on; any if left out.

    Returns:
        The test scores and where everything lies. A finished run is not repeated.

    Raises:
        TuneError: The device, the data or the weights cannot be had; the images are others than
            ``data_digest`` says; ``out`` holds a run of another recipe; or the recipe diverged or
            does not fit the device.
    """
    from effv2_tune.training import standard_run

    return standard_run.run(
        recipe,
        out=Path(out),
        base=Path(base),
        hardware=hardware,
        on_event=on_event,
        data_digest=data_digest,
    )
