"""A FUSE file system that falls ill when told: python -m tests.e2e.faults.sick_files MOUNT BACKING MOOD

It shows one file, ``image``, whose content is BACKING. The word in the file MOOD is read before every answer:
``well``, ``errors`` (EIO to everything) or ``mute`` (no answer until the word changes, or the program is killed).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import mfusepy

IMAGE = "/image"


class SickFiles(mfusepy.Operations):
    """One file over another one, in the mood of the moment."""

    use_ns = True

    def __init__(self, backing: str, mood: str) -> None:
        self._file = os.open(backing, os.O_RDWR)
        self._mood = Path(mood)

    def _feel(self) -> None:
        while (mood := self._mood.read_text().strip()) == "mute":
            time.sleep(0.1)
        if mood == "errors":
            raise mfusepy.FuseOSError(errno.EIO)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._feel()
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path != IMAGE:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": os.fstat(self._file).st_size}

    def readdir(self, path: str, fh: int) -> list[str]:
        self._feel()
        return [".", "..", IMAGE[1:]]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._feel()
        return os.pread(self._file, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._feel()
        return os.pwrite(self._file, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._feel()
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        self._feel()
        blocks = {"f_blocks": 1000, "f_bfree": 700, "f_bavail": 700}
        return {"f_bsize": 4096, "f_frsize": 4096, "f_files": 10, "f_ffree": 9, "f_favail": 9, **blocks}


if __name__ == "__main__":
    mfusepy.FUSE(SickFiles(sys.argv[2], sys.argv[3]), sys.argv[1], foreground=True, nothreads=False)
