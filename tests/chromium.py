"""Drives a headless Chromium with one tab, through its own protocol over a pipe."""

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

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"
)


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
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(parameters["args"]))

    def show(
        self, page: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Open a file or a URL and wait until its figures are drawn."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        drawn = (
            "document.readyState === 'complete' && "
            "[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg')) && "
            "(typeof report === 'undefined' || report.isDrawn())"
        )
        for _ in range(200):
            if self.evaluate(drawn):
                return
            time.sleep(0.1)
        pytest.fail(f"the figures were not drawn within 20 s: {self.complaints}")

    def evaluate(self, script: str) -> Any:
        """The value of a script's last expression; of a promise, once it is fulfilled."""
        answer = self._ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, where the focus is."""
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        codes |= {"ArrowDown": 40, "Tab": 9, "PageUp": 33, "PageDown": 34}
        for key in keys:
            facts = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self._ask("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
            self._ask("Input.dispatchKeyEvent", type="keyUp", **facts)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of the window, and release it at another."""
        self._point("mouseMoved", start)
        self._point("mousePressed", start)
        self._point("mouseMoved", end)
        self._point("mouseReleased", end)

    def click(self, at: tuple[float, float]) -> None:
        """Move the mouse to a point of the window, and click there."""
        self._point("mouseMoved", (at[0] - 3, at[1] - 3))
        time.sleep(0.2)  # a figure looks for what is below the mouse once in a while
        self._point("mouseMoved", at)
        time.sleep(0.2)
        self._point("mousePressed", at)
        self._point("mouseReleased", at)

    def _point(self, kind: str, at: tuple[float, float]) -> None:
        button = "none" if kind == "mouseMoved" else "left"
        where = {"x": at[0], "y": at[1]}
        self._ask("Input.dispatchMouseEvent", type=kind, button=button, clickCount=1, **where)

    def until(self, script: str, *, seconds: float = 20.0) -> Any:
        """Wait until the value of a script is true, and return it."""
        for _ in range(int(10 * seconds)):
            value = self.evaluate(script)
            if value:
                return value
            time.sleep(0.1)
        pytest.fail(f"not within {seconds} s: {script}; {self.complaints}")

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
