"""Collects the work that only the target placement can do: timing buckets, and large trials."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effv2_tune.study.plan import TARGET_WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.recipe import Recipe

#: Failures to time a bucket after which its trials are infeasible. The first one may be due to the
#: buckets that were compiled before it.
_MOST_FAILURES = 2


@dataclass
class TargetWork:
    """What waits for the target placement while trials are trained on fewer devices.

    Attributes:
        workers: That train trials otherwise.
        is_open: Whether the worker on the target runs, and no other.
        too_large: Digests of the buckets that do not fit the devices of a worker.
    """

    workers: int
    is_open: bool = False
    too_large: set[str] = field(default_factory=set)
    _untimed: dict[str, tuple[BucketKey, Recipe]] = field(default_factory=dict)
    _deferred: dict[int, tuple[str, float]] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)
    _reasons: dict[str, str] = field(default_factory=dict)

    @property
    def trials(self) -> int:
        """How many trials wait."""
        return len(self._deferred)

    @property
    def buckets(self) -> int:
        """How many buckets are to be timed."""
        return len(self._untimed)

    def expect(self, bucket: BucketKey, recipe: Recipe) -> None:
        """Time a bucket when the target is open.

        Args:
            bucket: On the target.
            recipe: Any of it.
        """
        self._untimed.setdefault(bucket.digest, (bucket, recipe))

    def next_untimed(
        self, is_timed: Callable[[BucketKey], bool], besides: Collection[str] = ()
    ) -> tuple[BucketKey, Recipe] | None:
        """The next bucket to time, and a recipe of it; None where all are timed.

        Args:
            is_timed: Whether the step time of a bucket is known.
            besides: Digests of those that other workers time now.
        """
        for digest, (bucket, _) in list(self._untimed.items()):
            if is_timed(bucket) or self.failure(bucket):
                del self._untimed[digest]
        left = (each for digest, each in self._untimed.items() if digest not in besides)
        return next(left, None)

    def count_failure(self, bucket: BucketKey, reason: str) -> None:
        """Count an attempt to time a bucket that failed."""
        self._failures[bucket.digest] += 1
        self._reasons[bucket.digest] = reason

    def failure(self, bucket: BucketKey) -> str:
        """Why a bucket cannot be trained on the target; empty where it may be."""
        has_failed = self._failures[bucket.digest] >= _MOST_FAILURES
        return self._reasons[bucket.digest] if has_failed else ""

    def defer(self, trial: int, bucket: BucketKey, now: float) -> None:
        """Let a trial wait."""
        self._deferred[trial] = (bucket.digest, now)

    def drop(self, trial: int) -> None:
        """Stop tracking a trial."""
        self._deferred.pop(trial, None)

    def clear(self) -> None:
        """Stop tracking all trials."""
        self._deferred.clear()

    def take_large(self) -> int | None:
        """The next trial that the target trains itself; None where there is none."""
        for trial, (digest, _) in self._deferred.items():
            if digest in self.too_large:
                del self._deferred[trial]
                return trial
        return None

    def take_timed(self, timed: Collection[str]) -> list[int]:
        """The trials that need not wait any more: their buckets are timed, or cannot be.

        Args:
            timed: Digests of the buckets whose step times are known.
        """
        trials = [
            trial
            for trial, (digest, _) in self._deferred.items()
            if (digest in timed and digest not in self.too_large)
            or self._failures[digest] >= _MOST_FAILURES
        ]
        for trial in trials:
            del self._deferred[trial]
        return trials

    def take_all(self) -> list[int]:
        """All trials that wait; the workers train those whose buckets are timed now."""
        trials = list(self._deferred)
        self._deferred.clear()
        return trials

    def is_due(self, now: float) -> bool:
        """Whether as many trials wait as there are workers, or one of them for too long."""
        first = min((since for _, since in self._deferred.values()), default=now)
        return self.trials >= self.workers or now - first > TARGET_WAIT_SECONDS
