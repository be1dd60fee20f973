"""The hypermodel: what it refuses, its optimizer, its dtype policy."""

from __future__ import annotations

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from effv2_tune.errors import TuneError
from effv2_tune.interop import EfficientNetV2HyperModel
from effv2_tune.interop.hypermodel import keras_optimizer
from effv2_tune.optimizers import AdaBelief, CyclicalLearningRate
from effv2_tune.study.plan import StudyPlan


def plan(**changes: Any) -> StudyPlan:
    written = {
        "name": "digits",
        "data": {"name": "digits", "train": 256},
        "recipe": {"variant": "tiny", "resolution": 32, "epochs": 1, "batch_size": 64},
        "search_space": {
            "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "scale": "log"},
            "epochs": {"type": "int", "low": 1, "high": 3},
        },
        "trials": 2,
        "hardware": "cpu",
        "backend": "tensorflow",
    }
    return StudyPlan.model_validate(written | changes)


@pytest.mark.parametrize(
    ("where", "settings"),
    [("recipe", {"flip": True}), ("recipe", {"select": "best"}), ("space", "flip")],
)
def test_what_keras_loop_lacks_is_refused(where: str, settings: Any) -> None:
    recipe = {"variant": "tiny", "resolution": 32}
    space = {"weight_decay": {"type": "float", "low": 0, "high": 1}}
    if where == "recipe":
        recipe |= settings
    else:
        space[settings] = {"type": "choice", "values": [True, False]}

    with pytest.raises(TuneError, match="training loop does not support"):
        EfficientNetV2HyperModel(
            plan(recipe=recipe, search_space=space), image_shape=(8, 8, 1), classes=2, images=64
        )


@pytest.mark.parametrize(("target", "batch"), [({"devices": 4}, 64), (None, 16)])
def test_a_batch_per_device_is_meant_for_the_devices_of_the_target(target: Any, batch: int) -> None:
    class Model:
        def fit(self, *_: Any, **settings: Any) -> int:
            return int(settings["batch_size"])

    recipe = {"variant": "tiny", "resolution": 32, "batch_size": {"per_device": 16}}
    hypermodel = EfficientNetV2HyperModel(
        plan(recipe=recipe, target=target), image_shape=(8, 8, 1), classes=2, images=64
    )

    found = hypermodel.fit(keras_tuner.HyperParameters(), Model(), np.zeros((64, 8, 8, 1)))

    assert found == batch


def test_the_optimizer_is_the_recipes() -> None:
    recipe = plan().recipe_for({"weight_decay": 1e-3, "epochs": 2})
    optimizer = keras_optimizer(recipe, images=256, batch=64)

    assert isinstance(optimizer, AdaBelief)
    schedule = optimizer._learning_rate
    assert isinstance(schedule, CyclicalLearningRate)
    assert float(keras.ops.convert_to_numpy(schedule(8))) == pytest.approx(1e-2)
    assert optimizer.get_config()["weight_decay"] == pytest.approx(1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "lion"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5])
def test_other_optimizers_and_schedules_are_made_too(
    optimizer: str, schedule: str, warmup_epochs: float
) -> None:
    recipe = plan().recipe_for(
        {"optimizer": optimizer, "schedule": schedule, "warmup_epochs": warmup_epochs}
    )

    made = keras_optimizer(recipe, images=256, batch=64)

    assert optimizer in made.name.lower()
    first = recipe.initial_learning_rate
    if schedule == "constant" and not warmup_epochs:
        first = recipe.maximal_learning_rate
    if schedule == "cosine" and not warmup_epochs:
        first = recipe.maximal_learning_rate
    assert float(made.learning_rate) == pytest.approx(first)


def test_an_average_that_kerass_loop_does_not_evaluate_is_refused() -> None:
    recipe = plan().recipe_for({"optimizer": "schedule_free", "schedule": "constant"})

    with pytest.raises(TuneError, match="and not their average"):
        keras_optimizer(recipe, images=256, batch=64)


@pytest.fixture
def policy() -> Any:
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("policy")
def test_the_dtype_policy_outlives_clear_session() -> None:
    hypermodel = EfficientNetV2HyperModel(plan(), image_shape=(8, 8, 1), classes=3, images=256)
    hp = keras_tuner.HyperParameters()
    keras.config.set_dtype_policy("float32")  # as clear_session does
    model = hypermodel.build(hp)

    assert model.get_layer("efficientnetv2_tiny").compute_dtype == "bfloat16"
    assert {one.name for one in hp.space} == {"weight_decay", "epochs"}
    logits = model(np.zeros((2, 8, 8, 1), "uint8"))
    assert logits.shape == (2, 3)
    assert logits.dtype == "float32"
