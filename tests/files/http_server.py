"""A server of files whose connections fail on request."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server:
    """Serves ``files`` on 127.0.0.1, with Range, and with the faults that are asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/file": CONTENT}
        self.requests: list[tuple[str, str | None]] = []
        self.cut_after: list[int] = []
        self.knows_ranges = True
        self.status: int | None = None
        self.claimed_size: int | None = None
        self.on_request: Callable[[str], None] = lambda _: None
        self.answers = threading.Event()
        self.answers.set()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Listener(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing: clients that leave are what is tested."""

        self.http = Listener(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        self.on_request(request.path)
        self.answers.wait()
        content = self.files.get(request.path)
        if content is None or self.status:
            request.send_error(self.status or 404)
            return
        if asked == "bytes=0-0" and self.knows_ranges:
            request.send_response(206)
            request.send_header("Content-Length", "1")
            size = self.claimed_size or len(content)
            request.send_header("Content-Range", f"bytes 0-0/{size}")
            request.end_headers()
            request.wfile.write(content[:1])
            return
        start = int(asked[len("bytes=") : -1]) if asked and self.knows_ranges else 0
        if start and start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + self.cut_after.pop(0) if self.cut_after else len(content)
        request.wfile.write(content[start:end])

    def close(self) -> None:
        self.answers.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
