"""Splits images into training, validation and test: seeded, stratified, groups kept together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.data.grouping import cut_groups
from effv2_tune.data.pool import TEST, TRAIN, VALIDATION, Indices, Pool
from effv2_tune.errors import TuneError

if TYPE_CHECKING:
    from effv2_tune.data.dataset import Labels
    from effv2_tune.study.recipe import DataSpec

#: Fraction of the training images for validation if neither the source nor the study specifies it.
DEFAULT_VALIDATION = 0.1


@dataclass(frozen=True)
class SplitIndices:
    """Positions in the pool, for each split, in the order that training refers to.

    Attributes:
        train: [count] int64.
        validation: [count] int64.
        test: [count] int64.
        folds: With folds, the fold of each training image, then of each validation image, from 0;
            those of fold 0 are the validation images. None without.
    """

    train: Indices
    validation: Indices
    test: Indices
    folds: Indices | None = None


def split_pool(pool: Pool, spec: DataSpec) -> SplitIndices:
    """Split ``pool`` as ``spec`` specifies: test, then validation, then the share to train on.

    A published split is used completely and in its order, or as the seeded subset that ``spec``
    requests. A split that the source lacks is cut from the training images by
    scikit-learn's ``train_test_split(indices, test_size=share, random_state=split_seed,
    stratify=...)``, whose order is kept: with ``validation: 0.1, stratify: false`` and
    ``split_seed: 42``, CIFAR-10 is split as in the original work (efficientnetv2.md, section 3.2).

    With ``folds``, what is left after the test split, or its seeded subset of size ``train``, is
    divided into folds; the largest is the validation split.

    Raises:
        TuneError: If a split would be empty, or cannot have every class when ``stratify`` is set;
            if the dataset has a validation split of its own beside ``folds``.
    """
    cutter = _Cutter(pool, spec)
    train, validation, test = (
        np.flatnonzero(pool.origin == code) for code in (TRAIN, VALIDATION, TEST)
    )
    if len(train) == 0:
        raise TuneError(
            "The dataset has no training images.", hint="Put images into its 'train' split."
        )
    if len(test):
        test = cutter.subset(test, spec.test, "test")
    else:
        train, test = cutter.cut(train, _test_share(pool, spec), "test")
    if spec.folds is not None:
        if len(validation):
            raise TuneError(
                "The dataset has a validation split of its own, which 'folds:' would not use.",
                hint="Remove 'folds:', or move those images into the training split.",
            )
        return _folded(cutter.subset(train, spec.train, "train"), test, cutter, spec.folds)
    if len(validation):
        validation = cutter.subset(validation, spec.validation, "validation")
    else:
        share = DEFAULT_VALIDATION if spec.validation is None else spec.validation
        train, validation = cutter.cut(train, share, "validation")
    return SplitIndices(cutter.subset(train, spec.train, "train"), validation, test)


def _folded(images: Indices, test: Indices, cutter: _Cutter, folds: int) -> SplitIndices:
    """The split of the first fold, with the folds, the largest first.

    So no other fold leaves fewer images to train on than the first.
    """
    drawn = cutter.fold_of(images, folds)
    sizes = np.bincount(drawn, minlength=folds)
    if not sizes.all():
        raise TuneError(
            f"'folds: {folds}': the groups leave a fold without images.", hint="Use fewer folds."
        )
    largest_first = np.argsort(-sizes, kind="stable")
    fold = np.argsort(largest_first)[drawn]
    is_first = fold == 0
    return SplitIndices(
        images[~is_first],
        images[is_first],
        test,
        np.concatenate([fold[~is_first], fold[is_first]]),
    )


def _test_share(pool: Pool, spec: DataSpec) -> float:
    share = pool.default_test if spec.test is None else spec.test
    if share is None:
        raise TuneError(
            "The dataset has no test images, and the study does not specify how many to set aside.",
            hint="Add 'test: 0.2' (a fraction of all images, or a count) to the study's data.",
        )
    return share


@dataclass(frozen=True)
class _Cutter:
    """Cuts arrays of positions in two, always by the same seed and the same labels."""

    pool: Pool
    spec: DataSpec

    def cut(self, indices: Indices, share: float, name: str) -> tuple[Indices, Indices]:
        """The rest, and the ``share`` that was cut off for the split called ``name``."""
        count = share if isinstance(share, int) else math.ceil(share * len(indices))
        if count >= len(indices):
            raise TuneError(
                f"'{name}: {share:g}' takes all of the {len(indices):,} images that are left "
                "for training.",
                hint=f"Make '{name}' smaller, or add images.",
            )
        if self.pool.groups is not None:
            return cut_groups(
                indices,
                count,
                groups=self.pool.groups[indices],
                strata=self.pool.labels[indices] if self.spec.stratify else None,
                seed=self.spec.split_seed,
                name=name,
            )
        return self._draw(indices, len(indices) - int(count), name)

    def subset(self, indices: Indices, share: float | None, name: str) -> Indices:
        """A seeded subset of ``indices``; all of them, in order, if ``share`` is None."""
        if share is None:
            return indices
        count = share if isinstance(share, int) else math.floor(share * len(indices))
        if count == 0 or count > len(indices):
            raise TuneError(
                f"'{name}: {share:g}' requests {count:,} images; the {name} split has "
                f"{len(indices):,}.",
                hint=f"Leave '{name}' out to use all of them.",
            )
        if count == len(indices):
            return indices
        return self._draw(indices, int(count), name)[0]

    def fold_of(self, indices: Indices, folds: int) -> Indices:
        """The fold of each position, from 0, as scikit-learn draws them; groups stay together."""
        from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

        groups = None if self.pool.groups is None else self.pool.groups[indices]
        strata = self.pool.labels[indices] if self.spec.stratify else np.zeros_like(indices)
        self._check_folds(strata, groups, folds)
        if groups is not None:
            splitter = StratifiedGroupKFold
        else:
            splitter = StratifiedKFold if self.spec.stratify else KFold
        drawn = splitter(folds, shuffle=True, random_state=self.spec.split_seed)
        found = np.zeros(len(indices), np.int64)
        for fold, (_, members) in enumerate(drawn.split(indices, strata, groups)):
            found[members] = fold
        return found

    def _check_folds(self, strata: Labels | Indices, groups: Indices | None, folds: int) -> None:
        """Refuse folds without images, or without images of a class.

        Raises:
            TuneError: There are more folds than images, groups, or images of a class.
        """
        what, count = "images", len(strata)
        if groups is not None:
            what, count = "groups", len(np.unique(groups))
        if self.spec.stratify:
            sizes = np.bincount(strata)
            rarest = int(np.argmin(np.where(sizes > 0, sizes, len(strata) + 1)))
            if sizes[rarest] < count:
                what, count = f"images of the class {self.pool.classes[rarest]!r}", sizes[rarest]
        if count < folds:
            raise TuneError(
                f"'folds: {folds}' exceeds the {count:,} {what}.",
                hint="Use fewer folds, or add images"
                + ("; or set 'stratify: false'." if what.startswith("images of") else "."),
            )

    def _draw(self, indices: Indices, first: int, name: str) -> tuple[Indices, Indices]:
        """``first`` positions, and all others, as scikit-learn draws them."""
        from sklearn.model_selection import train_test_split

        strata = self.pool.labels[indices] if self.spec.stratify else None
        if strata is not None:
            self._check_strata(strata, min(first, len(indices) - first), name)
        selected, rest = train_test_split(
            indices,
            train_size=first,
            test_size=len(indices) - first,
            random_state=self.spec.split_seed,
            stratify=strata,
        )
        return selected, rest

    def _check_strata(self, strata: Labels, smaller: int, name: str) -> None:
        counts = np.bincount(strata)
        present = np.flatnonzero(counts)
        rare = [self.pool.classes[label] for label in present if counts[label] == 1]
        if rare:
            raise TuneError(
                f"The class {rare[0]!r} has one image only, which cannot be in both parts of a "
                f"stratified {name} split"
                + (f" (and so for {len(rare) - 1} more classes)." if rare[1:] else "."),
                hint="Add images of it, leave the class out, or set 'stratify: false'.",
            )
        if smaller < len(present):
            raise TuneError(
                f"A stratified {name} split of {len(strata):,} images would have a part of "
                f"{smaller:,}, fewer than the {len(present)} classes.",
                hint=f"Change '{name}' so that both parts hold every class, or set "
                "'stratify: false'.",
            )
