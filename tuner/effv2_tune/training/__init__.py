"""Trains a recipe: trainer, backends, inputs, cached features, checkpoints, worker process.

* `trainer`: `Trainer(dataset, device).train_trial(request, on_event=..., should_continue=...)`
  trains one trial after another; `attempt` trains one from its last checkpoint to its end,
  `trial_state` holds its progress, `residency` what stays on the device between trials.
* `compiled`: one compiled network with its optimizer, for all trials of a bucket; `recipe_mapping`
  maps a recipe to what is compiled in and to hyperparameters.
* `devices`: `open_device(backend, hardware=..., precision=...) -> Device`, never another kind of
  device than the requested one.
* `backends`: the `Backend` protocol in `base`, behind it `jax` and `tensorflow`, each with
  `device`, `steps` and `extraction`, and JAX with `mesh` and `flops`. For TPUs that are not
  attached, `ahead_of_time` compiles in a `compile_process`, `hlo` reads the figures of what was
  compiled, and `handover` checks whether a TPU host uses it.
* `inputs`: `shuffling` (a pure function of seed and epoch), `pipeline` (host to device),
  `augmentation`, `rand_augment` and `preparation` on the device.
* `features`: `extraction` of a frozen backbone's features, the `feature_set` that buckets share,
  and its `cache` and `files` on disk.
* `loss` and `scores`: losses and counts of a batch; accuracy and other scores from counts.
* `step_timing`, `machine_lock` and `machine_load`: the step time of a bucket, measured while
  nothing else of this user trains on this machine, whatever others do; `profiling` adds peak memory
  and FLOPs; `process_memory` is that of the process.
* `final_training`: the command ``train``, the only code that uses the test images.
* `worker`: ``python -m effv2_tune.training.worker --fd N``, the worker process; `device_checks`
  checks a device likewise. The parent process sets KERAS_BACKEND.

Importing the package itself loads no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.lazy import lazy_names

if TYPE_CHECKING:
    from effv2_tune.training.final_training import train

__all__ = ["train"]

__getattr__, __dir__ = lazy_names(__name__, {"final_training": "train"})
