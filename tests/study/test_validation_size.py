"""Whether a validation split is large enough to tell trials apart."""

from __future__ import annotations

import numpy as np
import pytest

from effv2_tune.study.validation_size import noise_of_difference, small_validation_hint


def test_288_images_do_not_tell_accuracies_2_points_apart() -> None:
    hint = small_validation_hint(288, "accuracy")

    assert hint.startswith("288 validation images: differences under 2.5 points are noise (")
    assert "at an accuracy of 0.9" in hint
    assert "One point takes 1,800 images" in hint


def test_there_is_no_hint_where_one_point_is_beyond_the_noise() -> None:
    assert small_validation_hint(1799, "accuracy")
    assert not small_validation_hint(1800, "accuracy")
    assert not small_validation_hint(5000, "macro_f1")
    assert not small_validation_hint(20, "loss")


def test_the_noise_is_the_spread_of_differences_of_simulated_accuracies() -> None:
    drawn = np.random.default_rng(0).binomial(288, 0.9, (2, 20_000)) / 288

    assert noise_of_difference(288) == pytest.approx(np.std(drawn[0] - drawn[1]), rel=0.03)
