"""Runs a command with an empty FUSE file system mounted: ``on_fuse.py FOLDER COMMAND...``.

The mount is in a mount namespace of its own, and so ends with this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import threading

# https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/fuse.h
FORGET, GETATTR, INIT, BATCH_FORGET, LOOKUP = 2, 3, 26, 42, 1
HEADER = struct.Struct("<IIQQ")
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: bytes, folder: bytes, kind: bytes, flags: int, options: bytes) -> None:
    if LIBC.mount(source, folder, kind, ctypes.c_ulong(flags), options) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def serve(device: int) -> None:
    """Answer the kernel: there is one empty folder."""
    while True:
        request = os.read(device, 1 << 20)
        _, operation, unique, _ = HEADER.unpack_from(request)
        if operation in (FORGET, BATCH_FORGET):
            continue
        error, answer = -errno.ENOSYS, b""
        if operation == INIT:
            error, answer = 0, struct.pack("<IIIIHHII", 7, 31, 0, 0, 0, 0, 4096, 1) + bytes(36)
        elif operation == GETATTR:
            attributes = struct.pack(
                "<6Q10I", 1, *[0] * 5, *[0] * 3, stat.S_IFDIR | 0o755, 2, *[0] * 5
            )
            error, answer = 0, struct.pack("<QII", 1, 0, 0) + attributes
        elif operation == LOOKUP:
            error = -errno.ENOENT
        os.write(device, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def main(folder: str, *command: str) -> int:
    if LIBC.unshare(CLONE_NEWNS) != 0:
        raise PermissionError("a mount namespace")
    mount(b"none", b"/", b"none", MS_REC | MS_PRIVATE, b"")
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    mount(b"drive", folder.encode(), b"fuse.drive", 0, options.encode())
    threading.Thread(target=serve, args=(device,), daemon=True).start()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
