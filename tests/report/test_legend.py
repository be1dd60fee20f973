"""The entries of a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.palette import RUNG_SYMBOLS, SYMBOLS, VARIANT_COLOURS
from effv2_tune.report.legend import LegendEntry, legend_entries, state_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_it_has_the_variants_with_their_colours_and_the_resolutions_with_their_symbols(
    study_maker: Callable[..., ReportInput],
) -> None:
    (device,) = analyse(study_maker(60)).devices

    assert legend_entries(device) == [
        *(LegendEntry(name, "circle", VARIANT_COLOURS[name]) for name in ("b0", "b1", "b2", "b3")),
        LegendEntry("64 px", "circle"),
        LegendEntry("96 px", "square"),
        LegendEntry("128 px", "diamond"),
    ]


def test_states_at_rungs_and_replicates_have_marks_of_their_own(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    again = trial_maker(3, state="complete").model_copy(
        update={"number": 4, "replicate_of": 3, "started": None}
    )
    trials = (
        trial_maker(0, state="pruned"),
        trial_maker(1, state="pruned").model_copy(update={"state": "paused"}),
        trial_maker(3, state="complete"),
        again,
    )
    (device,) = analyse(study_maker(trials=trials, validation=5000)).devices

    assert state_entries(device) == [
        LegendEntry("stopped early", "x-thin"),
        LegendEntry("paused", "hourglass-open"),
        LegendEntry("\N{MULTIPLICATION SIGN}2, \N{MULTIPLICATION SIGN}3: trainings", ""),
    ]
    assert device.trainings == {3: 2}
    assert not set(RUNG_SYMBOLS.values()) & set(SYMBOLS)
