"""When an exported model counts as the same."""

from __future__ import annotations

import numpy as np

from effv2_tune.session.models.agreement import TOLERANCE, agreement_of, probe_images

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], "float32")


def test_equal_outputs_agree() -> None:
    agreement = agreement_of(EXPECTED, EXPECTED)

    assert (agreement.images, agreement.same_top1, agreement.largest_difference) == (2, 2, 0.0)
    assert agreement.is_close


def test_another_top_class_does_not_agree() -> None:
    agreement = agreement_of(EXPECTED, EXPECTED[:, ::-1])

    assert agreement.same_top1 == 0
    assert not agreement.is_close


def test_a_probability_beyond_the_tolerance_does_not_agree() -> None:
    shift = np.array([2, -2, 0], "float32") * TOLERANCE
    agreement = agreement_of(EXPECTED, EXPECTED + shift)

    assert agreement.same_top1 == 2
    assert not agreement.is_close


def test_two_classes_that_are_equal_within_the_tolerance_are_both_first() -> None:
    expected = np.array([[0.40003, 0.4, 0.19997]], "float32")
    found = np.array([[0.4, 0.40003, 0.19997]], "float32")

    assert agreement_of(expected, found).is_close


def test_probe_images_are_always_the_same_and_differ_from_each_other() -> None:
    images = probe_images(24, 32)

    assert images.shape == (32, 24, 32, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, probe_images(24, 32))
    assert len({image.tobytes() for image in images}) == 32
