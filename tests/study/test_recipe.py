"""The recipe: its bounds, and its two resolutions."""

from __future__ import annotations

import hashlib
from typing import Any

import annotated_types
import pytest

from effv2_tune.optimizers.checks import RANGES
from effv2_tune.study.bucket import DataFacts, Placement, bucket_key
from effv2_tune.study.recipe import (
    Recipe,
    Settings,
    augmentation_kinds,
    caches_features,
    contradictions,
)

#: A moving average of the weights needs a decay below one; the optimizers of Keras allow one.
EXCEPT = {"ema_momentum"}


def bounds(name: str) -> tuple[float, bool, float, bool]:
    """Low bound, whether it is open, high bound, whether it is open."""
    low, open_low, high, open_high = -float("inf"), False, float("inf"), False
    for rule in Settings.model_fields[name].metadata:
        if isinstance(rule, annotated_types.Gt | annotated_types.Ge):
            open_low = isinstance(rule, annotated_types.Gt)
            low = float(rule.gt if isinstance(rule, annotated_types.Gt) else rule.ge)
        elif isinstance(rule, annotated_types.Lt | annotated_types.Le):
            open_high = isinstance(rule, annotated_types.Lt)
            high = float(rule.lt if isinstance(rule, annotated_types.Lt) else rule.le)
    return low, open_low, high, open_high


@pytest.mark.parametrize("name", sorted((set(RANGES) & set(Settings.model_fields)) - EXCEPT))
def test_a_recipe_allows_what_its_optimizer_allows(name: str) -> None:
    allowed = RANGES[name]
    low, open_low, high, open_high = bounds(name)

    if name == "maximal_learning_rate":  # a recipe whose rate is zero throughout trains nothing
        open_low = False
    assert (low, open_low) == (allowed.low, allowed.open_low)
    assert (high, open_high) == (allowed.high, allowed.open_high)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "something has to grow"),
        ({"resolution_from": 32, "epochs": 2}, "2 epochs are too few for 3 stages"),
        (
            {"resolution_from": 72},
            "resolution_from 72 is above the resolution of the last stage, 64",
        ),
        (
            {"resolution_from": 32, "backbone": "frozen", "weights": "imagenet"},
            "cached features is trained in one stage",
        ),
    ],
)
def test_stages_that_cannot_be_trained_or_are_all_alike_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    known = {"resolution": 64, "epochs": 6}

    found = contradictions(Settings(**(known | settings), stages=3))

    assert len(found) == 1
    assert message in found[0]
    assert not contradictions(Settings(**(known | settings), stages=1))


PLACEMENT = Placement(backend="jax", device_kind="Slow CPU", device_count=1, precision="float32")
DATA = DataFacts(classes=10, image_shape=(32, 32, 3), train=90, validation=9, test=9, digest="0")


@pytest.mark.parametrize(("written", "pixels"), [("same", 128), (160, 160), ("native", 224)])
def test_evaluation_has_a_resolution_of_its_own(written: str | int, pixels: int) -> None:
    recipe = Recipe(variant="b0", resolution=128, evaluation_resolution=written)

    assert (recipe.pixels, recipe.evaluation_pixels) == (128, pixels)


def test_another_resolution_of_evaluation_is_another_bucket() -> None:
    plain = bucket_key(Recipe(resolution=128), DATA, PLACEMENT)
    other = bucket_key(Recipe(resolution=128, evaluation_resolution=160), DATA, PLACEMENT)
    equal = bucket_key(Recipe(resolution=128, evaluation_resolution=128), DATA, PLACEMENT)

    assert plain == equal
    assert plain.digest != other.digest
    assert (plain.label, other.label) == ("b0@128 batch 128", "b0@128/160 batch 128")
    assert other.evaluated == bucket_key(Recipe(resolution=160), DATA, PLACEMENT)
    assert plain.evaluated == plain


def test_step_times_of_earlier_versions_keep_their_bucket() -> None:
    key = bucket_key(Recipe(resolution=128), DATA, PLACEMENT)
    before = key.model_dump_json(exclude={"evaluation_resolution"})

    assert key.digest == hashlib.sha256(before.encode()).hexdigest()[:16]


