"""Serves the dashboard of a study over HTTP: a page, its content, and a stream of events."""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import socket
import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.session.live.dashboard import POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.session.live.dashboard import Dashboard

COOKIE = "effv2-tune-token"
#: Browsers that follow the events at the same time; each has a thread.
_MOST_STREAMS = 32
#: Seconds after which a stream is written to even without an event, to find out who has left.
_SIGN_OF_LIFE = 10.0


class DashboardServer(ThreadingHTTPServer):
    """The server of one dashboard; read-only.

    Args:
        dashboard: What is served.
        host: The address to listen on.
        port: The port; 0 for any free one.

    Attributes:
        dashboard: As given.
        token: What requests must have; empty where only this machine can reach the server.
        streams: Limits the streams at a time.

    Raises:
        TuneError: The address cannot be used.
    """

    daemon_threads = True

    def __init__(self, dashboard: Dashboard, host: str, port: int) -> None:
        self.dashboard = dashboard
        self._host = host
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(24)
        self.streams = threading.BoundedSemaphore(_MOST_STREAMS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise TuneError(
                f"The dashboard cannot listen on {host}, port {port}: "
                f"{getattr(error, 'strerror', None) or error}.",
                hint="Choose another port: --port N, or --port 0 for any free one.",
                exit_code=EXIT_FAILED,
            ) from error

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        is_any = self._host in ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
        name = socket.gethostname() if is_any else self._host
        host = f"[{name}]" if ":" in name else name
        query = f"?token={self.token}" if self.token else ""
        return f"http://{host}:{self.server_address[1]}/{query}"

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the study in a thread of its own; streams end afterwards."""
        ended = threading.Event()
        failures: list[BaseException] = []

        def follow() -> None:
            try:
                while not ended.wait(POLL_SECONDS):
                    self.dashboard.follow()
            except BaseException as error:
                failures.append(error)
                self.shutdown()

        thread = threading.Thread(target=follow, name="dashboard", daemon=True)
        self.dashboard.follow()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            self.dashboard.close()
            thread.join()
        if failures:
            raise failures[0]


class _Handler(BaseHTTPRequestHandler):
    server: DashboardServer
    protocol_version = "HTTP/1.1"
    timeout = 60.0  # of a browser that does not read

    def do_GET(self) -> None:
        """Answer one of the four paths."""
        path = urlsplit(self.path).path
        refusal = self._refusal()
        if refusal is not None:
            self._send(refusal, f"{refusal.phrase}\n", "text/plain")
        elif path == "/":
            self._send(HTTPStatus.OK, self.server.dashboard.page(), "text/html")
        elif path == "/content":
            self._send(HTTPStatus.OK, self.server.dashboard.content(), "application/json")
        elif path == "/progress":
            text = json.dumps(self.server.dashboard.progress())
            self._send(HTTPStatus.OK, text, "application/json")
        elif path == "/events":
            self._stream()
        else:
            self._send(HTTPStatus.NOT_FOUND, "There is no such page.\n", "text/plain")

    def _refusal(self) -> HTTPStatus | None:
        """Why a request is refused; None if it is not."""
        if self.server.token:
            given = [*self._query_tokens(), self._cookie()]
            is_known = any(
                hmac.compare_digest(one.encode(), self.server.token.encode()) for one in given
            )
            return None if is_known else HTTPStatus.FORBIDDEN
        # A name of somebody else's that resolves to this machine is not ours (DNS rebinding).
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        return None if is_loopback(name) else HTTPStatus.MISDIRECTED_REQUEST

    def _query_tokens(self) -> list[str]:
        return parse_qs(urlsplit(self.path).query).get("token", [])

    def _cookie(self) -> str:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.server.token and status == HTTPStatus.OK:
            cookie = f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self.send_header("Set-Cookie", cookie)
        self._send_common_headers()
        with suppress(OSError):  # the browser has left
            self.wfile.write(content)

    def _send_common_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()

    def _stream(self) -> None:
        """Send the progress at each change, until the browser leaves or the dashboard ends."""
        if not self.server.streams.acquire(blocking=False):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "Too many browsers.\n", "text/plain")
            return
        self.close_connection = True
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self._send_common_headers()
            dashboard = self.server.dashboard
            seen = dashboard.wait(-1, 0.0)
            while not dashboard.is_closed:
                text = json.dumps(dashboard.progress())
                self.wfile.write(f"event: progress\ndata: {text}\n\n".encode())
                seen = dashboard.wait(seen, _SIGN_OF_LIFE)
        except OSError:
            pass  # the browser has left
        finally:
            self.server.streams.release()

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002 - of the base class
        """Log nothing."""


def is_loopback(host: str) -> bool:
    """Whether an address or a name is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
