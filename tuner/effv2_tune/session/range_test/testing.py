"""Runs the learning-rate range test of a study's buckets, and joins their proposals."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.forecast.buckets import buckets_of
from effv2_tune.optimizers.range_test import (
    Bounds,
    RangeProposal,
    joint_bounds,
    propose_bounds,
    rising_rates,
)
from effv2_tune.session.bucket_profiling import range_test_buckets
from effv2_tune.session.downloads import download, missing_files
from effv2_tune.session.forecast import target_here
from effv2_tune.session.progress import show_downloads
from effv2_tune.study.batches import check_batches
from effv2_tune.study.space import values_of
from effv2_tune.workers.device_choice import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from effv2_tune.data import Dataset
    from effv2_tune.forecast.buckets import BucketShare
    from effv2_tune.host import Hardware
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.plan import StudyPlan
    from effv2_tune.workers.messages import RangeTested

INITIAL, MAXIMAL = "initial_learning_rate", "maximal_learning_rate"
#: The only schedule that has no lower bound, unless it has a warm-up.
_CONSTANT = "constant"


@dataclass(frozen=True)
class BucketRange:
    """The range test of a bucket.

    Attributes:
        key: The bucket.
        share: Of the study's trials that fall into it, from 0 to 1.
        rates: The learning rates of the steps that were run.
        losses: Of these steps.
        proposal: Bounds of its learning rates; None where its loss does not fall, or it does not
            fit.
        seconds: What the test took, with the compilation.
        reason: Why the bucket does not fit; empty where it does.
        has_initial: Whether a trial of it can begin, or end, at `initial_learning_rate`.
    """

    key: BucketKey
    share: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    proposal: RangeProposal | None
    seconds: float
    reason: str = ""
    has_initial: bool = True


@dataclass(frozen=True)
class RangeTestSettings:
    """What is tested.

    Attributes:
        low: The learning rate of the first step.
        high: That of the last one, where the loss does not diverge before.
        steps: Number of steps.
        at_most: How many buckets, the most frequent first.
    """

    low: float
    high: float
    steps: int
    at_most: int


#: Those of the command; a study that tests its learning rates itself has them, too.
DEFAULT_SETTINGS = RangeTestSettings(low=1e-6, high=10.0, steps=300, at_most=8)


@dataclass(frozen=True)
class BucketsHere:
    """The buckets of a study on the devices of this machine.

    Attributes:
        plan: The study, with its number of workers.
        hardware: The device and the backend.
        shares: Its buckets, the most frequent first.
    """

    plan: StudyPlan
    hardware: Hardware
    shares: list[BucketShare]


def buckets_here(plan: StudyPlan, dataset: Dataset) -> BucketsHere:
    """The buckets that a study may train on this machine.

    Raises:
        TuneError: The device or the images cannot be used.
    """
    hardware = choose_device(plan)
    if plan.workers == "auto":
        plan = plan.with_workers(1, None, 1 if hardware.kind == "cpu" else hardware.devices)
    placement, data = target_here(plan, hardware).placement, dataset.facts()
    check_batches(plan, data, placement.device_count)
    return BucketsHere(plan, hardware, buckets_of(plan, data, placement))


def run_range_test(
    plan: StudyPlan,
    dataset: Dataset,
    settings: RangeTestSettings,
    *,
    base: Path,
    on_start: Callable[[BucketShare, int, int], None],
) -> list[BucketRange]:
    """Test the most frequent buckets of a study.

    Args:
        plan: The study.
        dataset: Its images.
        settings: What is tested.
        base: Folder that the plan's relative paths start from.
        on_start: Called with the next bucket, its index from 1, and the number of buckets.

    Raises:
        TuneError: The device, the images or the weights cannot be used.
    """
    here = buckets_here(plan, dataset)
    shares = here.shares[: settings.at_most]
    recipes = [share.recipe for share in shares]
    show_downloads(download(missing_files(plan.data, recipes, base=base)))
    results = tested_buckets(here, shares, settings, base=base)
    tested = []
    with closing(results):
        for index, share in enumerate(shares, 1):
            on_start(share, index, len(shares))
            tested.append(next(results))
    return tested


def tested_buckets(
    here: BucketsHere, shares: Sequence[BucketShare], settings: RangeTestSettings, *, base: Path
) -> Generator[BucketRange]:
    """Yield the test of each bucket, in order, each in a fresh worker that compiles it once.

    The recipe of a bucket is that of the first config that is drawn for the forecast: the
    hyperparameters beside the learning rate are those of a trial.

    Args:
        here: The study.
        shares: Which of its buckets.
        settings: What is tested.
        base: Folder that the plan's relative paths start from.
    """
    plan, hardware = here.plan, here.hardware
    rates = rising_rates(settings.low, settings.high, settings.steps)
    results = range_test_buckets(plan, shares, rates, base=base, hardware=hardware)
    with closing(results):
        for share, tested in zip(shares, results, strict=True):
            uses_it = uses_initial(plan, share.key)
            yield _bucket_range(share, rates, tested, has_initial=uses_it)


def joint_proposal(tested: Sequence[BucketRange]) -> dict[str, Bounds]:
    """The bounds of each learning rate that contain the proposals of all buckets.

    Of `initial_learning_rate` only those of buckets whose trials use it.

    Raises:
        TuneError: No bucket has a proposal.
    """
    found = [(one.has_initial, one.proposal) for one in tested if one.proposal is not None]
    if not found:
        raise TuneError(
            "No bucket learns anything at any of these learning rates, so no bounds are proposed.",
            hint="Test other rates (--low, --high), or more steps (--steps).",
            exit_code=EXIT_FAILED,
        )
    joint = {MAXIMAL: joint_bounds([proposal.maximal for _, proposal in found])}
    initial = [proposal.initial for has_initial, proposal in found if has_initial]
    return joint | ({INITIAL: joint_bounds(initial)} if initial else {})


def uses_initial(plan: StudyPlan, key: BucketKey) -> bool:
    """Whether a trial of a bucket can begin, or end, at `initial_learning_rate`.

    All schedules do but a constant rate without a warm-up.
    """
    if key.schedule != _CONSTANT:
        return True
    parameter = plan.search_space.parameters.get("warmup_epochs")
    if parameter is None:
        return plan.recipe.warmup_epochs > 0
    return any(value > 0 for value in values_of(parameter))


def _bucket_range(
    share: BucketShare, rates: Sequence[float], tested: RangeTested, *, has_initial: bool
) -> BucketRange:
    losses = tested.losses
    run = tuple(rates[: len(losses)])
    return BucketRange(
        key=share.key,
        share=share.share,
        rates=run,
        losses=losses,
        proposal=propose_bounds(run, losses, steps=len(rates)) if losses else None,
        seconds=tested.seconds,
        reason=tested.reason,
        has_initial=has_initial,
    )
