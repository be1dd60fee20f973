"""A study that sets the bounds of its learning rates by range tests, before its first trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import SCRIPTED_WORKER

from effv2_tune.search import read_study
from effv2_tune.search.events import PlanChanged, RatesTested, RatesTestStarted, TrialEnded
from effv2_tune.session.bucket_profiling import range_test_buckets
from effv2_tune.session.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    Tune = Callable[..., Outcome]

STUDY = """\
name: ranged
recipe: {epochs: 2, schedule: constant, variant: b0, initial_learning_rate: 0.0}
search_space:
  maximal_learning_rate: {type: float, low: 1e-9, high: 1e-8, scale: log}
  resolution: {type: choice, values: [32, 64]}
  optimizer: {type: choice, values: [adamw, sgd]}
search: {range_test: true, halving: {enabled: false}}
trials: 3
"""


@pytest.fixture
def ranged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file whose range tests, too, are those of scripted workers."""
    assert range_test_buckets.__kwdefaults__ is not None
    monkeypatch.setitem(range_test_buckets.__kwdefaults__, "worker_command", SCRIPTED_WORKER)
    (folder / "ranged.yaml").write_text(STUDY)
    return folder / "runs" / "ranged"


def _of(kind: type, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_each_family_is_tested_once_and_every_trial_is_inside_the_bounds(ranged: Path) -> None:
    events = list(Study.load("ranged.yaml").events())

    labels = [event.label.split("@")[0] for event in _of(RatesTestStarted, events)]
    assert labels == ["b0", "b0"]  # of each optimizer, at the resolution of most trials
    (tested,) = _of(RatesTested, events)
    assert tested.sentence.startswith("maximal_learning_rate 0.")
    assert len(_of(PlanChanged, events)) == 1
    parameter = read_study(ranged).plan.search_space.parameters["maximal_learning_rate"]
    # Four decades below 0.1 and 10 learning begins, and above them it becomes unstable.
    assert 1e-5 < parameter.low < 1e-3
    assert 10 <= parameter.high < 30
    rates = [e.trial.config["maximal_learning_rate"] for e in _of(TrialEnded, events)]
    assert len(rates) == 3
    assert all(parameter.low <= rate <= parameter.high for rate in rates)


def test_a_resumed_study_keeps_its_bounds_and_tests_nothing_again(ranged: Path) -> None:
    list(Study.load("ranged.yaml").events())
    before = read_study(ranged)

    events = list(Study.load("ranged.yaml", trials=4).events())

    after = read_study(ranged)
    assert _of(RatesTestStarted, events) == []
    assert [change.lines for change in _of(PlanChanged, events)] == [("trials: 3 -> 4",)]
    assert after.plan.search_space == before.plan.search_space
    assert after.learning_rates == before.learning_rates
    assert [trial.state for trial in after.trials] == ["complete"] * 4


def test_tests_that_are_interrupted_are_completed_by_the_next_run(ranged: Path) -> None:
    running = Study.load("ranged.yaml").events()
    for event in running:
        if isinstance(event, RatesTestStarted) and event.number == 2:
            running.close()
    assert read_study(ranged).learning_rates is None
    assert read_study(ranged).trials == ()

    events = list(Study.load("ranged.yaml").events())

    assert [event.number for event in _of(RatesTestStarted, events)] == [2]
    assert len(_of(TrialEnded, events)) == 3


def test_an_edited_study_tests_what_it_has_not_tested(ranged: Path) -> None:
    list(Study.load("ranged.yaml").events())
    wider = STUDY.replace("[adamw, sgd]", "[adamw, sgd, rmsprop]").replace("trials: 3", "trials: 4")
    Path("ranged.yaml").write_text(wider)

    events = list(Study.load("ranged.yaml").events())

    assert [event.tests for event in _of(RatesTestStarted, events)] == [3]
    assert len(_of(RatesTested, events)) == 1
    assert len([t for t in read_study(ranged).trials if t.state == "complete"]) == 4
    Path("ranged.yaml").write_text(STUDY)
    assert _of(RatesTestStarted, list(Study.load("ranged.yaml").events())) == []


def test_status_report_and_export_have_the_bounds(ranged: Path, tune: Tune) -> None:
    assert tune("run", "ranged.yaml").code == 0

    bounds = read_study(ranged).learning_rates
    assert bounds is not None
    (low, high) = bounds.bounds["maximal_learning_rate"]
    said = f"maximal_learning_rate {low:.3g} to {high:.3g}, by range tests of b0@"
    assert f"learning rates: {said}" in tune("status", str(ranged)).out
    data = json.loads(tune("status", str(ranged), "--json").out)
    assert data["learning_rates"] == {"maximal_learning_rate": [low, high]}
    assert said in (ranged / "report.html").read_text()
    assert tune("export", str(ranged), "--pick", "knee").code == 0
    assert "learning_rates:" in Path("train.yaml").read_text()


def test_a_dry_run_says_that_bounds_are_tested(ranged: Path, tune: Tune) -> None:
    said = tune("run", "ranged.yaml", "--dry-run").out

    assert "rates     bounds by range tests, before the first trial" in said
    assert not ranged.exists()


@pytest.mark.slow
def test_a_real_study_learns_inside_its_bounds(folder: Path) -> None:
    (folder / "real.yaml").write_text(
        "name: real\ndata: {name: digits, train: 320, validation: 64}\n"
        "recipe: {variant: tiny, epochs: 2, resolution: 32, batch_size: 64, epsilon: 1e-7}\n"
        "search_space:\n"
        "  maximal_learning_rate: {type: float, low: 1e-9, high: 1e-8, scale: log}\n"
        "  initial_learning_rate: {type: float, low: 1e-10, high: 1e-9, scale: log}\n"
        "search: {range_test: true}\ntrials: 2\nhardware: cpu\nbackend: tensorflow\n"
    )

    list(Study.load("real.yaml").events())

    record = read_study(folder / "runs" / "real")
    assert record.learning_rates is not None
    assert set(record.learning_rates.bounds) == {"maximal_learning_rate", "initial_learning_rate"}
    for trial in record.trials:
        assert record.plan.search_space.contains(trial.config)
        assert 1e-5 < trial.config["maximal_learning_rate"] < 10
