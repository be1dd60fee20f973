"""A download is resumed when interrupted and kept only if its digest is the expected one."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.files.http_server import CONTENT, Server

from effv2_tune.catalog import WEIGHT_FILES
from effv2_tune.data.registry import KNOWN
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.files.download import Digest, PublishedFile, RetryPolicy, _TlsKept
from effv2_tune.files.download import fetch as fetch_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.files.download import OnBytes

FALLBACK_HINT = "Name its place as 'path:'."
IMPATIENT = RetryPolicy(attempts=2, timeout_seconds=5, pause_seconds=0)
RIGHT = Digest("md5", hashlib.md5(CONTENT).hexdigest())  # noqa: S324 - what publishers state


def fetch(
    urls: list[str],
    destination: Path,
    *,
    retries: RetryPolicy = IMPATIENT,
    on_bytes: OnBytes = lambda *_: None,
) -> Path:
    file = PublishedFile(urls, destination, RIGHT, FALLBACK_HINT)
    return fetch_file(file, on_bytes=on_bytes, retries=retries)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def test_a_download_is_checked_reported_and_made_once(server: Server, tmp_path: Path) -> None:
    seen: list[Any] = []

    for _ in range(2):
        path = fetch(
            [f"{server.address}/file"],
            tmp_path / "a/file",
            on_bytes=lambda done, total: seen.append((done, total)),
        )

    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert [done for done, _ in seen] == [0, 1 << 20, 2 << 20, len(CONTENT)]
    assert {total for _, total in seen} == {len(CONTENT)}
    assert sorted(one.name for one in (tmp_path / "a").iterdir()) == ["file", "file.lock"]


def test_a_broken_connection_is_continued_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1_000_000]

    fetch([f"{server.address}/file"], tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [("/file", None), ("/file", "bytes=1000000-")]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_the_next_run_continues_a_download_if_the_server_can(
    server: Server, tmp_path: Path, *, knows_ranges: bool
) -> None:
    server.cut_after = [1_000_000, 500_000]
    with pytest.raises(TuneError, match="the connection broke after 1,500,000 of 3,000,000"):
        fetch([f"{server.address}/file"], tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size == 1_500_000
    server.knows_ranges = knows_ranges

    fetch([f"{server.address}/file"], tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.requests[-1] == ("/file", "bytes=1500000-")


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 4_000_000)

    fetch([f"{server.address}/file"], tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_harmed_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:-1] + b"x")

    fetch([f"{server.address}/file"], tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_bytes_are_never_kept_and_the_next_address_is_tried(
    server: Server, tmp_path: Path
) -> None:
    server.files["/wrong"] = b"wrong"
    addresses = [f"{server.address}/{name}" for name in ("gone", "wrong")]
    with pytest.raises(
        TuneError, match="provided another file than the published one: its md5 is"
    ) as failed:
        fetch(addresses, tmp_path / "file")
    assert "HTTP status 404" in failed.value.message
    assert "'path:'" in str(failed.value.hint)
    assert failed.value.exit_code == EXIT_FAILED
    assert [one.name for one in tmp_path.iterdir()] == ["file.lock"]

    fetch([*addresses, f"{server.address}/file"], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_is_not_there_or_fails_is_asked_again_and_then_reported(
    server: Server, tmp_path: Path
) -> None:
    server.status = 503
    with pytest.raises(TuneError, match="HTTP status 503"):
        fetch([f"{server.address}/file"], tmp_path / "file")
    assert len(server.requests) == 2

    with pytest.raises(TuneError, match="refused"):
        fetch(["http://127.0.0.1:9/file"], tmp_path / "file")


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")

    with pytest.raises(TuneError, match="cannot be written") as failed:
        fetch(["http://127.0.0.1:9/file"], tmp_path / "cache/file")
    assert "EFFV2_TUNE_CACHE" in str(failed.value.hint)


def test_the_size_of_a_file_is_asked_for_without_downloading_it(
    server: Server, tmp_path: Path
) -> None:
    urls = [f"{server.address}/gone", f"{server.address}/file"]
    file = PublishedFile(urls, tmp_path / "a/file", RIGHT, FALLBACK_HINT)

    assert file.reach(IMPATIENT) == (0, len(CONTENT))
    server.knows_ranges = False
    assert file.reach(IMPATIENT) == (0, len(CONTENT))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 503])
def test_a_file_that_no_server_has_is_an_error_of_the_place(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.status = status
    file = PublishedFile([f"{server.address}/file"], tmp_path / "file", RIGHT, FALLBACK_HINT)

    with pytest.raises(TuneError, match=f"/file: HTTP status {status}") as failed:
        file.reach(IMPATIENT)

    assert failed.value.exit_code == EXIT_FAILED
    assert len(server.requests) == (1 if status == 404 else IMPATIENT.attempts)


def test_a_redirection_to_plain_http_is_refused() -> None:
    request = urllib.request.Request("https://example.org/file")

    with pytest.raises(urllib.error.URLError, match="which is not https"):
        _TlsKept().redirect_request(request, None, 302, "", {}, "http://example.org/file")


def test_every_address_has_tls() -> None:
    published = [file.url for file in WEIGHT_FILES.values()]
    published += [url for known in KNOWN.values() for file in known.remote for url in file.urls]

    assert not [url for url in published if not url.startswith("https://")]
