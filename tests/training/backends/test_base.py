"""The backends train alike, on any number of devices, whatever was trained or killed before."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from os import environ
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from effv2_tune.files.checkpoint import CheckpointFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRAIN = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from effv2_tune.data import load_dataset
from effv2_tune.workers.messages import Train
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer

backend, folder, checkpoint_seconds, settings = sys.argv[1:]
limit = os.environ.get("RESIDENT_BYTES")
window = int(os.environ.get("STEPS_IN_A_CALL", "1"))
calls = []
if window > 1:
    from effv2_tune.training.backends.jax import device as jax_device

    class Looping(jax_device.JaxSteps):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.loops_on_device = True

        def _images_of(self, step):
            calls.append(step)
            return super()._images_of(step)

    jax_device.JaxSteps = Looping
recipe = Recipe.model_validate_json(settings)
device = open_device(backend, hardware="cpu")
if "TRACED_FOR" in os.environ:
    traced = replace(device.backend, platform=os.environ["TRACED_FOR"])
    device = replace(device, backend=traced)
trainer = Trainer(
    load_dataset(recipe.data, base=Path()),
    device,
    checkpoint_seconds=float(checkpoint_seconds),
    resident_bytes=None if limit is None else int(limit),
    target_devices=int(os.environ.get("TARGET_DEVICES", "0")) or None,
)
before = os.environ.get("BEFORE")
if before is not None:
    other = Recipe.model_validate_json(before)
    assert trainer.bucket_key(other) == trainer.bucket_key(recipe)
    request = Train(
        trial=1, recipe=other, rungs=(), step_seconds=0.1, checkpoint=Path(folder) / "before"
    )
    first = trainer.train_trial(request, on_event=lambda _: None, should_continue=lambda _: True)
    assert first.scores
request = Train(
    trial=0, recipe=recipe, rungs=(), step_seconds=0.3 / window, checkpoint=Path(folder)
)
finished = trainer.train_trial(request, on_event=lambda _: None, should_continue=lambda _: True)
print(json.dumps({
    "losses": [epoch.train_loss for epoch in finished.curve],
    "accuracy": finished.scores.accuracy,
    "validation_loss": finished.scores.loss,
    "traces": trainer.traces,
    "calls": calls,
    "devices": trainer.device.environment.device_count,
    "tensorflow": any(name.split(".")[0] == "tensorflow" for name in sys.modules),
}))
"""

#: How often a trial is killed; each time costs a start and a compilation.
KILLS = int(environ.get("EFFV2_TUNE_TEST_KILLS", "2"))

PLAIN = {
    "variant": "tiny",
    "resolution": 32,
    "epochs": 4,
    "batch_size": 64,
    "epsilon": 1e-7,
    "initial_learning_rate": 1e-3,
    "maximal_learning_rate": 5e-3,
    "step_size_epochs": 1.0,
    "dropout": 0.0,
    "stochastic_depth": 0.0,
    "ema": True,
    "ema_momentum": 0.9,
    "label_smoothing": 0.1,
    "data": {"train": 320, "validation": 203, "test": 100},
}
RANDOM = PLAIN | {
    "dropout": 0.3,
    "stochastic_depth": 0.3,
    "flip": True,
    "crop_padding": 1,
    "random_crop": 0.8,
    "brightness": 0.1,
    "rand_augment": 3.0,
    "cutout": 0.2,
    "mixup": 0.2,
    "select": "best",
    "epochs": 6,
    "layer_decay": 0.9,
}

#: In the same bucket, every number another one.
OTHER = RANDOM | {
    "epochs": 1,
    "weight_decay": 1e-2,
    "layer_decay": 0.7,
    "beta_1": 0.8,
    "beta_2": 0.95,
    "epsilon": 1e-5,
    "sma_threshold": 4.5,
    "ema_momentum": 0.5,
    "initial_learning_rate": 1e-2,
    "maximal_learning_rate": 2e-2,
    "step_size_epochs": 0.5,
    "dropout": 0.6,
    "stochastic_depth": 0.6,
    "label_smoothing": 0.3,
    "crop_padding": 3,
    "random_crop": 0.4,
    "random_crop_aspect": 2.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.2,
    "rand_augment": 12.0,
    "rand_augment_layers": 4,
    "cutout": 0.5,
    "mixup": 0.9,
    "select": "last",
    "seed": 7,
}


def _command(
    backend: str, folder: Path, settings: dict[str, Any], checkpoint_seconds: float = 20
) -> list[str]:
    arguments = [backend, str(folder), str(checkpoint_seconds), json.dumps(settings)]
    return [sys.executable, "-c", TRAIN, *arguments]


