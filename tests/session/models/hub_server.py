"""A Hugging Face Hub of one user on 127.0.0.1: repositories, commits and large files."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "hf_of_ada"  # noqa: S105 - of this server alone
USER = "ada"
LARGE = (".keras", ".h5")

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Repository:
    """Its files by path, whether each of them is a large one, and its commits."""

    is_private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.h5 lfs\n"})
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=lambda: ["0" * 40])

    def siblings(self) -> list[dict[str, Any]]:
        """As the Hub lists files, with their hashes."""
        return [self._sibling(path, content) for path, content in self.files.items()]

    def _sibling(self, path: str, content: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        found = {"rfilename": path, "size": len(content), "blobId": blob.hexdigest()}
        if path in self.large:
            sha256 = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        return found


class HubServer:
    """Answers what `huggingface_hub` asks to create a repository, to commit to it and to read it.

    Attributes:
        repositories: By name.
        stored: Large files by SHA-256, as they were uploaded.
        requests: Method and path of each request.
        faults: Statuses to answer with, by a regular expression of method and path.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: dict[str, int] = {}
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.handle(self)

            def do_HEAD(self) -> None:
                server.handle(self)

            def do_POST(self) -> None:
                server.handle(self)

            def do_PUT(self) -> None:
                server.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        """Stop."""
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = request.path.partition("?")[0]
        line = f"{request.command} {path}"
        self.requests.append(line)
        status, answer, headers = self._answer(line, body, request.headers.get("Authorization"))
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _answer(self, line: str, body: bytes, authorization: str | None) -> Answer:
        for pattern, status in self.faults.items():
            if re.search(pattern, line):
                return _refused(status, "No space left.")
        if line.startswith("PUT /lfs/"):  # the storage of large files asks for no token
            return self._put(line, body)
        if authorization != f"Bearer {TOKEN}":
            return _refused(401, "Invalid credentials in Authorization header")
        routes: dict[str, Callable[[str, bytes], Answer]] = {
            r"GET /api/models/([^/]+/[^/]+)(?:/revision/main)?": self._info,
            r"GET /api/models/(.+)/tree/\w+": self._tree,
            r"(?:HEAD|GET) /(.+/resolve/.+)": self._download,
            r"POST (/api/repos/create)": self._create,
            r"POST (/api/validate-yaml)": self._validate,
            r"POST /api/models/(.+)/preupload/main": self._preupload,
            r"POST /(.+)\.git/info/lfs/objects/batch": self._batch,
            r"POST /api/models/(.+)/commit/main": self._commit,
        }
        for pattern, route in routes.items():
            if found := re.fullmatch(pattern, line):
                return route(found[1], body)
        return _refused(404, "No such page.")

    def _info(self, name: str, _: bytes) -> Answer:
        found = self.repositories.get(name)
        if found is None:
            return _refused(404, "Repository not found", code="RepoNotFound")
        facts = {"id": name, "sha": found.commits[-1], "private": found.is_private}
        return 200, facts | {"siblings": found.siblings()}, {}

    def _tree(self, name: str, _: bytes) -> Answer:
        files = [
            {
                "type": "file",
                "path": one["rfilename"],
                "size": one["size"],
                "oid": one["blobId"],
                **({"lfs": one["lfs"] | {"oid": one["lfs"]["sha256"]}} if "lfs" in one else {}),
            }
            for one in self.repositories[name].siblings()
        ]
        return 200, files, {}

    def _download(self, place: str, _: bytes) -> Answer:
        name, _, file = place.partition("/resolve/")
        commit, _, path = file.partition("/")
        content = self.repositories[name].files[path]
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        return 200, content, {"ETag": tag, "X-Repo-Commit": commit}

    def _create(self, _: str, body: bytes) -> Answer:
        asked = json.loads(body)
        if asked["organization"] != USER:
            return _refused(403, f"You have no rights in the namespace {asked['organization']!r}")
        name = f"{USER}/{asked['name']}"
        is_private = asked.get("visibility") == "private" or asked.get("private") is True
        self.repositories[name] = Repository(is_private)
        return 200, {"url": f"{self.address}/{name}"}, {}

    def _validate(self, _: str, body: bytes) -> Answer:
        front = json.loads(body)["content"].split("---\n")[1]
        assert YAML(typ="safe").load(front)["library_name"] == "keras"
        return 200, {"errors": [], "warnings": []}, {}

    def _preupload(self, _: str, body: bytes) -> Answer:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        return 200, {"files": files}, {}

    def _batch(self, _: str, body: bytes) -> Answer:
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.address}/lfs/{one['oid']}"}}
            objects.append(one | ({} if one["oid"] in self.stored else {"actions": upload}))
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _put(self, line: str, body: bytes) -> Answer:
        oid = line.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return _refused(400, "Another checksum.")
        self.stored[oid] = body
        return 200, {}, {}

    def _commit(self, name: str, body: bytes) -> Answer:
        header, *lines = [json.loads(line) for line in body.splitlines()]
        found = self.repositories[name]
        if header["value"].get("parentCommit", found.commits[-1]) != found.commits[-1]:
            return _refused(412, "The branch has moved.")
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                found.files[value["path"]] = self.stored[value["oid"]]
                found.large.add(value["path"])
            else:
                assert line["key"] == "file", "nothing else, such as a deletion"
                found.files[value["path"]] = base64.b64decode(value["content"])
        found.commits.append(hashlib.sha1(body, usedforsecurity=False).hexdigest())
        url = f"{self.address}/{name}/commit/{found.commits[-1]}"
        return 200, {"commitUrl": url, "commitOid": found.commits[-1]}, {}


def _refused(status: int, message: str, *, code: str | None = None) -> Answer:
    headers = {"X-Error-Message": message} | ({} if code is None else {"X-Error-Code": code})
    return HTTPStatus(status), {"error": message}, headers
