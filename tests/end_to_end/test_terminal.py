"""Commands in a terminal of their own, and commands that are interrupted."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]
    Start = Callable[..., subprocess.Popen[str]]

COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|38;5;[0-9]+)m")
HIDDEN = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
#: A terminal erases what is before this code in a line: bars, which are cropped to its width.
ERASED = re.compile(r"^.*\x1b\[2K", re.MULTILINE)
BAR = re.compile(r"[━╸╺]")
SCRIPTED_CLI = (sys.executable, str(Path(__file__).resolve().with_name("scripted_cli.py")))


def on_a_terminal(folder: Path, *arguments: str, columns: int = 120, **env: str) -> tuple[int, str]:
    """Carry out a command whose three streams are a terminal; its exit code and what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in HIDDEN}
    with subprocess.Popen(
        [*SCRIPTED_CLI, *arguments],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color"} | env,
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
        columns=160,
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


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "study.yaml"),
        ("check", "none.yaml"),
        ("plan", "study.yaml"),
        ("run", "study.yaml", "--dry-run"),
        ("run", "study.yaml", "--no-such-option"),
        ("export", "runs/small", "--pick", "knee", "-o", "a-file-with-a-long-name.yaml"),
        ("report", "runs/small", "-o", "a-file-with-a-long-name.html"),
    ],
    ids=" ".join,
)
def test_a_terminal_shows_the_words_of_a_pipe_in_lines_that_fit(
    folder: Path, study: Path, arguments: tuple[str, ...], columns: int
) -> None:
    code, shown = on_a_terminal(folder, *arguments, columns=columns)
    for name in ("yaml", "html"):
        (folder / f"a-file-with-a-long-name.{name}").unlink(missing_ok=True)
    piped = subprocess.run(
        [*SCRIPTED_CLI, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert study.is_dir()
    assert code == piped.returncode
    assert shown.replace(" \\\r\n", "\n").split() == piped.stdout.split()
    assert too_long(shown, columns) == []


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 60])
def test_what_a_study_prints_while_it_runs_fits_a_terminal(folder: Path, columns: int) -> None:
    script = '{"epoch_seconds": 0.01}'
    for arguments in (("run", "study.yaml"), ("confirm", "runs/small", "--trials", "2")):
        code, shown = on_a_terminal(folder, *arguments, columns=columns, SCRIPT=script)

        assert code == 0, shown
        kept = CONTROL.sub("", ERASED.sub("", shown.replace("\r\n", "\n")))
        lines = "\n".join(line for line in kept.split("\n") if not BAR.search(line))
        assert too_long(lines, columns) == []
        assert "trial 0: complete, accuracy" in lines or arguments[0] == "confirm"
        assert "Report: runs/small/report.html" in shown


@pytest.mark.slow
def test_json_on_a_terminal_is_not_wrapped(folder: Path) -> None:
    _, shown = on_a_terminal(folder, "check", "study.yaml", "--json", columns=40)

    assert too_long(shown, 40)
    assert json.loads(shown)["name"] == "small"


def too_long(shown: str, columns: int) -> list[str]:
    """The lines of several words that a terminal would break."""
    lines = shown.splitlines()
    return [line for line in lines if len(line) > columns and len(line.split()) > 1]


# Start-up.
