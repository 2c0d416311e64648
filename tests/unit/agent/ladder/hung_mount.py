"""A real FUSE file system that never answers, and a program run beside it, both in a mount namespace of their own.

    unshare --mount python hung_mount.py FOLDER PROGRAM...

Speaks the kernel's protocol itself: it answers INIT, else nobody could mount it, and keeps silent from then on. The
first line of its output is the program's pid. When it ends, the kernel ends the connection, and what hung comes back.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys

INIT = 26
_IN = struct.Struct("=IIQQIIII")
_OUT = struct.Struct("=IiQ")


def mount(folder: str) -> int:
    """Mount it; the connection's descriptor."""
    connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={connection},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hung", folder.encode(), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return connection


def serve(connection: int) -> None:
    """Answer INIT; read everything else and answer nothing."""
    while True:
        request = os.read(connection, 1 << 20)
        _, opcode, unique, *_ = _IN.unpack_from(request)
        if opcode == INIT:
            body = struct.pack("=IIIIHHIIHH32x", 7, 31, 65_536, 0, 12, 9, 65_536, 1, 16, 0)
            os.write(connection, _OUT.pack(_OUT.size + len(body), 0, unique) + body)


if __name__ == "__main__":
    connection = mount(sys.argv[1])
    # INIT is asked as soon as it is mounted, and waits for us.
    child = subprocess.Popen(sys.argv[2:])
    print(child.pid, flush=True)
    serve(connection)
