"""Remote folders: what is written is read back, and failures name their cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.files.remote import RemoteError, RemoteFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["folder", "file", "memory"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFolder:
    """An empty remote folder of each kind that needs no network."""
    uris = {
        "folder": str(tmp_path / "mirror"),
        "file": f"file://{tmp_path}/mirror",
        "memory": f"memory:/{tmp_path}/mirror",
    }
    return RemoteFolder(uris[request.param])


def test_what_is_written_is_read_back(remote: RemoteFolder) -> None:
    remote.check()
    assert remote.sizes("") == {}

    remote.write("a/b", [b"x" * 3_000_000])
    remote.write("a/b", [b"new"])
    remote.write("c", [b""])

    assert remote.read("a/b") == b"new"
    assert remote.sizes("a") == {"b": 3}
    assert set(remote.sizes("")) == {"a", "c"}


def test_files_and_folders_are_removed_and_missing_ones_ignored(remote: RemoteFolder) -> None:
    remote.write("a/b", [b"1"])
    remote.write("c", [b"2"])

    for name in ("a", "c", "c", "never"):
        remote.remove(name)

    assert remote.sizes("") == {}
    with pytest.raises(RemoteError):
        remote.read("c")


def test_a_folder_on_a_disk_that_is_not_mounted_is_not_created(tmp_path: Path) -> None:
    remote = RemoteFolder(str(tmp_path / "drive" / "mirror"))

    with pytest.raises(RemoteError, match=r"no folder .*drive; is its disk mounted"):
        remote.check()
    with pytest.raises(RemoteError, match="No such file or directory"):
        remote.write("a", [b"1"])
    assert not (tmp_path / "drive").exists()


def test_an_unknown_scheme_is_wrong_input() -> None:
    with pytest.raises(TuneError, match="'carrier-pigeon://a' is not the address of a folder"):
        RemoteFolder("carrier-pigeon://a")


def test_the_command_line_starts_without_fsspec(run_python: object) -> None:
    code = (
        "import sys; import effv2_tune.cli, effv2_tune.commands.study.run; "
        "import effv2_tune.session.study, effv2_tune.search.supervisor; "
        "print('fsspec' in sys.modules)"
    )
    assert run_python(code).strip() == "False"  # type: ignore[operator]
