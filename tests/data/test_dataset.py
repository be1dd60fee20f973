"""A dataset: which images each training sees, with folds and with the validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("spec", [DataSpec(train=401, validation=100), FOLDED])
def test_a_final_training_sees_the_training_images_then_those_of_the_validation(
    spec: DataSpec,
) -> None:
    apart = load_dataset(spec, base=Path())

    both = load_dataset(spec.model_copy(update={"train_on": "train+validation"}), base=Path())

    for one, other in ((both.train, (apart.train, apart.validation)), (both.test, (apart.test,))):
        np.testing.assert_array_equal(one.images, np.concatenate([part.images for part in other]))
        np.testing.assert_array_equal(one.labels, np.concatenate([part.labels for part in other]))
    assert (len(both.validation), both.folds, both.added) == (0, 1, len(apart.validation))
    assert both.split_digest == apart.digest != both.digest


def test_images_from_files_are_the_same_with_the_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    for number in range(24):
        path = tmp_path / "photos" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), 10 * number, np.uint8)).save(path)
    spec = DataSpec(name="folder", path="photos", validation=4, test=4)

    apart, both = (
        load_dataset(
            spec.model_copy(update={"train_on": splits}), base=tmp_path, memory_limit=limit
        )
        for splits, limit in (("train", 0), ("train+validation", 0))
    )

    assert both.split_digest == apart.digest
    assert len(both.train) == len(apart.train) + 4 == 20
    # Images above the limit are decoded into one file, whichever splits are trained on.
    assert len(list((tmp_path / "cache").rglob("*.lock"))) == 1
