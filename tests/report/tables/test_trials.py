"""Trials as rows: for the page, the terminal, pandas and notebooks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from effv2_tune.report.analysis import analyse
from effv2_tune.report.tables.trials import (
    POSSIBLE_REMARK,
    fits,
    front_rows,
    front_table,
    front_text,
    narrow_front_text,
    to_frame,
    trial_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_rows_have_the_front_first_and_then_the_others_by_number(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(60))

    rows = trial_rows(analysis.study.trials, analysis.front)

    size = len(analysis.front)
    assert {row["trial"] for row in rows[:size]} == analysis.front
    times = [row["train_seconds"] for row in rows[:size]]
    assert times == sorted(times)
    rest = [row["trial"] for row in rows[size:]]
    assert rest == sorted(rest)
    assert len(rows) == 60


def test_rows_have_the_same_keys_and_units_in_the_names_of_times(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(30))

    rows = trial_rows(analysis.study.trials, analysis.front)

    assert len({tuple(row) for row in rows}) == 1
    for name in ("train", "projected", "wall", "evaluate", "compile", "checkpoint"):
        assert f"{name}_seconds" in rows[0]
    assert "step_bucket_milliseconds" in rows[0]


def test_a_stopped_trial_has_a_rung_and_no_measurement(trial_maker: Callable[..., Trial]) -> None:
    (row,) = trial_rows([trial_maker(0, state="pruned")], front=())

    assert row["quality"] is None
    assert row["train_seconds"] is None
    assert 0 < row["rung_quality"] < 1
    assert row["projected_seconds"] > 0


def test_the_frame_is_indexed_by_trial_and_empty_without_trials(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(20))

    frame = to_frame(analysis.study.trials, analysis.front)

    assert frame.index.name == "trial"
    assert frame["on_front"].sum() == len(analysis.front)
    assert to_frame([], front=()).empty


def test_terminal_and_plain_tables_show_the_same_front(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(60))
    (device,) = analysis.devices
    console = Console(file=io.StringIO(), width=300)
    console.print(front_table(analysis, device))

    shown, plain = console.file.getvalue(), front_text(analysis, device)

    assert len(plain.splitlines()) == 1 + len(device.front)
    for row in front_rows(analysis, device):
        for cell in row.values():
            assert cell in shown
            assert cell in plain
    assert "knee" in plain


def test_markup_in_a_config_is_shown_as_it_is(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trial = trial_maker(0, state="complete")
    trial = trial.model_copy(update={"config": trial.config | {"weights": "[red]<b>.h5"}})
    analysis = analyse(study_maker(trials=(trial,)))
    console = Console(file=io.StringIO(), width=300)

    console.print(front_table(analysis, analysis.devices[0]))

    assert "[red]<b>.h5" in console.file.getvalue()


def test_rows_have_the_standard_error_the_estimate_and_the_probability_of_the_front(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40, validation=500))

    rows = trial_rows(analysis.study.trials, analysis.front, analysis.expected)

    row = rows[0]
    assert 0 < row["expected_low"] < row["expected_quality"] < row["expected_high"] <= 1
    assert 0 < row["expected_standard_error"] < 1.1 * row["standard_error"]
    assert (row["on_front_probability"], row["trainings"]) == (1.0, 1)
    unmeasured = next(row for row in rows if row["state"] != "complete")
    assert unmeasured["expected_quality"] is unmeasured["on_front_probability"] is None


def test_trials_that_cannot_be_told_from_the_front_follow_it(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40, validation=500))
    (device,) = analysis.devices

    rows = front_rows(analysis, device)

    numbers = [int(row["trial"]) for row in rows]
    assert numbers == [trial.number for trial in (*device.front, *device.possible)]
    marked = [int(row["trial"]) for row in rows if row["remark"] == POSSIBLE_REMARK]
    assert set(marked) == analysis.possible != set()
    assert rows[0]["expected"].count(" \N{PLUS-MINUS SIGN} ") == 1
    assert rows[0]["on front"] == "100 %"


def test_a_narrow_terminal_shows_every_number_whole_within_80_characters(
    study_maker: Callable[..., ReportInput],
) -> None:
    study = study_maker(40, validation=500)
    uncertain = [
        trial
        if trial.measurement is None
        else trial.model_copy(
            update={
                "measurement": trial.measurement.model_copy(
                    update={
                        "seconds_low": 0.96 * trial.measurement.train_seconds,
                        "seconds_high": 1.04 * trial.measurement.train_seconds,
                    }
                )
            }
        )
        for trial in study.trials
    ]
    analysis = analyse(study_maker(trials=tuple(uncertain), validation=500))
    (device,) = analysis.devices

    text = narrow_front_text(analysis, device, 80)

    assert max(map(len, text.splitlines())) <= 80
    assert max(map(len, narrow_front_text(analysis, device, 40).splitlines())) <= 40
    for row in front_rows(analysis, device):
        for header, cell in row.items():
            assert cell in text, header
    table = front_table(analysis, device)
    assert not fits(table, Console(width=80))
    assert fits(table, Console(width=300))
