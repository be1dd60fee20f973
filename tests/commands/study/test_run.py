"""The command ``run``: its lines, dry runs, warm starts, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT
from effv2_tune.search import read_study
from effv2_tune.search.storage.base import OURS
from effv2_tune.search.storage.database import DatabaseStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


def test_run_says_one_line_for_each_event_and_prints_the_front(tune: Tune) -> None:
    done = tune("run", "study.yaml")

    assert done.code == 0
    assert done.out.splitlines()[0].split() == [
        *("trial", "validation", "accuracy", "expected", "on", "front"),
        *("training", "time", "network", "remark", "weight", "decay"),
    ]
    lines = done.err.splitlines()
    assert lines[0] == "small: starts"
    assert [line for line in lines if re.match(r"\[\d/4\] trial \d: complete, accuracy 0\.", line)]
    assert sum(line.startswith("compiled b0@") for line in lines) == 2
    assert "\x1b" not in done.out + done.err
    assert lines[-1] == "Next: effv2-tune export runs/small --pick knee -o train.yaml"


def test_a_worker_that_has_grown_and_checkpoints_set_aside_are_told(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune("run", "study.yaml", "--trials", "1")
    for database in (folder / "runs/small").glob("study.db*"):
        database.unlink()
    monkeypatch.setenv("SCRIPT", json.dumps({"1": {"memory_bytes": 12_340_000_000_000}}))

    said = tune("run", "study.yaml").err

    assert "\nworker 0 uses 12340.0 GB of memory and is replaced\n" in said
    assert "trial 0: starts over; the checkpoints found in its folder are kept as " in said
    assert (folder / "runs/small/checkpoints/trial-00000.before-1").is_dir()


def test_run_with_json_prints_json_alone(tune: Tune) -> None:
    status = json.loads(tune("run", "study.yaml", "--json").out)

    assert status["states"] == {"complete": 4}
    assert status["front"][0]["on_front"] is True


def test_fewer_trials_than_were_done_ends_at_once_and_loses_none(tune: Tune, study: Path) -> None:
    done = tune("run", "study.yaml", "--trials", "2")

    assert done.code == 0
    assert "changed: trials: 4 -> 2" in done.err
    assert "resuming after 4 trials" in done.err
    assert len(read_study(study).trials) == 4


def test_a_dry_run_looks_at_everything_and_writes_nothing(tune: Tune, folder: Path) -> None:
    done = tune("run", "study.yaml", "--dry-run")

    assert done.code == 0
    assert done.err == ""
    assert "data      digits: 1,293 images to train, 144 to validate, 360 to test" in done.out
    assert "so far    nothing: it is new" in done.out
    assert "tensorflow on the CPU" in done.out
    assert [path.name for path in folder.iterdir()] == ["study.yaml"]


def test_a_dry_run_of_a_study_that_was_begun_says_how_far_it_is(tune: Tune, study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}

    done = tune("run", "study.yaml", "--dry-run", "--trials", "6")

    assert "so far    4 trials, 0 unfinished; the study is resumed" in done.out
    assert "changed   trials: 4 -> 6" in done.out
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_a_warm_start_tries_the_earlier_front_first(tune: Tune, study: Path) -> None:
    record = read_study(study)
    best = [record.trials[number].config for number in record.front()]

    plan = tune("run", "study.yaml", "--out", "again", "--warm-start", str(study), "--dry-run")
    done = tune("run", "study.yaml", "--out", "again", "--warm-start", str(study))

    assert f"first     {len(best)} config" in plan.out
    assert done.code == 0, done.err
    assert [trial.config for trial in read_study("again").trials[: len(best)]] == best


def test_several_warm_starts_are_kept_in_the_new_study(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text().replace("search: {", "search: {engine: freeze_thaw, ")
    Path("thaw.yaml").write_text(text)
    shutil.copytree(study, "copy")

    options = ("run", "thaw.yaml", "--out", "thaw")
    done = tune(*options, "--warm-start", str(study), "--warm-start", "copy", "--trials", "1")
    shutil.rmtree("copy")
    resumed = tune(*options, "--trials", "3")

    assert (done.code, resumed.code) == (0, 0), done.err + resumed.err
    with closing(DatabaseStorage("sqlite:///thaw/study.db", "small")) as storage:
        kept = storage.attributes()[f"{OURS}earlier"]
    measured = [trial for trial in read_study(study).trials if trial.measurement is not None]
    assert [len(one["curves"]) for one in kept] == [len(measured)] * 2


def test_a_warm_start_with_nothing_to_try_says_so(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text().replace("[32, 64]", "[96, 128]")
    Path("large.yaml").write_text(text)

    done = tune("run", "large.yaml", "--out", "large", "--warm-start", str(study))

    assert done.code == 2
    assert "has no config in the search space of small" in done.err
    assert not Path("large").exists()


def test_a_study_whose_trials_fail_one_after_another_exits_with_1(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ", ".join(f'"{number}": {{"outcome": "failed"}}' for number in range(1, 9))
    monkeypatch.setenv("SCRIPT", f"{{{failing}}}")

    done = tune("run", "study.yaml", "--trials", "9")

    assert done.code == EXIT_FAILED
    assert "as the script says" in done.err
    assert "Report: " in done.err


def test_the_folder_of_another_study_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    for option in ((), ("--dry-run",)):
        done = tune("run", "quickstart", "--out", str(study), *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "holds another study, small" in done.err


def test_a_study_with_another_recipe_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 5"))

    for option in ((), ("--dry-run",)):
        done = tune("run", "study.yaml", *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "recipe.epochs: 4 -> 5" in done.err
    assert study.is_dir()


@pytest.mark.slow
def test_eight_workers_begin_after_all_buckets_were_timed_on_the_target(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    text = (folder / "study.yaml").read_text()
    keys = "backend: jax\nworkers: 8\ndevices_per_worker: 1\ntarget: {devices: 8}\n"
    (folder / "study.yaml").write_text(text + keys)

    planned = tune("run", "study.yaml", "--dry-run").out
    done = tune("run", "study.yaml")

    assert "workers   8, with 1 device each\ntarget    8 devices\n" in planned
    assert done.code == 0
    lines = done.err.splitlines()
    timed = [line for line in lines if line.startswith("timed b0@")]
    assert len(timed) == 2
    change = lines.index("the worker on the target gives way to the others")
    assert max(map(lines.index, timed)) < change
    assert all(lines.index(line) > change for line in lines if line.startswith("worker 0: "))
    assert not any("waits for the target" in line for line in lines)
    record = read_study(folder / "runs" / "small")
    assert {trial.state for trial in record.trials} == {"complete"}


def test_workers_that_are_to_be_chosen_are_reported_and_stay_the_same(
    tune: Tune, folder: Path
) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text + "workers: auto\n")

    assert (
        "workers   auto: chosen when the study starts" in tune("run", "study.yaml", "--dry-run").out
    )
    done = tune("run", "study.yaml")

    assert done.code == 0
    assert "workers: 1 with 1 device each, of 1; trials in an hour" in done.err
    again = tune("run", "study.yaml", "--trials", "5")
    assert again.code == 0
    assert "changed: trials: 4 -> 5" in again.err
    assert "changed: workers" not in again.err
