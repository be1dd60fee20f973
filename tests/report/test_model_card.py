"""The card of a trained model."""

from __future__ import annotations

from typing import Any

from effv2_tune.report.model_card import model_card
from effv2_tune.study.training_run import TrainingRun

SCORES = {
    "accuracy": 0.93,
    "balanced_accuracy": 0.92,
    "macro_f1": 0.91,
    "top5": 0.999,
    "loss": 0.2,
}
ERRORS = dict.fromkeys(SCORES, 0.01)
ENVIRONMENT = {
    "device_kind": "NVIDIA H200",
    "device_count": 2,
    "backend": "jax",
    "precision": "mixed_bfloat16",
    "threads": 8,
    "host": "secret-host",
    "versions": {"python": "3.12"},
}
METRICS: dict[str, Any] = {
    "test": SCORES,
    "test_count": 1000,
    "test_standard_errors": ERRORS,
    "validation": SCORES,
    "validation_standard_errors": ERRORS,
    "selected_epoch": 7,
    "train_seconds": 192.4,
    "environment": ENVIRONMENT,
    "data_digest": "ab" * 32,
    "classes": ["daisy", "a|b", "[tulip]"],
}
RUN = {
    "name": "flowers-trial-7",
    "data": {"name": "folder", "path": "/home/me/photos", "fit": "crop"},
    "recipe": {
        "variant": "b0",
        "resolution": 96,
        "epochs": 8,
        "backbone": "finetune",
        "weights": "/home/me/w.h5",
    },
}
PROVENANCE = {
    "study": "flowers",
    "trial": 7,
    "pick": "knee",
    "validation": SCORES,
    "validation_count": 500,
    "train_seconds": 180.0,
    "seconds_low": 170.0,
    "seconds_high": 190.0,
    "environment": ENVIRONMENT,
    "data_digest": "ab" * 32,
    "front": [
        {
            "trial": 3,
            "variant": "b0",
            "resolution": 64,
            "quality": 0.9,
            "train_seconds": 60.0,
        },
        {
            "trial": 7,
            "variant": "b0",
            "resolution": 96,
            "quality": 0.93,
            "train_seconds": 180.0,
        },
    ],
    "promise": {
        "quality": 0.925,
        "standard_error": 0.01,
        "low": 0.9,
        "high": 0.95,
        "raw": 0.93,
        "raw_standard_error": 0.01,
        "seed_deviation": 0.005,
    },
}


def card(**changes: Any) -> str:
    return model_card(TrainingRun.from_plain({**RUN, **changes}), METRICS)


def test_the_card_has_the_resolution_of_the_model_beside_that_of_its_training() -> None:
    text = card(recipe={**RUN["recipe"], "evaluation_resolution": 128})

    assert "at 128 px (trained at 96), 3 classes" in text


def test_the_card_has_the_epochs_of_the_classifier_alone() -> None:
    text = card(recipe={**RUN["recipe"], "head_epochs": 2})

    assert "8 epochs (the first 2 the classifier alone) on 2 x" in " ".join(text.split())


def test_the_card_has_scores_with_intervals_and_where_they_come_from() -> None:
    text = card()

    assert text.startswith("# flowers-trial-7\n")
    assert "EfficientNetV2 b0 (Tan and Le, arXiv 2104.00298) at 96 px, 3 classes" in text
    assert "2 x NVIDIA H200 (jax, mixed_bfloat16)" in text
    assert "3 min 12 s of training" in text
    assert "| accuracy | 0.9300 [0.9136, 0.9464] | 0.9300 [0.9136, 0.9464] |" in text
    assert "| top-5 accuracy | 0.9990 [0.9826, 1.0000] |" in text
    assert "1,000 test images were used once" in text
    assert f"| SHA-256 of images and splits | {'ab' * 32} |" in text


def test_every_setting_of_the_recipe_is_in_the_card() -> None:
    run = TrainingRun.from_plain(RUN)
    text = card()

    assert all(f"| `{name}` | " in text for name in type(run.recipe).model_fields)
    assert "| `epochs` | 8 |" in text


def test_what_the_search_expected_is_in_the_card_of_an_exported_recipe() -> None:
    text = card(provenance=PROVENANCE)

    assert "## The search" not in card()
    assert "trial 7 of study flowers (pick: knee)" in text
    assert "0.9250, 90 % interval [0.9000, 0.9500]" in text
    assert "| **7** (this recipe) | b0 at 96 px | 0.9300 | 3 min |" in text
    assert "| 3 | b0 at 64 px | 0.9000 | 1 min |" in text
    assert "3 min, 90 % interval [2 min 50 s, 3 min 10 s]" in text


def test_class_names_are_shown_as_they_are() -> None:
    assert r"daisy, a\|b, \[tulip\]." in card()


def test_a_card_does_not_name_folders_or_machines() -> None:
    text = card(provenance=PROVENANCE)

    assert "photos" in text
    assert "w.h5" in text
    assert "/home/me" not in text
    assert "secret-host" not in text


def test_the_limits_say_what_happens_to_other_images() -> None:
    assert "It knows 3 classes and no others" in card()
    assert "cropped evenly at both ends" in card()
    assert "padded with black" in card(data={"name": "digits", "fit": "pad"})


def test_without_validation_scores_the_card_names_the_last_epoch() -> None:
    text = model_card(TrainingRun.from_plain(RUN), METRICS | {"validation": None})

    assert "| score | test |" in text
    assert "the validation images were trained on, and the weights are those of the last" in text
