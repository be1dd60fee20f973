"""Training times are shown with their intervals, and an uncertain order of them is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effv2_tune.report.analysis import analyse
from effv2_tune.report.figures.front import front_figure
from effv2_tune.report.html.trial_list import trial_table
from effv2_tune.report.input import ReportInput
from effv2_tune.report.step_times import order_of_times, seconds_text
from effv2_tune.report.tables.trials import front_text, trial_rows
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.study.trial import Trial

    MakeTrial = Callable[..., Trial]


def timed(
    trial: Trial, seconds: float, *, error: float | None, quality: float = 0.5, pixels: int = 64
) -> Trial:
    """A complete trial, of the bucket of these pixels, with a relative error of its time."""
    assert trial.bucket is not None
    measurement = Measurement(
        quality=quality,
        train_seconds=seconds,
        seconds_low=None if error is None else seconds * (1 - error),
        seconds_high=None if error is None else seconds * (1 + error),
    )
    bucket = trial.bucket.model_copy(update={"variant": "b0", "resolution": pixels})
    changes = {"state": "complete", "measurement": measurement, "bucket": bucket}
    return trial.model_copy(update=changes)


def test_neighbours_of_different_buckets_whose_intervals_overlap_may_change_places(
    trial_maker: MakeTrial,
) -> None:
    front = [
        timed(trial_maker(1), 10.0, error=0.01),
        timed(trial_maker(2), 10.1, error=0.01, pixels=96),
        # Of the same bucket as the one before: they share the error.
        timed(trial_maker(3), 10.2, error=0.01, pixels=96),
        timed(trial_maker(4), 11.0, error=0.01),
        timed(trial_maker(5), 11.0, error=None, pixels=96),
    ]

    order = order_of_times(front)

    assert order.uncertain == ((1, 2),)
    assert order.sentence() == (
        "The order of the training times on the front is not certain: the 90 % intervals of "
        "trials 1 and 2 overlap."
    )
    assert order_of_times(front[2:]).sentence() == ""


def test_a_time_is_shown_with_half_of_its_interval(trial_maker: MakeTrial) -> None:
    assert seconds_text(timed(trial_maker(1), 47.0, error=0.02)) == "47 s ± 0.94 s"
    assert seconds_text(timed(trial_maker(1), 47.0, error=None)) == "47 s"


def test_tables_figures_and_sentences_show_the_intervals(trial_maker: MakeTrial) -> None:
    trials = (
        timed(trial_maker(0), 100.0, error=0.05, quality=0.5),
        timed(trial_maker(1), 102.0, error=0.05, quality=0.6, pixels=96),
    )
    note = "The step time of b0@64 was restated: 60 ms -> 30 ms."
    analysis = analyse(ReportInput(name="made up", trials=trials, time_notes=(note,)))
    (device,) = analysis.devices

    row = trial_rows(trials, analysis.front)[0]
    assert (row["train_seconds"], row["seconds_low"], row["seconds_high"]) == (100.0, 95.0, 105.0)
    assert "1 min 40 s ± 5 s" in front_text(analysis, device)
    assert analysis.time_sentences() == [device.order.sentence(), note]
    assert device.order.uncertain == ((0, 1),)
    cells = {column.key: cell.text for column, cell in trial_table(analysis).rows[0].cells}
    assert cells["train_seconds"] == "100.0 ± 5.0"
    drawn = [trace for trace in front_figure(analysis, device).data if trace.error_x.array]
    assert sorted(round(trace.error_x.array[0], 3) for trace in drawn) == [5.0, 5.1]
