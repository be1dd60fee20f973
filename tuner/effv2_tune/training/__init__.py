"""Trains a recipe: trainer, backends, inputs, cached features, checkpoints, worker process.

* `trainer`: `Trainer(dataset, device).train_trial(request, on_event=..., should_continue=...)`
  trains one trial after another; `attempt` trains one from its last checkpoint to its end,
  `trial_state` holds its progress, `residency` what stays on the device between trials.
* `compiled`: one compiled network with its optimizer, for all trials of a bucket; `recipe_mapping`
  maps a recipe to what is compiled in and to hyperparameters.
* `devices`: `open_device(backend, hardware=..., precision=...) -> Device`, never another kind of
  device than the requested one.
* `backends`: the `Backend` protocol in `base`, behind it `jax` and `tensorflow`, each with
  `device`, `steps` and `extraction`, and JAX with `mesh` and `flops`.
* `inputs`: `shuffling` (a pure function of seed and epoch), `pipeline` (host to device),
  `augmentation`, `rand_augment` and `preparation` on the device.
* `features`: `extraction` of a frozen backbone's features, the `feature_set` that buckets share,
  and its `cache` and `files` on disk.
* `loss` and `scores`: losses and counts of a batch; accuracy and other scores from counts.
* `step_timing` and `machine_lock`: the step time of a bucket, measured while nothing else trains on
  this machine; `profiling` adds peak memory and FLOPs; `process_memory` is that of the process.
* `final_training`: the command ``train``, the only code that uses the test images.
* `worker`: ``python -m effv2_tune.training.worker --fd N``, the worker process; `device_checks`
  checks a device likewise. The parent process sets KERAS_BACKEND.

Importing this package loads no framework; calling `train` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.host import Kind
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.training.final_training import TrainResult
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
    """Run the final training of a recipe, or resume it.

    The test images are used once, at the end, with the weights that the recipe selects. The Keras
    backend is that of this process (KERAS_BACKEND).

    Args:
        recipe: With the data that it is trained on.
        out: Folder for ``history.csv`` (the learning curve), ``metrics.json`` (test accuracy and
            all other figures) and ``model.keras`` (stock Keras layers; takes uint8 images); and for
            the checkpoints from which an interrupted run is resumed.
        base: Folder that relative paths of the recipe start from.
        hardware: The kind of device to use; the best of this machine if left out.
        on_event: Called after compilation, after every epoch, and with notes for the user.
        data_digest: Expected digest of images and splits; not checked if left out.

    Returns:
        The test scores and the paths of all files. A finished run is not repeated.

    Raises:
        TuneError: The device, the data or the weights are not available; ``data_digest`` differs;
            ``out`` holds a run of another recipe; or the recipe diverged or does not fit the
            device.
    """
    from effv2_tune.training import final_training

    return final_training.run(
        recipe,
        out=Path(out),
        base=Path(base),
        hardware=hardware,
        on_event=on_event,
        data_digest=data_digest,
    )
