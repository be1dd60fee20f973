"""Trials as rows: for the page, the terminal, pandas and notebooks."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from rich.console import Console

from effv2_tune.report.analysis import find
from effv2_tune.report.html.notebook import study_html
from effv2_tune.report.table import front_rows, front_table, front_text, to_frame, trial_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


def test_rows_have_the_front_first_and_then_the_others_by_number(
    study_maker: Callable[..., ReportInput],
) -> None:
    findings = find(study_maker(60))

    rows = trial_rows(findings.given.trials, findings.front)

    size = len(findings.front)
    assert {row["trial"] for row in rows[:size]} == findings.front
    times = [row["train_seconds"] for row in rows[:size]]
    assert times == sorted(times)
    rest = [row["trial"] for row in rows[size:]]
    assert rest == sorted(rest)
    assert len(rows) == 60


def test_rows_have_the_same_keys_and_units_in_the_names_of_times(
    study_maker: Callable[..., ReportInput],
) -> None:
    findings = find(study_maker(30))

    rows = trial_rows(findings.given.trials, findings.front)

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
    findings = find(study_maker(20))

    frame = to_frame(findings.given.trials, findings.front)

    assert frame.index.name == "trial"
    assert frame["on_front"].sum() == len(findings.front)
    assert to_frame([], front=()).empty


def test_terminal_and_plain_tables_show_the_same_front(
    study_maker: Callable[..., ReportInput],
) -> None:
    findings = find(study_maker(60))
    (device,) = findings.devices
    console = Console(file=io.StringIO(), width=300)
    console.print(front_table(findings, device))

    shown, plain = console.file.getvalue(), front_text(findings, device)

    assert len(plain.splitlines()) == 1 + len(device.front)
    for row in front_rows(findings, device):
        for cell in row.values():
            assert cell in shown
            assert cell in plain
    assert "knee" in plain


def test_markup_in_a_config_is_shown_as_it_is(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    trial = trial_maker(0, state="complete")
    trial = trial.model_copy(update={"config": trial.config | {"weights": "[red]<b>.h5"}})
    findings = find(study_maker(trials=(trial,)))
    console = Console(file=io.StringIO(), width=300)

    console.print(front_table(findings, findings.devices[0]))

    assert "[red]<b>.h5" in console.file.getvalue()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_notebook_gets_a_fragment_without_scripts_or_references(
    study_maker: Callable[..., ReportInput],
) -> None:
    fragment = study_html(study_maker(60, name="<script>alert(1)</script>"))
    tags = _Tags()
    tags.feed(fragment)

    names = {name for name, _ in tags.seen}
    assert {"svg", "table"} <= names
    assert not names & {"script", "link", "style", "img", "iframe", "html", "body"}
    assert not any({"src", "href"} & set(attributes) for _, attributes in tags.seen)
    assert "&lt;script&gt;" in fragment


def test_a_notebook_shows_a_study_before_its_first_complete_trial(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    assert "Nothing has been tried yet" in study_html(study_maker(trials=()))
    stopped = study_maker(trials=(trial_maker(0, state="pruned"),))
    assert "no trial is complete yet" in study_html(stopped)
