"""Which errors are failures of the machine."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import RESUME_HINT, TuneError, UnavailableError
from effv2_tune.files.disk_errors import disk_errors
from effv2_tune.files.download import Digest, PublishedFile, RetryPolicy, fetch
from effv2_tune.files.environment_errors import environment_error

if TYPE_CHECKING:
    from pathlib import Path

#: Runs code whose files cannot grow beyond 20,000 bytes, and prints the failure of the machine.
SMALL_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import h5py, numpy as np, safetensors.numpy
from effv2_tune.files.checkpoint import Checkpoint, CheckpointFolder
from effv2_tune.files.environment_errors import environment_error
from pathlib import Path
zeros = np.zeros(100_000)
try:
    exec(sys.argv[1])
except Exception as error:
    print(environment_error(error))
"""

NAMES = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "ESTALE")
NAMES += ("ENOTCONN", "ENETUNREACH", "ECONNREFUSED", "EMFILE")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_the_machine_names_its_reason_and_its_file(name: str) -> None:
    number = getattr(errno, name)

    found = environment_error(OSError(number, os.strerror(number), "some/file"))

    assert found is not None
    assert str(found) == f"{os.strerror(number)} (some/file).\n{RESUME_HINT}"


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError("gone"), TimeoutError(), socket.gaierror(-3, "no name server")],
)
def test_an_error_of_the_network_is_one_of_the_machine(error: Exception) -> None:
    assert environment_error(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        OSError("no errno"),
        OSError(errno.EINVAL, "x"),
        OSError(errno.ENOENT, "x"),
        MemoryError(),
    ],
)
def test_any_other_error_is_none(error: Exception) -> None:
    assert environment_error(error) is None


def test_the_cause_of_an_error_counts_and_its_own_message_is_kept() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    found = environment_error(raised(TuneError("The weights are lost.", hint="Look."), full))

    assert found is not None
    assert (found.message, found.hint) == ("The weights are lost.", "Look.")
    assert environment_error(raised(RuntimeError("wrapped"), full)) is not None


def test_an_error_that_was_merely_being_handled_does_not_count() -> None:
    error = ValueError("a bug of the fallback")
    error.__context__ = PermissionError(errno.EACCES, "not allowed")

    assert environment_error(error) is None


def test_a_file_that_cannot_be_downloaded_is_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/file"
    file = PublishedFile([url], tmp_path / "file", Digest("md5", "0" * 32), "Put it there.")
    with pytest.raises(UnavailableError, match="file could not be downloaded") as caught:
        fetch(file, on_bytes=lambda *_: None, retries=RetryPolicy(attempts=1))

    assert environment_error(caught.value) is caught.value


def test_what_is_already_known_as_such_is_returned_itself(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught, disk_errors("It cannot be written", hint="H"):
        (tmp_path / "none" / "file").write_text("")

    assert environment_error(caught.value) is caught.value


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("CheckpointFolder(Path('c')).save(3, Checkpoint({'a': zeros}, {}))", "c/step-000000003"),
        ("h5py.File('a.h5', 'w').create_dataset('a', data=zeros)", "File too large"),
        ("safetensors.numpy.save_file({'a': zeros}, 'a')", "File too large"),
    ],
)
def test_the_libraries_that_write_files_are_understood(
    tmp_path: Path, code: str, expected: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert expected in done.stdout, done.stderr
    assert RESUME_HINT in done.stdout


def test_too_many_open_files_are_one(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[Any] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            opened.extend((tmp_path / "one").open("ab") for _ in range(64))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in opened:
            file.close()

    assert environment_error(caught.value) is not None
