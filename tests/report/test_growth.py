"""The hypervolume over the trials of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.report.analysis import analyse
from effv2_tune.report.growth import growth_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput


def test_the_hypervolume_never_shrinks_and_ends_at_all_of_itself(
    study_maker: Callable[..., ReportInput],
) -> None:
    study = study_maker(50)
    (device,) = analyse(study).devices

    points = growth_points(device, study)

    shares = [point.share for point in points]
    assert len(points) == 50
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert [point.ended for point in points] == list(range(1, 51))


def test_a_replicate_is_no_trial_of_the_search(study_maker: Callable[..., ReportInput]) -> None:
    study = study_maker(50)
    first = next(trial for trial in study.trials if trial.state == "complete")
    again = first.model_copy(update={"number": 50, "replicate_of": first.number})
    repeated = study.model_copy(update={"trials": (*study.trials, again)})
    (device,), (other,) = analyse(study).devices, analyse(repeated).devices

    assert growth_points(other, repeated) == growth_points(device, study)
