"""What commands say on which stream, on a terminal and in a pipe, and where studies are read."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_INTERRUPTED
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]
    Start = Callable[..., subprocess.Popen[str]]

COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|38;5;[0-9]+)m")
SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))


def on_a_terminal(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Carry out a command whose three streams are a terminal; its exit code and what it showed."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [*SCRIPTED_CLI, *arguments],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "120"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # how Linux says that the other end is closed
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read what a process says on stderr up to a line with ``word``."""
    assert process.stderr is not None
    assert any(word in line for line in process.stderr), f"it never said {word!r}"


# Streams.


def test_run_says_one_line_for_each_event_and_prints_the_front(tune: Tune) -> None:
    done = tune("run", "study.yaml")

    assert done.code == 0
    assert done.out.splitlines()[0].split() == [
        *("trial", "validation", "accuracy", "training", "time"),
        *("network", "remark", "weight", "decay"),
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
    (folder / "runs/small/study.db").unlink()
    monkeypatch.setenv("SCRIPT", json.dumps({"1": {"memory_bytes": 12_340_000_000_000}}))

    said = tune("run", "study.yaml").err

    assert "\nworker 0 uses 12340.0 GB of memory and is replaced\n" in said
    assert "trial 0: starts over; the checkpoints found in its folder are kept as " in said
    assert (folder / "runs/small/checkpoints/trial-00000.before-1").is_dir()


def test_run_with_json_prints_json_alone(tune: Tune) -> None:
    status = json.loads(tune("run", "study.yaml", "--json").out)

    assert status["states"] == {"complete": 4}
    assert status["front"][0]["on_front"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "runs/small", "--json"),
        ("trials", "runs/small", "--format", "json"),
        ("check", "study.yaml", "--json"),
        ("plan", "study.yaml", "--json"),
        ("status", "runs/small", "--json", "--watch"),
    ],
    ids=" ".join,
)
def test_json_is_json(tune: Tune, study: Path, arguments: tuple[str, ...]) -> None:
    assert study.is_dir()
    done = tune(*arguments)

    assert done.code == 0
    assert json.loads(done.out)
    assert done.err == ""


def test_json_and_csv_keep_every_digit(tune: Tune, study: Path) -> None:
    trials = {trial.number: trial for trial in read_study(study).trials}

    rows = json.loads(tune("trials", str(study), "--format", "json").out)
    table = list(csv.DictReader(io.StringIO(tune("trials", str(study), "--format", "csv").out)))

    assert len(rows) == len(table) == 4
    for row, line in zip(rows, table, strict=True):
        exact = trials[row["trial"]].config["weight_decay"]
        assert row["weight_decay"] == float(line["weight_decay"]) == exact
    assert rows[0]["started"].startswith("20")


def test_the_table_of_trials_has_one_line_each(tune: Tune, study: Path) -> None:
    lines = tune("trials", str(study)).out.splitlines()

    assert len(lines) == 2 + 4
    assert lines[0].split() == [
        *("on_front", "state", "quality", "train_seconds", "epochs_trained", "bucket"),
        *("weight_decay", "resolution"),
    ]


def test_a_report_goes_where_it_is_told_and_says_so(tune: Tune, study: Path) -> None:
    there = tune("report", str(study))
    elsewhere = tune("report", str(study), "-o", "new/front.html")

    assert there.out == "runs/small/report.html\n"
    assert elsewhere.out == "new/front.html\n"
    assert "effv2-tune export runs/small" in Path("new/front.html").read_text()


def test_fewer_trials_than_were_done_ends_at_once_and_loses_none(tune: Tune, study: Path) -> None:
    done = tune("run", "study.yaml", "--trials", "2")

    assert done.code == 0
    assert "changed: trials: 4 -> 2" in done.err
    assert "resuming after 4 trials" in done.err
    assert len(read_study(study).trials) == 4


# Dry runs.


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


# Databases.


def test_a_study_in_a_database_is_read_by_its_url(tune: Tune, folder: Path) -> None:
    url = f"sqlite:///{folder}/shared.db"
    for name in ("small", "other"):
        text = Path("study.yaml").read_text().replace("name: small", f"name: {name}")
        Path("named.yaml").write_text(text)
        assert tune("run", "named.yaml", "--storage", url, "--dry-run").code == 0
        ran = tune("run", "named.yaml", "--storage", url)
        assert ran.code == 0
        assert f"Next: effv2-tune export {url} --name {name} --pick knee" in ran.err

    assert "It holds: other, small." in tune("status", url).err
    assert json.loads(tune("status", url, "--name", "other", "--json").out)["study"] == "other"
    assert len(tune("trials", url, "--name", "small", "--format", "csv").out.splitlines()) == 5
    assert tune("report", url, "--name", "small").out == "runs/small/report.html\n"
    assert tune("export", url, "--name", "small").out == "train.yaml\n"
    assert "so far    4 trials" in tune("run", "study.yaml", "--storage", url, "--dry-run").out


