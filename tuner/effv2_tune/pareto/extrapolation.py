"""Extrapolates the outcome of a pruned trial from complete learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effv2_tune.study.trial import RungResult


def expected_outcome(
    stopped: RungResult, full: Sequence[tuple[RungResult, Measurement]]
) -> Measurement:
    """The outcome to expect of a pruned trial, had it trained to the end.

    Args:
        stopped: Its result at the rung where it was pruned.
        full: Results of completed trials at the same rung, with their measurements.

    Returns:
        Its quality plus the median gain of the completed trials, and its projected time
        corrected by the median ratio of their times to their projections; the result at the rung
        where there are no completed trials.
    """
    if not full:
        return Measurement(quality=stopped.quality, train_seconds=stopped.projected_seconds)
    gain = np.median([end.quality - then.quality for then, end in full])
    stretch = np.median(
        [end.train_seconds / max(then.projected_seconds, 1e-9) for then, end in full]
    )
    return Measurement(
        quality=stopped.quality + float(gain),
        train_seconds=stopped.projected_seconds * float(stretch),
    )
