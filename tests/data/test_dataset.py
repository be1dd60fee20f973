"""A dataset with folds: which images each training sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from effv2_tune.data import load_dataset
from effv2_tune.study.recipe import DataSpec

FOLDED = DataSpec(train=401, folds=4)


def test_each_fold_is_validated_by_the_training_that_did_not_see_it() -> None:
    dataset = load_dataset(FOLDED, base=Path())

    folds = [dataset.fold(number) for number in range(dataset.folds)]

    assert sorted(np.concatenate([fold.validation for fold in folds])) == list(range(401))
    for fold in folds:
        assert len(fold.train) == len(dataset.train)
        assert not set(fold.train) & set(fold.validation)
    np.testing.assert_array_equal(dataset.pool.labels[folds[0].train], dataset.train.labels)
    np.testing.assert_array_equal(
        dataset.pool.images[folds[0].validation], dataset.validation.images
    )


def test_the_digest_covers_the_folds() -> None:
    one, other = (
        load_dataset(FOLDED.model_copy(update=changes), base=Path())
        for changes in ({}, {"folds": 5})
    )

    assert one.digest != other.digest
    facts = one.facts()
    assert (facts.folds, facts.train + facts.validation, facts.scored) == (4, 401, 401)


def test_without_folds_the_pool_is_the_training_split() -> None:
    dataset = load_dataset(DataSpec(), base=Path())

    assert dataset.folds == 1
    assert dataset.pool is dataset.train
    assert dataset.facts().scored == len(dataset.validation)
