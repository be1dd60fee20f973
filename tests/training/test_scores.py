"""Scores are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from effv2_tune.training.scores import Counts, scores_of, standard_error, sum_counts


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
    )


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
    }
    total = sum_counts([one, one])

    assert total.images == 6
    assert list(total.correct) == [2, 2]
    assert (total.in_top5, total.loss_sum) == (6, 3.0)


def test_the_standard_error_of_90_percent_of_1000_images() -> None:
    assert standard_error(0.9, 1000) == pytest.approx(0.00949, abs=1e-5)
