"""What `plan` says, of this machine, of one that is not here, and after a measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT
from effv2_tune.files.checked_json import read_checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    Tune = Callable[..., Outcome]

TINY = """\
name: little
data: {name: digits, train: 300, validation: 100}
recipe: {variant: tiny, epochs: 2, epsilon: 1e-7, batch_size: 64}
search_space:
  weight_decay: {type: float, low: 1e-6, high: 1e-1, scale: log}
  resolution: {type: choice, values: [32, 64]}
trials: 6
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own: what was measured on this machine before is not looked at."""
    monkeypatch.setenv("EFFV2_TUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_plan_says_everything_in_words_and_that_a_roofline_is_none(tune: Tune) -> None:
    said = tune("plan", "study.yaml").out

    assert "resident on the device" in said
    header = next(line for line in said.splitlines() if line.lstrip().startswith("network"))
    assert {"trials", "weights", "GFLOP/image", "memory", "epoch"} <= set(header.split())
    rows = [line for line in said.splitlines() if line.lstrip().startswith("b0@")]
    assert [row.split()[0] for row in rows] == ["b0@32", "b0@64"]
    assert all(row.endswith("roofline") for row in rows)
    assert "it may be off by a factor of 3; --measure times a few steps" in said
    assert "disk: up to" in said
    assert "are free" in said
    assert "cost: 4 trials:" in said
    assert "in 1 session of 9 h" in said


def test_a_plan_for_another_device_counts_its_sessions(tune: Tune) -> None:
    plan = json.loads(
        tune("plan", "study.yaml", "--device", "v5e-8", "--session-hours", "0.0001", "--json").out
    )

    assert plan["device"]["device_kind"] == "TPU v5 lite"
    assert plan["device"]["device_count"] == 8
    assert plan["device"]["precision"] == "mixed_bfloat16"
    assert plan["data"]["tier"] == "resident"
    assert [one["fits"] for one in plan["buckets"]] == [True, True]
    assert {one["time_source"] for one in plan["buckets"]} == {"roofline"}
    assert sum(one["share"] for one in plan["buckets"]) == pytest.approx(1)
    assert plan["cost"]["sessions"] == -(-plan["cost"]["hours"] // 0.0001)
    assert plan["disk"]["total"] == plan["disk"]["out"] + plan["disk"]["cache"]


def test_a_bucket_that_does_not_fit_is_marked_and_told(tune: Tune) -> None:
    study = Path("study.yaml")
    study.write_text(
        study.read_text()
        .replace("values: [32, 64]", "values: [32, 480]")
        .replace("epochs: 4", "epochs: 4, batch_size: 1024")
    )

    said = tune("plan", "study.yaml", "--device", "t4").out

    assert said.count(" GB !") == 1
    assert "! b0@480 batch 1024 does not fit: it is predicted to need" in said
    assert "of 12 GB" in said
    assert "as infeasible; estimated to fit: batch " in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--device", "v5a"), "Unknown device 'v5a', did you mean 'v5e'"),
        (
            ("--device", "v5e", "--measure"),
            "--measure profiles this machine's device, not --device v5e",
        ),
        (("--device", "v5e-3"), "batch_size: 128 cannot be divided evenly over 3 devices"),
        (("--session-hours", "0"), "--session-hours"),
    ],
)
def test_what_cannot_be_planned_is_told(
    tune: Tune, arguments: tuple[str, ...], sentence: str
) -> None:
    done = tune("plan", "study.yaml", *arguments)

    assert done.code == 2
    assert sentence in done.err
    assert done.out == ""


@pytest.mark.slow
def test_what_is_measured_in_a_worker_is_kept_and_corrects_the_rest(
    tune: Tune, cache: Path
) -> None:
    Path("tiny.yaml").write_text(TINY)

    done = tune("plan", "tiny.yaml", "--measure", "--at-most", "1", "--json")
    again = json.loads(tune("plan", "tiny.yaml", "--json").out)

    assert done.code == 0, done.err
    assert done.err.splitlines()[0] == "measuring 1/1: tiny@32 batch 64"
    plan = json.loads(done.out)
    measured, scaled = plan["buckets"]
    assert (measured["time_source"], scaled["time_source"]) == ("measured", "scaled")
    # A framework and a small network: more than the one, less than ten of them.
    assert 0.3e9 < measured["measured_memory_bytes"] < 5e9
    assert measured["memory_bytes"]["total"] == pytest.approx(
        measured["measured_memory_bytes"], rel=0.5
    )
    assert measured["epoch_seconds"] == pytest.approx(4 * measured["step_seconds"])
    (kept,) = (cache / "measured").glob("*.json")
    written = read_checked(kept)
    assert written is not None
    assert written["step_seconds"] == measured["step_seconds"]
    assert set(written["versions"]) == {"keras", "tensorflow"}
    recorded, other = again["buckets"]
    assert (recorded["time_source"], other["time_source"]) == ("recorded", "scaled")
    assert recorded["step_seconds"] == measured["step_seconds"]
    assert other["step_seconds"] == pytest.approx(scaled["step_seconds"])
    assert recorded["time_origin"].startswith("measured by plan --measure on 20")


def test_workers_are_chosen_by_the_trials_in_an_hour_and_the_target_is_all_chips(
    tune: Tune, folder: Path
) -> None:
    # Long enough that the minute on the target pays.
    text = (folder / "study.yaml").read_text()
    text = text.replace("epochs: 4", "epochs: 100").replace("trials: 4", "trials: 1000")
    (folder / "auto.yaml").write_text(text + "workers: auto\n")

    said = tune("plan", "auto.yaml", "--device", "v5e-8").out
    plan = json.loads(tune("plan", "auto.yaml", "--device", "v5e-8", "--json").out)

    (choice,) = (line for line in said.splitlines() if line.startswith("workers: "))
    assert "workers: 8 with 1 device each, of 8; trials in an hour" in choice
    assert all(f"{count} x " in choice for count in (8, 4, 2, 1))
    assert "training time is that of the target, 8 x TPU v5 lite" in said
    assert "to time the buckets on the target" in said
    assert plan["device"]["device_count"] == 1
    assert {bucket["target"]["device_count"] for bucket in plan["buckets"]} == {8}


def test_more_chips_than_the_named_device_has_are_refused(tune: Tune, folder: Path) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "eight.yaml").write_text(text + "workers: 8\n")

    done = tune("plan", "eight.yaml", "--device", "v5e-4")

    assert done.code == EXIT_WRONG_INPUT
    assert "workers: 8 with 1 device each exceeds the 4 devices of v5e-4" in done.err
    assert "Plan for v5e-8" in done.err
    assert tune("plan", "eight.yaml", "--device", "v5e-8").code == 0


def test_workers_on_a_v3_8_are_planned_with_a_chip_of_two_devices_each(
    tune: Tune, folder: Path
) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "four.yaml").write_text(text + "workers: 4\n")
    (folder / "single.yaml").write_text(text + "workers: 8\ndevices_per_worker: 1\n")

    four = json.loads(tune("plan", "four.yaml", "--device", "v3-8", "--json").out)
    single = tune("plan", "single.yaml", "--device", "v3-8")

    assert four["device"]["device_count"] == 2
    assert four["device"]["memory_bytes"] == 16e9
    assert single.code == EXIT_WRONG_INPUT
    assert "devices_per_worker: 1 would divide a chip of v3-8" in single.err
