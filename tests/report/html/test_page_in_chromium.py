"""The page in a real browser, driven through Chromium's own protocol over a pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from effv2_tune.report.html.page import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from effv2_tune.report.input import ReportInput

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"
    ),
]


class Browser:
    """One headless Chromium with one tab; remembers requests and complaints."""

    def __init__(self, profile: Path) -> None:
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync"
        switches += " disable-background-networking disable-component-update disable-dev-shm-usage"
        switches += " hide-scrollbars"
        command = [str(CHROMIUM), *(f"--{switch}" for switch in switches.split())]
        command += [f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]

        # Chromium reads from descriptor 3 and writes to 4; the shell puts our pipes there.
        place = f'exec "$0" "$@" 3<&{from_us} 4>&{to_us}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", place, *command],
            pass_fds=(from_us, to_us),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self.writer, self.reader = os.fdopen(to_browser, "wb"), os.fdopen(from_browser, "rb")
        self.asked, self.rest = 0, b""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self.tab: str | None = None
        self.tab = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    tab: str | None = None

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.asked += 1
        number = self.asked
        message = {"id": number, "method": method, "params": parameters}
        if self.tab is not None:
            message["sessionId"] = self.tab
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            chunk = self.reader.read1(1 << 20)
            assert chunk, "Chromium has gone"
            self.rest += chunk
        line, self.rest = self.rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(told["entry"]["text"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(told["args"]))

    def show(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file and wait until its figures are drawn."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=page.as_uri())
        drawn = (
            "document.readyState === 'complete' && "
            "[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))"
        )
        for _ in range(200):
            if self.evaluate(drawn):
                return
            time.sleep(0.1)
        pytest.fail(f"the figures were not drawn within 20 s: {self.complaints}")

    def evaluate(self, script: str) -> Any:
        """The value of a script's last expression."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path, *, scale: float = 1.0) -> None:
        """The whole page as a PNG."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": scale}
        shot = self._ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def use_medium(self, medium: str) -> None:
        """Apply the style rules of ``screen`` or ``print``."""
        self._ask("Emulation.setEmulatedMedia", media=medium)

    def print(self, path: Path) -> None:
        """The whole page as a PDF."""
        path.write_bytes(base64.b64decode(self._ask("Page.printToPDF")["data"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tab = None
        with contextlib.suppress(AssertionError, OSError):
            self._ask("Browser.close")
        self.writer.close()
        self.reader.close()
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(tmp_path: Path, study_maker: Callable[..., ReportInput]) -> Path:
    return write_report(study_maker(40), tmp_path / "report.html")


def test_the_page_is_drawn_without_a_complaint_or_a_request(browser: Browser, page: Path) -> None:
    browser.requests.clear()
    browser.complaints.clear()

    browser.show(page)

    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
    points = browser.evaluate("document.querySelectorAll('#plot-front-0 .point').length")
    assert points >= 20


def test_views_of_a_figure_are_exchanged_by_their_buttons(browser: Browser, page: Path) -> None:
    browser.show(page)
    title = "document.querySelector('#plot-curves .ytitle').textContent"

    before = browser.evaluate(title)
    browser.evaluate("document.querySelector('[data-show=curves-validation_loss]').click()")

    assert (before, browser.evaluate(title)) == ("validation accuracy", "validation loss")
    pressed = (
        "[...document.querySelectorAll('#curves [aria-pressed=true]')].map(b => b.textContent)"
    )
    assert browser.evaluate(pressed) == ["Validation loss"]


def test_a_column_is_sorted_up_and_down_with_empty_cells_last(browser: Browser, page: Path) -> None:
    browser.show(page)
    heads = "[...document.querySelectorAll('#trials-table th')]"
    column = browser.evaluate(f"{heads}.findIndex(h => h.textContent.startsWith('training time'))")
    button = f"document.querySelectorAll('#trials-table th button')[{column}].click()"
    rows = "[...document.querySelectorAll('#trials-table tbody tr')]"
    values = f"{rows}.map(r => r.cells[{column}].dataset.value)"

    browser.evaluate(button)
    rising = browser.evaluate(values)
    browser.evaluate(button)
    falling = browser.evaluate(values)

    numbers = [float(text) for text in rising if text]
    assert numbers == sorted(numbers)
    assert rising[len(numbers) :] == [""] * (len(rising) - len(numbers))
    assert [float(text) for text in falling if text] == sorted(numbers, reverse=True)
    assert falling[-1] == rising[-1] == ""
    assert browser.evaluate(f"{heads}[{column}].getAttribute('aria-sort')") == "descending"


def test_rows_are_filtered_by_words_state_and_front(browser: Browser, page: Path) -> None:
    browser.show(page)
    shown = "[...document.querySelectorAll('#trials-table tbody tr')].filter(r => !r.hidden).length"
    change = "document.getElementById('{0}').{1} = {2};"
    tell = "document.getElementById('{0}').dispatchEvent(new Event('input'))"

    assert browser.evaluate(shown) == 40
    browser.evaluate(change.format("filter-front", "checked", "true") + tell.format("filter-front"))
    on_front = browser.evaluate("document.querySelectorAll('#trials-table tr.front').length")
    assert browser.evaluate(shown) == on_front
    browser.evaluate(
        change.format("filter-words", "value", "'no such words'") + tell.format("filter-words")
    )
    assert browser.evaluate(shown) == 0
    assert browser.evaluate("document.getElementById('filter-shown').textContent").startswith(
        "0 of"
    )


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.show(page, width=width)

    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode_darkens_page_and_figures(browser: Browser, page: Path) -> None:
    paper = "getComputedStyle(document.querySelector('#plot-front-0 .main-svg')).backgroundColor"

    browser.show(page)
    light = browser.evaluate(paper)
    browser.show(page, dark=True)

    assert (light, browser.evaluate(paper)) == ("rgb(255, 255, 255)", "rgb(21, 27, 35)")


def test_a_print_holds_the_figures(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.show(page)

    browser.print(tmp_path / "report.pdf")
    browser.use_medium("print")
    hidden = browser.evaluate(
        "[...document.querySelectorAll('.plot')].filter(p => p.offsetHeight < 100).length"
    )
    browser.use_medium("screen")

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert hidden == 0


def test_a_thousand_trials_are_drawn(
    browser: Browser, study_maker: Callable[..., ReportInput], tmp_path: Path
) -> None:
    browser.show(write_report(study_maker(1000), tmp_path / "many.html"))

    assert browser.evaluate("document.querySelectorAll('#trials-table tbody tr').length") == 1000
