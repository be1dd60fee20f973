"""Scores are those of scikit-learn, and their standard errors those of new images."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from effv2_tune.study.trial import Scores
from effv2_tune.training.scores import (
    Counts,
    scores_of,
    standard_errors_of,
    sum_counts,
)


def _counts(truth: np.ndarray, logits: np.ndarray) -> Counts:
    classes = logits.shape[1]
    taken = logits.argmax(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    own = logits[np.arange(len(truth)), truth]
    return Counts(
        support=np.bincount(truth, minlength=classes),
        predicted=np.bincount(taken, minlength=classes),
        correct=np.bincount(truth[taken == truth], minlength=classes),
        in_top5=int(((logits > own[:, None]).sum(axis=1) < 5).sum()),
        loss_sum=float(-log_probabilities[np.arange(len(truth)), truth].sum()),
        loss_squares=float((log_probabilities[np.arange(len(truth)), truth] ** 2).sum()),
    )


def _images(
    rng: np.random.Generator, images: int, classes: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of an unbalanced data set."""
    shares = np.linspace(1, 3, classes)
    truth = rng.choice(classes, size=images, p=shares / shares.sum())
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), truth] += 1
    return truth, logits


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 12), images=st.integers(1, 60))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_scores_are_those_of_scikit_learn(seed: int, classes: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), truth] += rng.uniform(0, 2)
    taken = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    scores = scores_of(_counts(truth, logits))

    labels = list(range(classes))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(truth, taken))
    assert scores.balanced_accuracy == pytest.approx(
        metrics.recall_score(truth, taken, labels=np.unique(truth), average="macro")
    )
    assert scores.macro_f1 == pytest.approx(
        metrics.f1_score(truth, taken, average="macro", zero_division=0)
    )
    if classes > 5:
        assert scores.top5 == pytest.approx(
            metrics.top_k_accuracy_score(truth, logits, k=5, labels=labels)
        )
    else:
        assert scores.top5 == 1
    assert scores.loss == pytest.approx(metrics.log_loss(truth, probabilities, labels=labels))


def test_counts_of_batches_add_up() -> None:
    one = {
        "support": np.array([2.0, 1.0]),
        "predicted": np.array([1.0, 2.0]),
        "correct": np.array([1.0, 1.0]),
        "in_top5": np.float32(3),
        "loss_sum": np.float32(1.5),
        "loss_squares": np.float32(0.75),
    }
    total = sum_counts([one, one])

    assert total.images == 6
    assert list(total.correct) == [2, 2]
    assert (total.in_top5, total.loss_sum, total.loss_squares) == (6, 3.0, 1.5)


@pytest.mark.parametrize("images", [300, 2000])
def test_standard_errors_are_the_deviations_between_sets_of_images(images: int) -> None:
    rng = np.random.default_rng(3)
    counts = [_counts(*_images(rng, images)) for _ in range(200)]
    scores = [scores_of(one) for one in counts]
    errors = [standard_errors_of(one) for one in counts[:20]]

    for name in Scores.model_fields:
        between = np.std([one.value_of(name) for one in scores])
        estimated = np.mean([one.value_of(name) for one in errors])
        assert estimated == pytest.approx(between, rel=0.2), name


def test_a_perfect_score_on_few_images_is_not_certain() -> None:
    truth = np.arange(30) % 10
    errors = standard_errors_of(_counts(truth, 20.0 * np.eye(10)[truth]))

    for name in ("accuracy", "balanced_accuracy", "macro_f1", "top5"):
        assert 0.02 < errors.value_of(name) < 0.08, name


def test_one_image_of_one_class_and_an_overflow_have_finite_standard_errors() -> None:
    only = _counts(np.array([1]), np.array([[0.0, 1.0]]))
    assert all(np.isfinite(value) for value in standard_errors_of(only).model_dump().values())

    overflown = replace(_counts(np.array([0, 1]), np.eye(2)), loss_squares=np.inf)
    assert standard_errors_of(overflown).loss == pytest.approx(scores_of(overflown).loss)


def test_the_same_counts_have_the_same_standard_errors() -> None:
    counts = _counts(*_images(np.random.default_rng(0), 100))

    assert standard_errors_of(counts) == standard_errors_of(counts)


def test_among_five_classes_the_top_5_is_certain() -> None:
    assert standard_errors_of(_counts(*_images(np.random.default_rng(0), 50, 5))).top5 == 0


@given(st.integers(0, 2**32 - 1))
def test_counts_of_folds_add_up_to_those_of_all_their_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, logits = rng.integers(4, size=50), rng.normal(size=(50, 4))
    parts = [_counts(truth[part], logits[part]) for part in np.split(np.arange(50), [7, 30])]

    total = reduce(add, (Counts.from_data(json.loads(json.dumps(p.as_data()))) for p in parts))

    whole, found = (scores_of(c).model_dump() for c in (_counts(truth, logits), total))
    assert found == pytest.approx(whole)
