"""File systems on which SQLite's locks are not reliable."""

from __future__ import annotations

from pathlib import Path

import pytest

from effv2_tune.files.file_systems import unsafe_for_locks

# Lines of a Colab machine, of a cluster and of WSL 2.
MOUNTS = r"""
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/l
23 22 0:21 / /proc rw,nosuid - proc proc rw
36 22 0:45 / /content/drive rw,nosuid,nodev,relatime - fuse.drive drive rw,user_id=0,allow_other
37 22 0:46 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2,hard
38 37 8:1 / /home/local\040disk rw,relatime shared:6 - xfs /dev/sda1 rw
39 22 0:47 / /scratch rw,relatime master:7 - lustre 10.0.0.1@o2ib:/scratch rw,flock
40 22 0:48 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs
41 22 8:2 / /media/stick rw,relatime - fuseblk /dev/sdb1 rw,user_id=0
42 22 0:49 / /auto rw,relatime - autofs systemd-1 rw,fd=57
43 42 0:50 / /auto rw,relatime - cifs //nas/share rw,vers=3.1.1
44 22 0:51 / /bucket rw - fuse.gcsfuse bucket rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/content/drive/MyDrive/runs/small", "fuse.drive"),
        ("/home/me/runs", "nfs4"),
        ("/home", "nfs4"),
        ("/scratch/me", "lustre"),
        ("/mnt/c/Users/me", "9p"),
        ("/auto/runs", "cifs"),
        ("/bucket", "fuse.gcsfuse"),
    ],
)
def test_network_and_fuse_file_systems_are_unsafe(folder: str, kind: str) -> None:
    unsafe = unsafe_for_locks(Path(folder), MOUNTS)

    assert unsafe is not None
    assert unsafe[0] == kind
    assert unsafe[1]


@pytest.mark.parametrize(
    "folder",
    ["/content/runs", "/", "/homework", "/home/local disk/runs", "/media/stick/runs"],
)
def test_local_disks_are_safe(folder: str) -> None:
    assert unsafe_for_locks(Path(folder), MOUNTS) is None


def test_a_link_leads_to_the_file_system_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home/me")

    unsafe = unsafe_for_locks(tmp_path / "link" / "runs", MOUNTS)

    assert unsafe is not None
    assert unsafe[0] == "nfs4"


def test_the_root_of_a_sandbox_is_its_disk() -> None:
    sandbox = "22 1 0:1 / / rw - 9p none rw\n23 22 0:2 / /kaggle/working rw - 9p none rw\n"

    assert unsafe_for_locks(Path("/kaggle/working/runs"), sandbox) is None


def test_mounts_without_meaning_are_left_out() -> None:
    assert unsafe_for_locks(Path("/home"), "") is None
    assert unsafe_for_locks(Path("/home"), "torn li\n36 22 0:45 / /home rw -") is None


def test_the_mounts_of_this_machine_are_read() -> None:
    assert unsafe_for_locks(Path("/proc/self/fd")) is None
