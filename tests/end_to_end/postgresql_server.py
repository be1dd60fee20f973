"""A PostgreSQL server of its own, which can be restarted and stopped, and what survives that."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: Of an empty database.
        control: The command `pg_ctl` with the options of this server.
        start_options: More of them, to start it.
    """

    url: str
    control: tuple[str, ...]
    start_options: tuple[str, ...]

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        as_its_user(*self.control, *self.start_options, "start")

    def stop(self) -> None:
        """Stop it as a crash does: transactions are cut off, and recovered at the next start."""
        as_its_user(*self.control, "-m", "immediate", "stop")


def restart_server(server: Server, *, absent_seconds: float = 0.0) -> None:
    """Crash a server and start it again, after a while."""
    server.stop()
    time.sleep(absent_seconds)
    server.start()


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A new server, which is deleted at the end.

    Raises:
        FileNotFoundError: PostgreSQL's server is not installed.
    """
    tools = programs()
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        as_its_user(str(tools / "initdb"), "-D", data, "-A", "trust", "-U", "someone")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        server = Server(
            url=f"postgresql+psycopg://someone@127.0.0.1:{port}/postgres",
            control=(str(tools / "pg_ctl"), "-D", data, "-w"),
            start_options=("-l", str(folder / "log"), "-o", options),
        )
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # it is stopped already
                server.stop()


def programs() -> Path:
    """The folder of PostgreSQL's own programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not folders:
        raise FileNotFoundError("PostgreSQL's server is not installed")
    return folders[-1].parent


def as_its_user(*command: str) -> None:
    """Run a command of PostgreSQL's, which refuses to work as root."""
    whole = ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else [*command]
    subprocess.run(whole, check=True, capture_output=True, cwd="/", timeout=120)
