"""The server of a dashboard: what it serves, to whom, and that it changes nothing."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.session.live.logs import append, ended, started

from effv2_tune.errors import TuneError
from effv2_tune.session.live.dashboard import Dashboard
from effv2_tune.session.live.server import DashboardServer, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serving(study: Path, host: str = "127.0.0.1") -> Iterator[DashboardServer]:
    with DashboardServer(Dashboard(study), host, 0) as server, server.following():
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(study: Path) -> Iterator[DashboardServer]:
    with serving(study) as started_one:
        yield started_one


def answer(
    server: DashboardServer, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def test_the_page_its_content_and_its_progress_are_served(server: DashboardServer) -> None:
    status, page, headers = answer(server, "/")

    assert status == 200
    assert page.startswith("<!doctype html>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert len(json.loads(answer(server, "/content")[1])["data"]["trials"]) == 4
    assert json.loads(answer(server, "/progress")[1])["limit"] == 4
    assert answer(server, "/study.db")[0] == 404
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(server: DashboardServer, method: str) -> None:
    assert answer(server, "/", method=method)[0] == 501


def test_a_name_that_is_not_of_this_machine_is_refused(server: DashboardServer) -> None:
    assert answer(server, "/", Host="rebound.example")[0] == 421
    assert answer(server, "/progress", Host="localhost:1")[0] == 200


def read_event(response: http.client.HTTPResponse) -> dict[str, object]:
    assert response.readline() == b"event: progress\n"
    line = response.readline()
    assert line.startswith(b"data: ")
    assert response.readline() == b"\n"
    event: dict[str, object] = json.loads(line[6:])
    return event


def test_two_browsers_receive_every_change(server: DashboardServer, study: Path) -> None:
    port = server.server_address[1]
    browsers = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(2)]
    streams = []
    for browser in browsers:
        browser.request("GET", "/events")
        streams.append(browser.getresponse())
    first = [read_event(stream)["ended"] for stream in streams]

    append(study / "events.jsonl", 1.8e9, started(), ended(0))

    assert first == [4, 4]
    assert [read_event(stream)["ended"] for stream in streams] == [1, 1]
    for stream, browser in zip(streams, browsers, strict=True):
        stream.close()
        browser.close()


def test_beyond_this_machine_a_token_is_needed(study: Path) -> None:
    with serving(study, "0.0.0.0") as server:  # noqa: S104
        assert len(server.token) >= 32
        assert server.url.endswith(f"/?token={server.token}")
        for path in ("/", "/content", "/events", "/progress", "/?token=wrong"):
            status, text, headers = answer(server, path)
            assert (status, text) == (403, "Forbidden\n")
            assert "Set-Cookie" not in headers
        status, _, headers = answer(server, f"/?token={server.token}")
        cookie = headers["Set-Cookie"]

        assert status == 200
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert answer(server, "/progress", Cookie=cookie.split(";")[0])[0] == 200
        assert answer(server, "/progress", Cookie="effv2-tune-token=wrong")[0] == 403


def test_a_port_that_is_taken_is_an_error_with_a_way_out(
    server: DashboardServer, study: Path
) -> None:
    with pytest.raises(TuneError, match="Address already in use") as caught:
        DashboardServer(Dashboard(study), "127.0.0.1", server.server_address[1])

    assert "--port" in str(caught.value.hint)


def test_streams_end_with_the_dashboard(study: Path) -> None:
    with serving(study) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        read_event(stream)
        server.dashboard.close()

        assert b"event" not in stream.read()
        connection.close()


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("192.168.1.4", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, *, is_here: bool) -> None:
    assert is_loopback(host) == is_here
