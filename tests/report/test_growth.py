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