def test_cached_features_are_of_one_resolution() -> None:
    frozen = {"backbone": "frozen", "weights": "imagenet", "resolution": 128}
    other = Settings.from_plain(frozen | {"evaluation_resolution": 160})
    required = Settings.from_plain(frozen | {"evaluation_resolution": 160, "features": "require"})

    assert caches_features(Settings.from_plain(frozen | {"evaluation_resolution": 128}))
    assert not caches_features(other)
    assert contradictions(other) == []
    (message,) = contradictions(required)
    assert message.startswith(
        "features cannot be cached while images are evaluated at 160 px and trained at 128: write "
        "'evaluation_resolution: same', or write 'features: auto'"
    )


@pytest.mark.parametrize(
    ("written", "pixels"), [("same", [32, 48, 64]), (96, [96] * 3), ("native", [224] * 3)]
)
def test_stages_are_evaluated_at_their_own_resolution_or_all_at_one(
    written: str | int, pixels: list[int]
) -> None:
    recipe = Recipe(resolution=64, resolution_from=32, stages=3, evaluation_resolution=written)

    assert [stage.evaluation_pixels for stage in recipe.stage_recipes()] == pixels


FINETUNED = {"backbone": "finetune", "weights": "imagenet", "epochs": 6}


def test_the_classifier_is_trained_first_on_images_that_do_not_change() -> None:
    changed = {"mixup": 0.2, "crop_padding": 4, "rand_augment": 5, "random_crop": 0.5, "hue": 0.1}
    changed |= {"cutout": 0.5, "cutmix": 1.0, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1}
    recipe = Recipe(
        **FINETUNED,
        **changed,
        finetune_from=3,
        resolution=64,
        evaluation_resolution=96,
        stages=2,
        resolution_from=32,
        head_epochs=2,
        head_learning_rate=5e-5,
        flip=True,
    )

    head, *layers = recipe.stage_recipes()

    assert recipe.stage_epochs == (2, 2, 2)
    assert caches_features(head)
    assert augmentation_kinds(head) == ("flip",)
    assert (head.pixels, head.evaluation_pixels, head.epochs) == (64, 64, 2)
    assert (head.initial_learning_rate, head.maximal_learning_rate) == (5e-5, 5e-5)
    assert [(one.pixels, one.evaluation_pixels, one.epochs) for one in layers] == [
        (32, 96, 4),
        (64, 96, 4),
    ]
    plain = recipe.with_settings(head_epochs=0, head_learning_rate=None, epochs=4)
    assert tuple(layers) == plain.stage_recipes()
    assert bucket_key(recipe, DATA, PLACEMENT) == bucket_key(plain, DATA, PLACEMENT)


def test_without_epochs_of_the_classifier_alone_nothing_changes() -> None:
    recipe = Recipe(**FINETUNED, head_epochs=0)

    assert recipe == Recipe(**FINETUNED)
    assert recipe.stage_recipes() == (recipe,)
    assert recipe.stage_epochs == (6,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_epochs": 6}, "head_epochs 6 of 6 epochs leave none for the other layers; use at"),
        (
            {"head_epochs": 1, "backbone": "frozen"},
            "the backbone is 'frozen': write 'backbone: finetune' or 'head_epochs: 0'",
        ),
        (
            {"head_epochs": 4, "stages": 3, "resolution_from": 32},
            "6 epochs are too few for 3 stages beside head_epochs 4",
        ),
    ],
)
def test_a_classifier_that_has_no_epochs_after_it_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    (found,) = contradictions(Settings(**(FINETUNED | settings)))

    assert message in found


def test_schedule_free_takes_no_schedule_and_no_other_average() -> None:
    alone = Settings(optimizer="schedule_free", schedule="constant", warmup_epochs=1.0)

    assert contradictions(alone) == []
    found = contradictions(Settings(optimizer="schedule_free", ema=True))
    assert len(found) == 2
    assert "takes the place of schedule 'triangular2': write 'schedule: constant'" in found[0]
    assert "evaluates an average of its own: write 'ema: false'" in found[1]
