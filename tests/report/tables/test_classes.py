"""Precision and recall of each class, and the pairs of classes that are confused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from effv2_tune.report.tables.classes import Confusion

# 8 cats of 10, of which two are dogs and foxes; both dogs are cats; no fox was tested.
COUNTS = {(0, 0): 8, (0, 1): 1, (0, 2): 1, (1, 0): 2}
CONFUSION = Confusion(COUNTS, ["cat", "dog", "fox"])


def test_each_class_has_precision_and_recall() -> None:
    cat, dog, fox = CONFUSION.rows()

    assert (cat.images, cat.predicted, cat.correct) == (10, 10, 8)
    assert (cat.recall, cat.precision, cat.f1) == (0.8, 0.8, 0.8)
    assert (dog.recall, dog.precision) == (0.0, 0.0)
    assert (fox.recall, fox.precision, fox.f1) == (None, 0.0, 0.0)
    assert Confusion({}, ["cat"]).rows()[0].f1 is None


def test_the_pairs_with_most_images_come_first_then_those_of_small_classes() -> None:
    pairs = CONFUSION.pairs(2)

    assert [(pair.actual, pair.predicted, pair.images) for pair in pairs] == [
        ("dog", "cat", 2),
        ("cat", "dog", 1),
    ]
    assert pairs[0].share == 1.0
    assert (CONFUSION.mistakes, CONFUSION.images) == (4, 12)


labels = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(labels)
def test_the_figures_are_those_of_scikit_learn(drawn: list[tuple[int, int]]) -> None:
    actual, predicted = zip(*drawn, strict=True)
    counts = {pair: drawn.count(pair) for pair in drawn}

    confusion = Confusion(counts, [str(number) for number in range(5)])

    classes = list(range(5))
    expected = confusion_matrix(actual, predicted, labels=classes)
    np.testing.assert_array_equal(confusion.matrix(), expected)
    scores = precision_recall_fscore_support(actual, predicted, labels=classes, zero_division=0)
    for row, precision, recall, f1, support in zip(
        confusion.rows(), *(column.tolist() for column in scores), strict=True
    ):
        assert row.images == support
        found = (row.precision or 0, row.recall or 0, row.f1 or 0)
        assert found == pytest.approx((precision, recall, f1))