#: Several programs in flight on more simulated devices than cores can deadlock in an all-reduce,
#: each waiting for threads that another holds, until XLA aborts; and so can several all-reduces of
#: one program, without threads for all that wait at a time.
EIGHT_DEVICES = {
    "JAX_NUM_CPU_DEVICES": "8",
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
    "NPROC": "32",
}


def _environment(backend: str, **more: str) -> dict[str, str]:
    return dict(environ) | {"KERAS_BACKEND": backend} | more


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    def train(
        backend: str, settings: dict[str, Any], folder: Path | None = None, **more: str
    ) -> dict[str, Any]:
        folder = folder or tmp_path_factory.mktemp(backend)
        done = subprocess.run(
            _command(backend, folder, settings),
            env=_environment(backend, **more),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        result: dict[str, Any] = json.loads(done.stdout)
        return result | {"weights": _weights(folder)}

    return train


def _weights(folder: Path) -> dict[str, np.ndarray]:
    kept = CheckpointFolder(folder).latest()
    assert kept is not None
    assert "finished" in kept.facts
    return {name: a for name, a in kept.arrays.items() if name != "network/random_state"}


def _largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one["weights"].keys() == other["weights"].keys()
    return max(
        float(np.abs(array - other["weights"][name]).max())
        for name, array in one["weights"].items()
    )


@pytest.fixture(scope="module")
def on_jax(trained: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return trained("jax", PLAIN)


@pytest.mark.slow
def test_twenty_steps_on_tensorflow_and_jax_give_the_same_weights(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    on_tensorflow = trained("tensorflow", PLAIN)

    assert _largest_difference(on_tensorflow, on_jax) < 1e-4
    assert on_tensorflow["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)
    assert on_tensorflow["validation_loss"] == pytest.approx(on_jax["validation_loss"], abs=1e-4)


#: The optimizer and the schedule of the published finetune, and other rates for every stage.
PUBLISHED = PLAIN | {
    "optimizer": "rmsprop",
    "epsilon": 1e-3,
    "schedule": "constant",
    "initial_learning_rate": 0.0,
    "maximal_learning_rate": 1e-3,
    "warmup_epochs": 1.0,
    "l2": 1e-2,
    "layer_decay": 0.8,
    "evaluation_resolution": 48,
}


@pytest.mark.slow
def test_the_published_optimizer_gives_the_same_weights_on_both(
    trained: Callable[..., dict[str, Any]],
) -> None:
    on_tensorflow, on_jax = (trained(backend, PUBLISHED) for backend in ("tensorflow", "jax"))

    assert on_tensorflow["traces"] == on_jax["traces"] == 1
    assert _largest_difference(on_tensorflow, on_jax) < 1e-4
    assert on_tensorflow["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)
    assert on_tensorflow["validation_loss"] == pytest.approx(on_jax["validation_loss"], abs=1e-4)
    assert on_jax["losses"][-1] < on_jax["losses"][0]


#: Evaluated at its own average of the weights. The epsilon is that of the published finetune: a
#: tiny one divides gradients that are rounding errors alone, and differ, by their own size.
SCHEDULE_FREE = PLAIN | {
    "optimizer": "schedule_free",
    "epsilon": 1e-3,
    "schedule": "constant",
    "initial_learning_rate": 0.0,
    "maximal_learning_rate": 3e-3,
    "warmup_epochs": 1.0,
    "layer_decay": 0.8,
    "ema": False,
}


@pytest.mark.slow
def test_schedule_free_gives_the_same_average_on_both(
    trained: Callable[..., dict[str, Any]],
) -> None:
    on_tensorflow, on_jax = (trained(backend, SCHEDULE_FREE) for backend in ("tensorflow", "jax"))

    assert on_tensorflow["traces"] == on_jax["traces"] == 1
    assert _largest_difference(on_tensorflow, on_jax) < 1e-4
    assert on_tensorflow["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)
    assert on_tensorflow["validation_loss"] == pytest.approx(on_jax["validation_loss"], abs=1e-4)


@pytest.mark.slow
def test_flips_train_and_evaluate_alike_on_both_backends_and_on_eight_devices(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    flipped = PLAIN | {"flip": "alternating", "evaluation_flip": True}

    jax = trained("jax", flipped)

    assert jax["traces"] == 1
    assert jax["losses"] != pytest.approx(on_jax["losses"], abs=1e-3)
    in_one_call = {"STEPS_IN_A_CALL": "3"}
    others = [trained("jax", flipped, **where) for where in (EIGHT_DEVICES, in_one_call)]
    for other in (trained("tensorflow", flipped), *others):
        assert other["losses"] == pytest.approx(jax["losses"], abs=1e-4)
        assert other["validation_loss"] == pytest.approx(jax["validation_loss"], abs=1e-4)


RANGE_TEST = """
import json, sys
from pathlib import Path
from effv2_tune.data import load_dataset
from effv2_tune.optimizers.range_test import rising_rates
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer
from effv2_tune.workers.messages import RangeTest

recipe = Recipe.model_validate_json(SETTINGS)
trainer = Trainer(load_dataset(recipe.data, base=Path()), open_device(BACKEND, hardware="cpu"))
rates = tuple(rising_rates(1e-5, 1e-2, 12))
tested = [trainer.range_test(RangeTest(recipe=recipe, rates=rates)) for _ in range(2)]
assert trainer.traces == 1
assert tested[0].losses == tested[1].losses
print(json.dumps(tested[0].losses))
"""


@pytest.mark.slow
def test_a_range_test_has_the_same_losses_on_both_backends_and_compiles_once(
    run_python: Callable[..., str],
) -> None:
    def losses(backend: str, **more: str) -> list[float]:
        code = RANGE_TEST.replace("SETTINGS", repr(json.dumps(PLAIN)))
        code = code.replace("BACKEND", repr(backend))
        found: list[float] = json.loads(run_python(code, KERAS_BACKEND=backend, **more))
        return found

    on_jax = losses("jax")

    assert len(on_jax) == 12
    assert losses("tensorflow") == pytest.approx(on_jax, abs=1e-4)
    assert losses("jax", **EIGHT_DEVICES) == pytest.approx(on_jax, abs=1e-4)


@pytest.mark.slow
def test_jax_traces_once_and_never_imports_tensorflow(on_jax: dict[str, Any]) -> None:
    assert on_jax["traces"] == 1
    assert not on_jax["tensorflow"]


@pytest.mark.slow
def test_eight_devices_train_like_one_and_evaluate_every_image_once(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    on_eight = trained("jax", PLAIN, **EIGHT_DEVICES)

    assert on_eight["devices"] == 8
    assert on_eight["traces"] == 1
    assert on_eight["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)
    assert on_eight["validation_loss"] == pytest.approx(on_jax["validation_loss"], abs=1e-4)
    # 203 images: no multiple of 64, nor of 8.
    assert (on_eight["accuracy"] * 203) == pytest.approx(round(on_eight["accuracy"] * 203))


@pytest.mark.slow
def test_a_batch_for_eight_devices_trains_alike_on_one(
    trained: Callable[..., dict[str, Any]],
) -> None:
    per_device = PLAIN | {"batch_size": {"per_device": 16}, "epochs": 2}

    on_one = trained("jax", per_device, TARGET_DEVICES="8")
    on_eight = trained("jax", per_device, **EIGHT_DEVICES)

    assert (on_one["devices"], on_eight["devices"]) == (1, 8)
    assert on_one["losses"] == pytest.approx(on_eight["losses"], abs=1e-4)
    # Over all 128 images of a batch, not over the 16 of each device.
    moving = [name for name in on_one["weights"] if "moving" in name]
    assert moving
    for name in moving:
        assert on_one["weights"][name] == pytest.approx(
            on_eight["weights"][name], rel=1e-3, abs=1e-4
        )


@pytest.mark.slow
def test_what_is_traced_for_eight_chips_of_a_tpu_trains_like_a_processor(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    """Batch normalization in one pass, with statistics over the whole batch, in a loop of steps."""
    as_tpu = trained("jax", PLAIN, TRACED_FOR="tpu", **EIGHT_DEVICES)

    assert as_tpu["devices"] == 8
    assert as_tpu["traces"] == 1
    assert _largest_difference(on_jax, as_tpu) < 1e-4
    assert as_tpu["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)
    assert as_tpu["validation_loss"] == pytest.approx(on_jax["validation_loss"], abs=1e-4)


@pytest.mark.slow
def test_steps_in_one_call_on_the_device_train_like_one_call_for_each(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    """What a TPU or GPU does with images; on a CPU it is slow, and only here."""
    in_one_call = trained("jax", PLAIN, STEPS_IN_A_CALL="3")

    # The first one compiles; then five steps an epoch, three and two.
    assert in_one_call["calls"] == [0, *[0, 3] * 4]
    assert in_one_call["traces"] == 1
    assert _largest_difference(on_jax, in_one_call) < 1e-4
    assert in_one_call["losses"] == pytest.approx(on_jax["losses"], abs=1e-4)


@pytest.mark.slow
def test_images_streamed_to_two_devices_train_like_resident_ones_on_one(
    trained: Callable[..., dict[str, Any]], on_jax: dict[str, Any]
) -> None:
    streamed = trained("jax", PLAIN, JAX_NUM_CPU_DEVICES="2", RESIDENT_BYTES="1000")

    assert streamed["traces"] == 1
    assert _largest_difference(on_jax, streamed) < 1e-4


@pytest.fixture(scope="module")
def alone(trained: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The trial with everything on, in a fresh process of a backend."""
    return functools.cache(lambda backend, flip=True: trained(backend, RANDOM | {"flip": flip}))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_trial_after_another_ends_as_it_does_in_a_fresh_process(
    backend: str,
    alone: Callable[..., dict[str, Any]],
    trained: Callable[..., dict[str, Any]],
) -> None:
    after_another = trained(backend, RANDOM, BEFORE=json.dumps(OTHER))

    assert after_another["traces"] == 1
    assert _largest_difference(after_another, alone(backend)) == 0
    assert after_another["losses"] == alone(backend)["losses"]


EVALUATE = """
import json
from pathlib import Path
import jax
import numpy as np
from effv2_tune.data.dataset import Dataset, Split
from effv2_tune.network import preprocess
from effv2_tune.study.recipe import Recipe
from effv2_tune.training.devices import open_device
from effv2_tune.training.trainer import Trainer

rng = np.random.default_rng(0)
def split(count):
    images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    return Split(images, rng.integers(0, 10, count).astype(np.int32))
dataset = Dataset(digest="noise", notes=(), classes=tuple("0123456789"), train=split(128),
                  validation=split(5003), test=split(1))
recipe = Recipe(variant="tiny", resolution=32, batch_size=128, epsilon=1e-7)
trainer = Trainer(dataset, open_device("jax", hardware="cpu"))
bucket = trainer.bucket(recipe)
bucket.start(recipe)
counts = bucket.steps.evaluate("validation")
labels = dataset.validation.labels
logits = np.concatenate([
    np.asarray(bucket.network(preprocess(
        part.astype(np.float32), 32, scaling=bucket.scaling, interpolation="bilinear"
    ), training=False))
    for part in np.array_split(dataset.validation.images, 10)
])
shifted = logits - logits.max(1, keepdims=True)
losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(5003), labels]
right = np.bincount(labels[logits.argmax(1) == labels], minlength=10)
print(json.dumps({
    "devices": len(jax.devices()),
    "support": [counts.support.tolist(), np.bincount(labels, minlength=10).tolist()],
    "correct": [counts.correct.tolist(), right.tolist()],
    "loss": [counts.loss_sum, float(losses.sum())],
    "squares": [counts.loss_squares, float((losses**2).sum())],
}))
"""


@pytest.mark.slow
def test_eight_devices_count_each_of_5003_images_once_in_batches_of_128(
    run_python: Callable[..., str],
) -> None:
    result = json.loads(run_python(EVALUATE, KERAS_BACKEND="jax", **EIGHT_DEVICES))

    assert result["devices"] == 8
    assert sum(result["support"][0]) == 5003
    assert result["support"][0] == result["support"][1]
    assert result["correct"][0] == result["correct"][1]
    assert result["loss"][0] == pytest.approx(result["loss"][1], rel=1e-5)
    assert result["squares"][0] == pytest.approx(result["squares"][1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "flip"),
    [
        ("tensorflow", True),
        pytest.param("jax", "alternating", marks=pytest.mark.long),
        pytest.param("jax", True, marks=pytest.mark.long),
    ],
)
def test_killed_at_random_moments_a_trial_ends_with_the_same_weights_bit_for_bit(
    backend: str,
    flip: bool | str,  # noqa: FBT001 - pytest gives it by name
    alone: Callable[..., dict[str, Any]],
    trained: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    whole = alone(backend, flip)
    settings = RANDOM | {"flip": flip}
    rng = np.random.default_rng(0)
    steps_seen = set()
    for _ in range(KILLS):
        steps_seen.add(_kill_after_a_new_checkpoint(backend, settings, tmp_path, rng))

    resumed = trained(backend, settings, tmp_path)

    assert len(steps_seen) > 1
    assert _largest_difference(whole, resumed) == 0
    assert resumed["accuracy"] == whole["accuracy"]


def _kill_after_a_new_checkpoint(
    backend: str, settings: dict[str, Any], folder: Path, rng: np.random.Generator
) -> str:
    """Start the trial, kill it a random moment after it has come further; the newest file."""
    before = {path.name for path in folder.glob("*.safetensors")}
    process = subprocess.Popen(
        _command(backend, folder, settings, checkpoint_seconds=0),
        env=_environment(backend),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while {path.name for path in folder.glob("*.safetensors")} <= before:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.25))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return max(path.name for path in folder.glob("*.safetensors"))