def test_the_folder_of_a_study_in_a_database_says_where_its_trials_are(
    tune: Tune, folder: Path
) -> None:
    tune("run", "study.yaml", "--storage", f"sqlite:///{folder}/shared.db")

    done = tune("status", "runs/small")

    assert "whose trials are in a database" in done.err
    assert "--name" in done.err


def test_a_password_is_not_shown(tune: Tune) -> None:
    pytest.importorskip("sqlite3")
    done = tune("status", "postgresql+psycopg://me:secret@127.0.0.1:9/none", "--name", "x")

    assert done.code == 2
    assert "secret" not in done.out + done.err


# Warm starts.


def test_a_warm_start_tries_the_earlier_front_first(tune: Tune, study: Path) -> None:
    record = read_study(study)
    best = [record.trials[number].config for number in record.front()]

    plan = tune("run", "study.yaml", "--out", "again", "--warm-start", str(study), "--dry-run")
    done = tune("run", "study.yaml", "--out", "again", "--warm-start", str(study))

    assert f"first     {len(best)} config" in plan.out
    assert done.code == 0, done.err
    assert [trial.config for trial in read_study("again").trials[: len(best)]] == best


def test_a_warm_start_with_nothing_to_try_says_so(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text().replace("[32, 64]", "[96, 128]")
    Path("large.yaml").write_text(text)

    done = tune("run", "large.yaml", "--out", "large", "--warm-start", str(study))

    assert done.code == 2
    assert "has no config in the search space of small" in done.err
    assert not Path("large").exists()


def test_a_page_is_not_written_under_the_name_of_a_picture(tune: Tune, study: Path) -> None:
    done = tune("report", str(study), "-o", "front.png")

    assert done.code == 2
    assert "--picture front.png" in done.err
    assert not Path("front.png").exists()


# Interruptions.


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_exits_with_130_and_goes_on(
    start: Start, tune: Tune, sign: signal.Signals
) -> None:
    process = start("run", "study.yaml", "--json", SCRIPT='{"2": {"epoch_seconds": 30}}')
    wait_for(process, "[2/4]")
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)

    assert process.returncode == EXIT_INTERRUPTED
    assert out == ""
    assert err.endswith("Interrupted. Rerun the same command to resume.\n")
    assert "Traceback" not in err

    again = tune("run", "study.yaml", "--json")
    assert again.code == 0
    assert json.loads(again.out)["states"] == {"complete": 4}
    assert "small: resuming after 2 trials" in again.err


@pytest.mark.slow
def test_an_interrupted_watch_says_nothing(start: Start, tune: Tune) -> None:
    running = start("run", "study.yaml", SCRIPT='{"epoch_seconds": 30}')
    wait_for(running, "compiled")
    seen = tune("status", "runs/small")
    watch = start("status", "runs/small", "--watch", "--json")
    assert watch.stdout is not None
    line = json.loads(watch.stdout.readline())
    watch.send_signal(signal.SIGINT)
    out, err = watch.communicate(timeout=30)

    assert "running: trial 0, epoch 0 of 4" in seen.out
    assert "not ended" in seen.out
    assert line["states"] == {"running": 1}
    assert watch.returncode == EXIT_INTERRUPTED
    assert out + err == ""
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == EXIT_INTERRUPTED


def test_watch_ends_with_the_study(tune: Tune, study: Path) -> None:
    assert tune("status", str(study), "--watch").code == 0


# Terminals.


@pytest.mark.slow
def test_a_terminal_gets_bars_and_a_table(folder: Path) -> None:
    code, shown = on_a_terminal(
        folder, "run", "study.yaml", "--trials", "2", SCRIPT='{"epoch_seconds": 0.1}'
    )

    assert code == 0
    assert COLOUR.search(shown)
    assert re.search(r"trial 1 epochs .*━.*[123]/4", shown)
    assert "[2/2] trial 1: complete" in shown
    assert "trial 0: weight decay" not in shown.replace("[1/2] trial 0: complete", "")
    assert "┃" in shown


@pytest.mark.slow
def test_no_color_is_respected_on_a_terminal(folder: Path) -> None:
    _, shown = on_a_terminal(folder, "run", "study.yaml", "--trials", "1", NO_COLOR="1")
    _, refused = on_a_terminal(folder, "run", "none.yaml", NO_COLOR="1")

    assert not COLOUR.search(shown)
    assert "\x1b" not in refused


# Start-up.


@pytest.mark.parametrize("command", ["status", "run --dry-run", "doctor", "export -o new.yaml"])
def test_what_only_reads_loads_no_framework(
    study: Path, run_python: Callable[..., str], command: str
) -> None:
    name, *options = command.split()
    target = {"run": ["study.yaml"], "doctor": []}.get(name, [str(study)])
    code = (
        "import sys, json\n"
        "from effv2_tune.cli import run\n"
        f"assert run({[name, *target, *options]!r}) == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    loaded = set(json.loads(run_python(code).splitlines()[-1]))

    # A dry run reads the digits: scikit-learn loads pandas wherever it is installed.
    assert {"tensorflow", "keras", "jax", "optuna", "plotly"} & loaded == set()
    assert command == "run --dry-run" or "pandas" not in loaded
