"""Bounds are written into a study file, of which everything else stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import MistakesError, TuneError
from effv2_tune.optimizers.range_test import Bounds
from effv2_tune.session.range_test.study_edit import check_writable, with_numbers, write_bounds
from effv2_tune.study.loading import load_plan
from effv2_tune.study.shipped import shipped_studies

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """\
# A study of mine.
name: mine   # its folder
recipe: {variant: tiny, schedule: triangular2}

search_space:
  # the rates, as I guessed them
  maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}  # guessed
  initial_learning_rate:
    type: float
    low: 0.00001   # low
    high: 1E-4
    scale: log
    reason: "low: 1e-3"
  epochs: {type: int, low: 2, high: 4}
trials: 3
"""
BOUNDS = {
    "maximal_learning_rate": Bounds(2.3e-4, 0.051),
    "initial_learning_rate": Bounds(1.2e-6, 2.3e-4),
}


def _study(folder: Path, text: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(text, newline="")
    return file


def test_only_the_bounds_change_and_the_file_as_it_was_is_kept(tmp_path: Path) -> None:
    file = _study(tmp_path, STUDY)
    loaded = load_plan(file)
    check_writable(loaded, file)

    copy = write_bounds(loaded, file, BOUNDS)

    assert copy.read_text() == STUDY
    assert file.read_text() == (
        STUDY.replace(
            "{type: float, low: 1e-3, high: 1e-1", "{type: float, low: 0.00023, high: 0.051"
        )
        .replace("low: 0.00001 ", "low: 1.2e-06 ")
        .replace("high: 1E-4", "high: 0.00023")
    )
    space = load_plan(file).plan.search_space.parameters
    assert (space["maximal_learning_rate"].low, space["maximal_learning_rate"].high) == (
        2.3e-4,
        0.051,
    )


def test_a_second_time_the_first_copy_stays(tmp_path: Path) -> None:
    file = _study(tmp_path, STUDY)

    first = write_bounds(load_plan(file), file, BOUNDS)
    second = write_bounds(load_plan(file), file, {"maximal_learning_rate": Bounds(1e-3, 1.0)})

    assert first != second
    assert first.read_text() == STUDY


def test_line_ends_of_windows_stay(tmp_path: Path) -> None:
    file = _study(tmp_path, STUDY.replace("\n", "\r\n"))

    write_bounds(load_plan(file), file, BOUNDS)

    assert file.read_bytes().count(b"\r\n") == STUDY.count("\n")
    assert load_plan(file).plan.search_space.parameters["initial_learning_rate"].low == 1.2e-6


def test_a_parameter_that_is_not_searched_is_not_added(tmp_path: Path) -> None:
    text = STUDY.replace(
        "  initial_learning_rate:\n    type: float\n", "  dropout:\n    type: float\n"
    )
    file = _study(tmp_path, text)

    write_bounds(load_plan(file), file, BOUNDS)

    assert "initial_learning_rate" not in file.read_text()
    assert "low: 0.00023, high: 0.051" in file.read_text()


@pytest.mark.parametrize(
    "text",
    [
        STUDY.replace("low: 1e-3,", "low: &low 1e-3,").replace("trials: 3", "hours: *low"),
        STUDY.replace(
            "maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}",
            "maximal_learning_rate: &rate {type: float, low: 1e-3, high: 1e-1, scale: log}",
        ).replace("epochs: {type: int, low: 2, high: 4}", "weight_decay: *rate"),
        STUDY.replace(
            "maximal_learning_rate: {type: float, low: 1e-3, high: 1e-1, scale: log}",
            "weight_decay: &rate {type: float, low: 1e-3, high: 1e-1}\n"
            "  maximal_learning_rate: {<<: *rate, scale: log}",
        ),
    ],
)
def test_what_an_alias_repeats_is_not_written(tmp_path: Path, text: str) -> None:
    file = _study(tmp_path, text)

    with pytest.raises(TuneError, match=r"maximal_learning_rate\.low is repeated by an anchor"):
        write_bounds(load_plan(file), file, BOUNDS)

    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_has_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    file = _study(tmp_path, STUDY)
    loaded = load_plan(file)
    file.write_text(STUDY.replace("trials: 3", "trials: 4"))

    with pytest.raises(TuneError, match="has changed since the test began"):
        write_bounds(loaded, file, BOUNDS)

    assert "trials: 4" in file.read_text()


def test_bounds_that_would_make_the_study_wrong_are_not_written(tmp_path: Path) -> None:
    file = _study(tmp_path, STUDY.replace("initial_learning_rate:", "dropout:"))
    file.write_text(file.read_text().replace("recipe: {", "recipe: {initial_learning_rate: 1e-4, "))

    with pytest.raises(MistakesError, match=r"initial_learning_rate 0\.0001 is above"):
        write_bounds(load_plan(file), file, {"maximal_learning_rate": Bounds(1e-6, 1e-5)})

    assert "1e-3, high: 1e-1" in file.read_text()


def test_a_space_elsewhere_a_shipped_study_and_a_fixed_rate_are_refused(tmp_path: Path) -> None:
    elsewhere = _study(tmp_path, "name: mine\nsearch_space: quickstart\ntrials: 1\n")
    with pytest.raises(TuneError, match="which other studies may use"):
        check_writable(load_plan(elsewhere), elsewhere)
    shipped = next(iter(shipped_studies().values()))
    with pytest.raises(TuneError, match="is shipped with this package, and is not changed"):
        check_writable(load_plan(shipped), shipped)
    fixed = _study(tmp_path, STUDY.replace("maximal_learning_rate:", "weight_decay:"))
    with pytest.raises(TuneError, match="does not search maximal_learning_rate as a range"):
        check_writable(load_plan(fixed), fixed)


def test_numbers_inside_flow_and_block_mappings_are_found() -> None:
    text = "a:\n  b: {c: 1, d: [2, 3]}\n  e:\n    f:   -0.5 # x\n"

    edited = with_numbers(text, {("a", "b", "c"): 7.0, ("a", "e", "f"): 1e-9}, name="x")

    assert edited == "a:\n  b: {c: 7, d: [2, 3]}\n  e:\n    f:   1e-09 # x\n"
