"""Updates of a trial's record."""

from __future__ import annotations

import pytest

from effv2_tune.search.trial_updates import with_step_time
from effv2_tune.search.workload import BucketTime
from effv2_tune.study.trial import Times, Trial


@pytest.mark.parametrize(("extraction", "count"), [(0.0, 1), (8.9, 1), (9.1, 0), (700.0, 0)])
def test_a_deviating_step_time_is_noted_where_steps_are_a_tenth_of_the_training_time(
    extraction: float, count: int
) -> None:
    times = Times(train=1.0, step_median=0.001)
    trial = Trial(number=0, state="complete", config={}, times=times)
    cost = BucketTime(label="b0@32", step_seconds=0.002, extraction_seconds=extraction)

    noted = with_step_time(trial, cost)

    assert noted.times.step_bucket == 0.002
    assert noted.notes == ("its steps took 50% less than its bucket's",) * count
