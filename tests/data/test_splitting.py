"""Which images train, validate and test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from effv2_tune.data.arrays import ArrayImages
from effv2_tune.data.grouping import cut_groups
from effv2_tune.data.pool import TEST, TRAIN, VALIDATION, Pool
from effv2_tune.data.splitting import SplitIndices, split_pool
from effv2_tune.errors import TuneError
from effv2_tune.study.recipe import DataSpec

NO_IMAGES = ArrayImages((np.empty((0, 8, 8, 3), np.uint8),))


def pool_of(labels: Any, origin: Any = None, groups: Any = None) -> Pool:
    labels = np.asarray(labels, np.int32)
    return Pool(
        images=NO_IMAGES,
        labels=labels,
        origin=np.zeros(len(labels), np.int8) if origin is None else np.asarray(origin, np.int8),
        classes=tuple(f"class {label}" for label in range(labels.max() + 1)),
        groups=None if groups is None else np.asarray(groups, np.int64),
    )


def parts_of(indices: SplitIndices) -> list[np.ndarray]:
    return [indices.train, indices.validation, indices.test]


def test_cifar10_is_split_as_in_the_original_work_index_for_index() -> None:
    labels = np.random.default_rng(1).integers(0, 10, 60_000)
    origin = np.repeat([TRAIN, TEST], [50_000, 10_000])
    spec = DataSpec(name="cifar10", validation=0.1, stratify=False, split_seed=42)

    found = split_pool(pool_of(labels, origin), spec)

    train, validation = train_test_split(np.arange(50_000), test_size=0.1, random_state=42)
    np.testing.assert_array_equal(found.train, train)
    np.testing.assert_array_equal(found.validation, validation)
    np.testing.assert_array_equal(found.test, np.arange(50_000, 60_000))


def test_test_is_cut_from_all_images_and_validation_from_what_is_left() -> None:
    labels = np.arange(1000) % 4
    spec = DataSpec(test=0.2, validation=50, split_seed=7)

    found = split_pool(pool_of(labels), spec)

    rest, test = train_test_split(np.arange(1000), test_size=0.2, random_state=7, stratify=labels)
    train, validation = train_test_split(rest, test_size=50, random_state=7, stratify=labels[rest])
    for mine, theirs in zip(parts_of(found), (train, validation, test), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_splits_that_a_dataset_brings_are_used_whole_in_their_order() -> None:
    origin = [VALIDATION, TRAIN, TEST, TRAIN, VALIDATION, TEST]

    found = split_pool(pool_of([0, 1, 0, 0, 1, 1], origin), DataSpec())

    assert [list(part) for part in parts_of(found)] == [[1, 3], [0, 4], [2, 5]]


def test_a_share_of_a_split_that_a_dataset_brings_is_a_seeded_subset_of_it() -> None:
    labels, origin = np.arange(400) % 4, np.repeat([TRAIN, VALIDATION, TEST], [200, 100, 100])
    spec = DataSpec(train=40, validation=0.5, test=12)

    first, again = (
        split_pool(pool_of(labels, origin), spec),
        split_pool(pool_of(labels, origin), spec),
    )

    assert [len(part) for part in parts_of(first)] == [40, 50, 12]
    for code, part, same in zip(
        (TRAIN, VALIDATION, TEST), parts_of(first), parts_of(again), strict=True
    ):
        assert set(origin[part]) == {code}
        np.testing.assert_array_equal(part, same)
        assert np.ptp(np.bincount(labels[part])) <= 1


shares = st.one_of(st.integers(1, 60), st.floats(0.02, 0.4))


@given(
    labels=st.lists(st.integers(0, 3), min_size=150, max_size=300),
    validation=shares,
    test=shares,
    seed=st.integers(0, 2**32 - 1),
    stratify=st.booleans(),
)
def test_splits_are_disjoint_cover_everything_and_have_the_wanted_sizes(
    *, labels: list[int], validation: float, test: float, seed: int, stratify: bool
) -> None:
    labels = [*labels, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    spec = DataSpec(validation=validation, test=test, split_seed=seed, stratify=stratify)
    try:
        found = split_pool(pool_of(labels), spec)
    except TuneError:
        assert stratify, "only a stratified split may find classes too rare"
        reject()

    together = np.concatenate(parts_of(found))
    np.testing.assert_array_equal(np.sort(together), np.arange(len(labels)))
    wanted = test if isinstance(test, int) else int(np.ceil(test * len(labels)))
    assert len(found.test) == wanted
    if stratify:
        everywhere = np.bincount(labels, minlength=4) / len(labels)
        here = np.bincount(np.array(labels)[found.test], minlength=4)
        assert np.abs(here - everywhere * len(found.test)).max() <= 1


@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    stratify=st.booleans(),
    data=st.data(),
)
def test_a_group_never_straddles_a_split(
    *, sizes: list[int], seed: int, stratify: bool, data: st.DataObject
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups)))
    spec = DataSpec(test=0.2, validation=0.2, split_seed=seed, stratify=stratify)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    try:
        found = split_pool(pool_of([*labels], groups=groups[shuffled]), spec)
    except TuneError:  # the first cut left one group, too few for the second
        reject()

    members = [set(groups[shuffled][part]) for part in parts_of(found)]
    assert all(members)
    assert sum(len(one) for one in members) == len(set.union(*members))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts_of(found))), np.arange(len(groups)))


@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=60),
    st.floats(0.01, 0.9),
    st.integers(0, 2**32 - 1),
)
def test_a_cut_between_groups_misses_its_size_by_at_most_half_the_largest_group(
    sizes: list[int], share: float, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    indices = np.arange(len(groups)) + 1000
    count = max(1, int(share * len(groups)))

    rest, part = cut_groups(indices, count, groups=groups, strata=None, seed=seed, name="test")

    np.testing.assert_array_equal(np.sort(np.concatenate([rest, part])), indices)
    one_group = min(len(np.unique(groups[side - 1000])) for side in (rest, part)) == 1
    assert one_group or abs(len(part) - count) <= max(sizes) / 2


def test_a_stratified_cut_between_groups_keeps_the_classes_in_proportion() -> None:
    groups = np.repeat(np.arange(200), 5)
    labels = np.repeat(np.arange(200) % 10 == 0, 5)  # a tenth of the groups are of class 1

    found = split_pool(pool_of(labels, groups=groups), DataSpec(test=0.2, validation=0.1))

    assert np.bincount(labels[found.test].astype(int)).tolist() == [180, 20]


@pytest.mark.parametrize(
    ("labels", "spec", "sentence"),
    [
        ([0, 1] * 10, {"test": None}, "has no test images"),
        ([0, 1] * 10, {"test": 20}, "takes all of the 20 images"),
        ([0, 1] * 10, {"test": 10, "validation": 10}, "takes all of the 10 images"),
        (
            [0, 1] * 10,
            {"test": 0.5, "validation": 2, "train": 10},
            "10 images; the train split has 8",
        ),
        ([0, 1] * 10, {"test": 0.5, "validation": 2, "train": 0.01}, "requests 0 images"),
        ([0] * 10 + [1], {"test": 2}, "'class 1' has one image only"),
        (list(range(10)) * 3, {"test": 5}, "a part of 5, fewer than the 10 classes"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_with_a_way_out(
    labels: list[int], spec: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TuneError, match=sentence) as refused:
        split_pool(pool_of(labels), DataSpec(**spec))

    assert refused.value.hint


@given(
    folds=st.integers(2, 5),
    classes=st.integers(1, 4),
    stratify=st.booleans(),
    seed=st.integers(0, 5),
    train=st.none() | st.integers(40, 60),
)
def test_every_image_outside_the_test_split_is_in_one_fold(
    *, folds: int, classes: int, stratify: bool, seed: int, train: int | None
) -> None:
    labels = np.arange(100) % classes
    plain = DataSpec(test=20, stratify=stratify, split_seed=seed)
    spec = plain.model_copy(update={"folds": folds, "train": train})

    found, without = split_pool(pool_of(labels), spec), split_pool(pool_of(labels), plain)

    used = np.concatenate([found.train, found.validation])
    np.testing.assert_array_equal(found.test, without.test)
    assert len(set(used)) == len(used) == (train or 80)
    assert not set(used) & set(found.test)
    assert found.folds is not None
    sizes = np.bincount(found.folds, minlength=folds)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes.min() > 0
    np.testing.assert_array_equal(
        np.flatnonzero(found.folds == 0), np.arange(len(used))[-sizes[0] :]
    )
    if stratify:
        of_class = np.array(
            [np.bincount(found.folds[labels[used] == one]) for one in range(classes)]
        )
        assert (of_class.max(axis=1) - of_class.min(axis=1)).max() <= 1
    again = split_pool(pool_of(labels), spec)
    np.testing.assert_array_equal(found.folds, again.folds)


def test_folds_keep_groups_together() -> None:
    groups = np.random.default_rng(3).integers(0, 30, 400)
    pool = pool_of(np.arange(400) % 2, groups=groups)

    found = split_pool(pool, DataSpec(test=0.2, folds=4))

    assert found.folds is not None
    used = np.concatenate([found.train, found.validation])
    for group in np.unique(groups[used]):
        assert len(set(found.folds[groups[used] == group])) == 1


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (pool_of([0] * 40 + [1] * 4), "'folds: 5' exceeds the 3 images of the class 'class 1'"),
        (
            pool_of([0, 1] * 20, groups=[0, 1, 2, 3] * 10),
            "'folds: 5' exceeds the 3 groups",
        ),
        (
            pool_of([0, 1] * 20, [TRAIN] * 36 + [VALIDATION] * 4),
            "has a validation split of its own",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused_with_a_way_out(pool: Pool, sentence: str) -> None:
    with pytest.raises(TuneError, match=sentence) as refused:
        split_pool(pool, DataSpec(test=10, folds=5))

    assert refused.value.hint
