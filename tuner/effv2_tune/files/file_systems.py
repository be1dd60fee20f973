"""Recognises network and FUSE file systems, where the locks of SQLite are not reliable."""

from __future__ import annotations

import re
from pathlib import Path

#: The mounts of this process.
MOUNTS = Path("/proc/self/mountinfo")

_SERVER = "its locks depend on a server"
_CLUSTER = "a node that loses its connection loses its locks in the middle of a transaction"
_HOST = "files of another system, with locks that it does not see"
_PROGRAM = "files of a program, which may copy them later, partly or not at all"

#: Why SQLite is not safe on a file system: https://sqlite.org/howtocorrupt.html#_file_locking_problems_
_UNSAFE = {
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "coda"), _SERVER),
    **dict.fromkeys(
        ("lustre", "beegfs", "gpfs", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs"),
        _CLUSTER,
    ),
    **dict.fromkeys(("9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"), _HOST),
}
#: Shared folders of a virtual machine; but a sandbox (gVisor, Kata) that has its root on one has
#: nothing else, and one kernel keeps all of its locks.
_SANDBOX_ROOTS = ("9p", "virtiofs")
#: FUSE on a local disk: NTFS and exFAT, the root of rootless containers, an encrypted folder.
_LOCAL_FUSE = ("fuseblk", "fuse.fuse-overlayfs", "fuse.gocryptfs")


def unsafe_for_locks(folder: Path, mountinfo: str | None = None) -> tuple[str, str] | None:
    """The type of the file system of a folder, and why SQLite is not safe there; None where it is.

    Args:
        folder: It need not exist.
        mountinfo: The mounts, in the format of ``/proc/self/mountinfo``; those of this process if
            left out.
    """
    if mountinfo is None:
        try:
            # Surrogates: the names of mount points are bytes.
            mountinfo = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    mounts = _mounts(mountinfo)
    place = folder.resolve()
    # The last mount on a folder hides the ones before.
    kind = next((mounts[path] for path in (place, *place.parents) if path in mounts), "")
    if kind in _SANDBOX_ROOTS and mounts.get(Path("/")) == kind:
        return None
    if kind in _UNSAFE:
        return kind, _UNSAFE[kind]
    if kind.startswith("fuse") and kind not in _LOCAL_FUSE:
        return kind, _PROGRAM
    return None


def _mounts(mountinfo: str) -> dict[Path, str]:
    """File system types by mount point: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""
    types = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:  # noqa: PLR2004 - the fifth field is the mount point
            types[Path(_unescaped(fields[4]))] = after.split(" ")[0]
    return types


def _unescaped(name: str) -> str:
    r"""A mount point, in which space, tab, newline and backslash are written as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
