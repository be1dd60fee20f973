"""Tests the learning rates of a study's families of buckets, each by its most frequent bucket."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from typing import TYPE_CHECKING

from effv2_tune.search.learning_rates import RatesTest
from effv2_tune.session.range_test.testing import (
    DEFAULT_SETTINGS,
    buckets_here,
    tested_buckets,
)
from effv2_tune.study.space import values_of

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.session.range_test.testing import BucketRange
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import StudyPlan

#: What stable learning rates depend on. Resolutions and augmentations move them less than the
#: bounds are wide, and would multiply the tests.
_PARTS = ("variant", "trainable", "weights", "batch", "optimizer", "precision")


class FamilyTests:
    """The range tests of a study, one for each family of buckets.

    Args:
        plan: The study.
        dataset: Its images.
        base: Folder that the plan's relative paths start from.

    Attributes:
        labels: The short name of the bucket that is tested, by the digest of its family; the most
            frequent family first.

    Raises:
        TuneError: The device or the images cannot be used.
    """

    def __init__(self, plan: StudyPlan, dataset: Dataset, *, base: Path) -> None:
        self._base = base
        self._here = buckets_here(plan, dataset)
        self._families: dict[str, list[BucketShare]] = {}
        for one in self._here.shares:
            if _has_rates_of_its_own(one.key, plan):
                self._families.setdefault(family_of(one.key), []).append(one)
        by_share = sorted(self._families.items(), key=lambda one: -_share(one[1]))
        chosen = by_share[: DEFAULT_SETTINGS.at_most]
        self.labels = {family: shares[0].key.label for family, shares in chosen}

    def test(self, family: str) -> RatesTest:
        """Test a family of :attr:`labels`.

        Raises:
            TuneError: The weights cannot be used.
        """
        shares = self._families[family]
        tests = tested_buckets(self._here, shares[:1], DEFAULT_SETTINGS, base=self._base)
        with closing(tests):
            return _record(next(tests), _share(shares))


def family_of(key: BucketKey) -> str:
    """The digest of what a bucket has in common with those of its family."""
    parts = {name: getattr(key, name) for name in _PARTS}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _has_rates_of_its_own(key: BucketKey, plan: StudyPlan) -> bool:
    """Whether the bounds are those of a bucket: not of a classifier before all layers."""
    if not key.takes_features:
        return True
    parameter = plan.search_space.parameters.get("backbone")
    searched = [] if parameter is None else list(values_of(parameter))
    return "frozen" in (plan.recipe.backbone, *searched)


def _share(shares: list[BucketShare]) -> float:
    return sum(one.share for one in shares)


def _record(tested: BucketRange, share: float) -> RatesTest:
    found = tested.proposal
    return RatesTest(
        label=tested.key.label,
        share=share,
        steps=len(tested.losses),
        seconds=tested.seconds,
        initial=found.initial.pair if found is not None and tested.has_initial else None,
        maximal=None if found is None else found.maximal.pair,
        reason=tested.reason,
    )
