"""What `range` shows, writes and refuses; its tests are real trainings of a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.study.loading import load_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    Tune = Callable[..., Outcome]

TINY = """\
name: little
data: {name: digits, train: 600, validation: 100}
recipe: {variant: tiny, epochs: 2, resolution: 32, batch_size: 64, dropout: 0.0, epsilon: 1e-7}
search_space:
  # as I guessed it
  maximal_learning_rate: {type: float, low: 1e-1, high: 5, scale: log}
  optimizer: {type: choice, values: [adamw, sgd]}
trials: 6
"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--low", "1", "--high", "0.1"), "--low 1 is not below --high 0.1."),
        (("--steps", "10"), "10 is not in the range x>=50"),
        (("--write",), "study.yaml does not search maximal_learning_rate as a range"),
        (("--picture", "x.jpg"), "x.jpg has no suffix of a picture that can be written."),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_trained(
    tune: Tune, arguments: tuple[str, ...], sentence: str
) -> None:
    done = tune("range", "study.yaml", *arguments)

    assert done.code == 2
    assert sentence in done.err
    assert "testing" not in done.err
    assert done.out == ""


def test_a_shipped_study_is_not_written(tune: Tune) -> None:
    done = tune("range", "quickstart", "--write")

    assert done.code == 2
    assert "is not changed" in done.err or "which other studies may use" in done.err


@pytest.mark.slow
def test_it_shows_each_bucket_and_writes_the_bounds_for_all(tune: Tune) -> None:
    Path("tiny.yaml").write_text(TINY)

    done = tune("range", "tiny.yaml", "--write", "--picture", "range.png", "--steps", "200")

    assert done.code == 0, done.err
    assert done.err.splitlines()[0].startswith("testing 1/2: tiny@32 batch 64")
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.count("learning begins at") == 2
    assert Path("range.png").read_bytes().startswith(b"\x89PNG")
    parameter = load_plan("tiny.yaml").plan.search_space.parameters["maximal_learning_rate"]
    written = Path("tiny.yaml").read_text()
    assert written == TINY.replace(
        "low: 1e-1, high: 5,", f"low: {parameter.low:.3g}, high: {parameter.high:.3g},"
    )
    assert written != TINY
    assert Path("tiny.yaml.before-range-1").read_text() == TINY
    assert tune("check", "tiny.yaml").code == 0


@pytest.mark.slow
def test_its_json_has_the_losses_and_bounds_of_each_bucket(tune: Tune) -> None:
    Path("tiny.yaml").write_text(TINY)

    done = tune("range", "tiny.yaml", "--at-most", "1", "--json")

    assert done.code == 0, done.err
    data = json.loads(done.out)
    (bucket,) = data["buckets"]
    assert bucket["share"] == pytest.approx(0.5, abs=0.05)
    assert len(bucket["rates"]) == len(bucket["losses"]) <= 300
    assert bucket["rates"][0] == pytest.approx(1e-6)
    assert data["proposal"] == {
        name: bucket["proposal"][name]
        for name in ("maximal_learning_rate", "initial_learning_rate")
    }
    assert data["written"] is None
    assert Path("tiny.yaml").read_text() == TINY


@pytest.mark.slow
def test_where_nothing_is_learned_nothing_is_written(tune: Tune) -> None:
    Path("tiny.yaml").write_text(TINY)

    done = tune(
        "range", "tiny.yaml", "--high", "1e-6", "--low", "1e-8", "--at-most", "1", "--write"
    )

    assert done.code == 1
    assert "No bucket learns anything at any of these learning rates" in done.err
    assert "the loss does not fall by more than its noise" in done.out
    assert Path("tiny.yaml").read_text() == TINY
