"""What a trial that was stopped at a rung would have come to."""

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
    """The outcome of a stopped trial, had it gone the way of full curves from there.

    Args:
        stopped: Where it was stopped.
        full: What completed trials showed at the same rung, with what they came to.

    Returns:
        Its quality plus the median gain of the full curves, and its projected time corrected by
        the median ratio of their times to their projections; as at the rung where there are none.
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
