"""The dashboard of a study that runs, is killed, and is continued."""

from __future__ import annotations

import http.client
import json
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.chromium import NEEDS_CHROMIUM, Browser

from effv2_tune.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.slow


@pytest.fixture
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Browser]]:
    with (
        Browser(tmp_path_factory.mktemp("one")) as one,
        Browser(tmp_path_factory.mktemp("other")) as other,
    ):
        yield one, other


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    assert any(word in line for line in process.stderr), f"it never said {word!r}"


def progress(url: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", "/progress")
    found: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return found


def waits_in(trial: int) -> str:
    """A script by which a study goes no further than the first epoch of a trial."""
    return json.dumps({str(trial): {"epoch_seconds": 600}})


@NEEDS_CHROMIUM
def test_it_follows_a_study_through_its_kill_and_continuation_to_its_end(
    start: Start, browsers: tuple[Browser, Browser]
) -> None:
    running = start("run", "study.yaml", SCRIPT=waits_in(1))
    wait_for(running, "[1/4]")
    url = first_line(start("dashboard", "small", "--port", "0"))
    one, other = browsers
    one.show(url)
    state = "document.getElementById('live-state').textContent"

    one.until("document.getElementById('live-count').textContent === '1 of 4 trials'")
    one.until("document.querySelector('#live-work li')?.textContent.startsWith('Trial 1')")
    assert one.evaluate(state).startswith("Running since")

    running.kill()
    running.wait()
    one.until(f"{state}.startsWith('Interrupted since')", seconds=40)
    again = start("run", "study.yaml", SCRIPT='{"epoch_seconds": 0.3}')
    other.show(url)
    for browser in browsers:
        browser.until(f"{state}.startsWith('Ended')", seconds=60)
        browser.until("Object.keys(report.data.trials).length === 4")
        browser.until("document.querySelectorAll('#trials-table tbody tr').length === 4")
        assert browser.complaints == []
        local = (url, "data:", "blob:", "about:")
        assert [each for each in browser.requests if not each.startswith(local)] == []
    assert again.wait(timeout=60) == 0
    assert progress(url)["ended"] == 4


@NEEDS_CHROMIUM
def test_what_a_reader_has_chosen_stays_while_the_study_grows(
    start: Start, browsers: tuple[Browser, Browser]
) -> None:
    running = start("run", "study.yaml", SCRIPT=waits_in(2))
    wait_for(running, "[2/4]")
    url = first_line(start("dashboard", "small", "--port", "0"))
    browser, _ = browsers
    browser.show(url)
    browser.evaluate(
        "report.pin(0); const words = document.getElementById('filter-words');"
        "words.value = 'front'; words.dispatchEvent(new Event('input')); words.focus();"
        "document.getElementById('filter-columns').open = true"
    )

    running.kill()
    running.wait()
    assert start("run", "study.yaml").wait(timeout=60) == 0
    browser.until("Object.keys(report.data.trials).length === 4", seconds=40)
    browser.until("document.querySelectorAll('#trials-table tbody tr').length === 4")

    assert browser.evaluate("report.pinned") == 0
    assert browser.evaluate("document.getElementById('pinned').hidden") is False
    assert browser.evaluate("document.activeElement.value") == "front"
    assert browser.evaluate("document.getElementById('filter-columns').open") is True
    assert browser.complaints == []


def test_it_ends_with_ctrl_c_and_says_nothing_more(start: Start, study: Path) -> None:
    process = start("dashboard", str(study), "--port", "0")
    assert first_line(process).startswith("http://127.0.0.1:")

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == EXIT_INTERRUPTED
    assert out + err == ""
