"""Commands in a terminal of their own, and commands that are interrupted."""

from __future__ import annotations

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


# Dry runs.


# Databases.


# Warm starts.


# Interruptions.


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_study_exits_with_130_and_goes_on(
    start: Start, tune: Tune, sign: signal.Signals
) -> None:
    process = start("run", "study.yaml", "--json", SCRIPT='{"2": {"epoch_seconds": 30}}')
    wait_for(process, "[2/4]")
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)

    assert process.returncode == EXIT_INTERRUPTED
    assert json.loads(out)["states"] == {"complete": 2, "interrupted": 1}
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
    assert "\nrunning since " in seen.out
    assert line["states"] == {"running": 1}
    assert watch.returncode == EXIT_INTERRUPTED
    assert out + err == ""
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == EXIT_INTERRUPTED


# Terminals.


@pytest.mark.slow
def test_a_wide_terminal_gets_bars_and_a_table(folder: Path) -> None:
    code, shown = on_a_terminal(
        *(folder, "run", "study.yaml", "--trials", "2"),
        COLUMNS="160",
        SCRIPT='{"epoch_seconds": 0.1}',
    )

    assert code == 0
    assert COLOUR.search(shown)
    assert re.search(r"trial 1 epochs .*━.*[123]/4", shown)
    assert r"\x1b" not in shown, "the codes that move the bars are escaped"
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
