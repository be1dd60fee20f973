"""Formats range tests as charts of characters and text, and as plain data for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from effv2_tune.optimizers.range_test import smoothed
from effv2_tune.report.figures.learning_rates import RangeCurve
from effv2_tune.report.quantities import human_seconds, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from effv2_tune.optimizers.range_test import Bounds
    from effv2_tune.session.range_test.testing import BucketRange, RangeTestSettings

#: Characters of a line, and of it those left of the chart.
WIDTH = 80
_MARGIN = 8
_HEIGHT = 10
#: Losses are drawn up to so many times the fall above the first ones: a divergence has no end.
_ABOVE = 0.25


def lines(tested: Sequence[BucketRange], settings: RangeTestSettings) -> Iterator[str]:
    """The chart of each bucket, and what follows from it."""
    for one in tested:
        yield f"{one.key.label}, {' '.join(one.key.optimizer)}: {percent(one.share)} of the trials"
        if not one.losses:
            yield f"  {one.reason}"
        elif not math.isfinite(one.losses[0]):
            yield "  the loss is NaN in the first step"
        else:
            yield from _chart(one, settings)
            yield from _sentences(one)
        yield ""


def proposal_lines(bounds: Mapping[str, Bounds]) -> Iterator[str]:
    """The bounds for all buckets, as lines of a search space."""
    for name, its in bounds.items():
        yield f"  {name}: {{type: float, low: {its.low:.3g}, high: {its.high:.3g}, scale: log}}"


def as_data(tested: Sequence[BucketRange], settings: RangeTestSettings) -> list[dict[str, Any]]:
    """The range tests as plain data; a loss that is not finite is null."""
    return [_data(one, settings) for one in tested]


def curves(tested: Sequence[BucketRange], settings: RangeTestSettings) -> list[RangeCurve]:
    """The range tests of the buckets that fit, to be drawn."""
    return [
        RangeCurve(
            label=f"{one.key.label}, {' '.join(one.key.optimizer)}",
            rates=one.rates,
            losses=one.losses,
            smoothed=smoothed(one.losses, settings.steps).tolist(),
            initial=None if one.proposal is None else one.proposal.initial.pair,
            maximal=None if one.proposal is None else one.proposal.maximal.pair,
        )
        for one in tested
        if one.losses
    ]


def _data(one: BucketRange, settings: RangeTestSettings) -> dict[str, Any]:
    found = one.proposal
    curve = smoothed(one.losses, settings.steps).tolist() if one.losses else []
    return {
        "label": one.key.label,
        "bucket": one.key.model_dump(mode="json"),
        "share": one.share,
        "seconds": one.seconds,
        "reason": one.reason,
        "rates": list(one.rates),
        "losses": _finite(one.losses),
        "smoothed_losses": _finite(curve),
        "proposal": None
        if found is None
        else {
            "begins": found.begins,
            "lowest": found.lowest,
            "unstable": found.unstable,
            "initial_learning_rate": vars(found.initial),
            "maximal_learning_rate": vars(found.maximal),
        },
    }


def _finite(losses: Sequence[float]) -> list[float | None]:
    return [loss if math.isfinite(loss) else None for loss in losses]


def _sentences(one: BucketRange) -> Iterator[str]:
    found = one.proposal
    took = f"{len(one.losses)} steps in {human_seconds(one.seconds)}"
    if found is None:
        yield f"  the loss does not fall by more than its noise; {took}"
        return
    yield (
        f"  learning begins at {found.begins:.2g} (b), the loss is lowest at {found.lowest:.2g} (l)"
    )
    yield f"  and rises again at {found.unstable:.2g} (u); {took}"
    yield (
        f"  initial_learning_rate {found.initial.low:.2g} to {found.initial.high:.2g}, "
        f"maximal_learning_rate {found.maximal.low:.2g} to {found.maximal.high:.2g}"
    )


def _chart(one: BucketRange, settings: RangeTestSettings) -> Iterator[str]:
    """The smoothed loss against the learning rate, on a logarithmic axis."""
    curve = smoothed(one.losses, settings.steps)
    width = WIDTH - _MARGIN
    low, first = float(curve.min()), float(curve[0])
    high = first + _ABOVE * max(first - low, 1e-3 * abs(first))
    span = math.log(settings.high / settings.low)
    columns = [
        min(width - 1, int(width * math.log(rate / settings.low) / span)) for rate in one.rates
    ]
    grid = np.full((_HEIGHT, width), " ")
    heights = np.minimum(curve, high)
    rows = np.rint((_HEIGHT - 1) * (high - heights) / (high - low)).astype(int)
    grid[rows, columns] = "*"
    for row in range(_HEIGHT):
        loss = high - (high - low) * row / (_HEIGHT - 1)
        yield f"{loss:{_MARGIN - 1}.3g}|{''.join(grid[row])}".rstrip()
    yield " " * (_MARGIN - 1) + "+" + "".join(_axis(one, settings, width))
    yield " " * _MARGIN + _ticks(settings, width)


def _axis(one: BucketRange, settings: RangeTestSettings, width: int) -> list[str]:
    """The axis with the letters of the proposal's rates."""
    axis = ["-"] * width
    if one.proposal is not None:
        marks = {"b": one.proposal.begins, "l": one.proposal.lowest, "u": one.proposal.unstable}
        span = math.log(settings.high / settings.low)
        for letter, rate in marks.items():
            axis[min(width - 1, int(width * math.log(rate / settings.low) / span))] = letter
    return axis


def _ticks(settings: RangeTestSettings, width: int) -> str:
    """The powers of ten below the axis."""
    ticks = [" "] * width
    span = math.log10(settings.high / settings.low)
    start, end = math.log10(settings.low), math.log10(settings.high)
    for power in range(math.ceil(start - 1e-9), math.floor(end + 1e-9) + 1):
        label = f"1e{power}"
        at = min(int(width * (power - start) / span), width - len(label))
        ticks[at : at + len(label)] = label
    return "".join(ticks).rstrip()
