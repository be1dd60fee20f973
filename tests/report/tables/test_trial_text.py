"""All trials as text: readable at every width, and with chosen columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.report.analysis import analyse
from effv2_tune.report.tables.trial_text import chosen_rows, trials_text
from effv2_tune.report.tables.trials import folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from effv2_tune.report.input import ReportInput
    from effv2_tune.study.trial import Trial


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_cut_at_any_width(study_maker: Callable[..., ReportInput], width: int) -> None:
    analysis = analyse(study_maker(30, validation=500))

    wide = trials_text(analysis, width=None)
    narrow = trials_text(analysis, width=width)

    assert max(map(len, narrow.splitlines())) <= width
    assert len(wide.splitlines()) == 1 + 30
    numbers = {word for word in wide.split() if any(letter.isdigit() for letter in word)}
    assert numbers <= {word.strip(",;") for word in narrow.split()} | set(narrow.split())
    assert "…" not in narrow


def test_the_front_comes_first_and_each_state_is_named(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(40))

    lines = trials_text(analysis, width=None).splitlines()

    assert lines[0].split()[:4] == ["trial", "state", "accuracy", "time"]
    assert all("front" in line for line in lines[1 : 1 + len(analysis.front)])
    assert sum("front, knee" in line for line in lines) == 1
    assert any("stopped early" in line and " of " in line for line in lines)


def test_a_replicate_is_named_with_its_trial(
    study_maker: Callable[..., ReportInput], trial_maker: Callable[..., Trial]
) -> None:
    first = trial_maker(0, state="complete")
    again = first.model_copy(update={"number": 1, "replicate_of": 0})

    text = trials_text(analyse(study_maker(trials=(first, again))), width=None)

    assert "replicate of 0" in text


def test_columns_are_those_that_were_named_in_their_order(
    study_maker: Callable[..., ReportInput],
) -> None:
    analysis = analyse(study_maker(5))

    rows = chosen_rows(analysis, ["weight_decay", "trial"])
    text = trials_text(analysis, columns=["weight_decay", "trial"], width=None)

    assert [list(row) for row in rows] == [["weight_decay", "trial"]] * 5
    assert text.splitlines()[0].split() == ["weight_decay", "trial"]


def test_a_wrong_column_is_an_error_that_names_a_similar_one(
    study_maker: Callable[..., ReportInput],
) -> None:
    with pytest.raises(TuneError, match="did you mean 'weight_decay'") as caught:
        chosen_rows(analyse(study_maker(5)), ["weight_decai"])

    assert "train_seconds" in str(caught.value.hint)


def test_a_study_without_trials_is_a_sentence(study_maker: Callable[..., ReportInput]) -> None:
    assert trials_text(analyse(study_maker(trials=())), width=80) == "no trial has started yet"


def test_cells_that_do_not_fit_follow_below_their_row() -> None:
    rows = [{"trial": "1", "quality": "0.9306", "weight decay": "2.014e-05"}]

    assert folded(rows, list(rows[0]), 20).splitlines() == [
        "trial  quality",
        "1      0.9306",
        "       weight decay 2.014e-05",
    ]
