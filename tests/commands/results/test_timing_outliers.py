"""Timing outliers: every view of a trial shows them."""

from __future__ import annotations

import csv
import html
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tune = Callable[..., Any]

NOTE = "its steps took 30% more than its bucket's"


def test_a_timing_outlier_is_flagged_in_every_view(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = {"1": {"slower": 1.3}, "2": {"slower": 0.91}, "3": {"slower": 1.09}}
    monkeypatch.setenv("SCRIPT", json.dumps(script))
    run = tune("run", "study.yaml")

    flagged = [line for line in run.err.splitlines() if line.endswith(f", {NOTE}")]
    assert [": complete, " in line and "trial 1" in line for line in flagged] == [True]
    log = (folder / "runs/small/events.jsonl").read_text().splitlines()
    ended = [event["trial"] for event in map(json.loads, log) if event["event"] == "TrialEnded"]
    assert {trial["number"]: trial["notes"] for trial in ended} == {0: [], 1: [NOTE], 2: [], 3: []}

    status = tune("status", "runs/small")
    assert (
        "The step time of 1 trial (1) deviates by more than 10% from the one benchmarked"
        in status.out
    )
    assert json.loads(tune("status", "runs/small", "--json").out)["timing_outliers"] == {
        "trials": [1],
        "machines": {},
    }

    table = tune("trials", "runs/small").out
    assert [NOTE in line for line in table.splitlines()].count(True) == 1
    rows = csv.DictReader(io.StringIO(tune("trials", "runs/small", "--format", "csv").out))
    times = {row["trial"]: row for row in rows}
    assert [times[number]["notes"] for number in "0123"] == ["", NOTE, "", ""]
    assert float(times["1"]["step_median_milliseconds"]) == pytest.approx(
        1.3 * float(times["1"]["step_bucket_milliseconds"])
    )

    report = html.unescape((folder / "runs/small/report.html").read_text())
    assert "its steps took 30% more than its bucket's</td>" in report
    assert "The step time of 1 trial (1) deviates by more than 10%" in report


def test_a_trial_stopped_early_is_flagged_too(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = folder / "study.yaml"
    halving = "search: {halving: {rungs: [0.5], keep: 0.01}}"
    study.write_text(study.read_text().replace("search: {halving: {enabled: false}}", halving))
    monkeypatch.setenv("SCRIPT", json.dumps({str(n): {"slower": 0.7} for n in range(4)}))
    tune("run", "study.yaml")

    rows = json.loads(tune("trials", "runs/small", "--format", "json").out)

    assert {row["state"] for row in rows} == {"complete", "pruned"}
    assert {row["notes"] for row in rows} == {"its steps took 30% less than its bucket's"}


def test_a_host_whose_trials_deviate_together_is_named(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.is_dir()
    script = {"0": {"slower": 1.2}, "1": {"slower": 1.25}, "2": {"slower": 1.3}}
    monkeypatch.setenv("SCRIPT", json.dumps(script))
    tune("run", "study.yaml")

    status = json.loads(tune("status", "runs/small", "--json").out)

    assert status["timing_outliers"]["trials"] == [0, 1, 2]
    assert status["timing_outliers"]["machines"] == {"here": pytest.approx(0.225)}
    assert "On here, steps took 22% more time than benchmarked" in tune("status", "runs/small").out


def test_a_study_goes_on_only_on_its_own_kind_of_device(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.is_dir()
    tune("run", "study.yaml", "--trials", "1")
    monkeypatch.setenv("SCRIPT", json.dumps({"device": "other"}))

    refused = tune("run", "study.yaml")

    assert refused.code == 2
    assert "was measured on scripted, and this machine's device is other" in refused.err
    assert len(json.loads(tune("trials", "runs/small", "--format", "json").out)) == 1


def test_a_study_on_a_cpu_goes_on_only_with_as_many_threads_for_a_worker(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.is_dir()
    tune("run", "study.yaml", "--trials", "1")
    monkeypatch.setenv("SCRIPT", json.dumps({"threads": 2}))

    refused = tune("run", "study.yaml")

    assert refused.code == 2
    assert "measured with 1 CPU threads for each worker, and here a worker has 2" in refused.err
    assert len(json.loads(tune("trials", "runs/small", "--format", "json").out)) == 1
