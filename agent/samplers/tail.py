"""New whole lines of log files since the last look, over rotation and truncation. Bounded: never a whole log at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Tuple

READ_MAX = 64 * 1024
"""Most octets of a file in one look: a log that grows faster is noise, and its oldest part is passed over."""


class Tails:
    """How far each file was read."""

    def __init__(self, *, from_end: bool = False) -> None:
        self._from_end = from_end
        """A file that is there at the first look is history: only what comes afterwards is told."""
        self._places: Dict[Path, Tuple[int, int]] = {}
        """File -> (inode, octets read)."""

    def new_text(self, file: Path) -> str:
        """Whole lines since the last look; a rotated or truncated file begins anew. Raises OSError."""
        try:
            stream = file.open("rb")
        except FileNotFoundError:
            self._places[file] = (0, 0)
            raise
        with stream:
            status = os.fstat(stream.fileno())
            if self._from_end and file not in self._places:
                self._places[file] = (status.st_ino, status.st_size)
                return ""
            inode, done = self._places.get(file, (-1, 0))
            is_new = inode != status.st_ino or status.st_size < done
            begin = max(0 if is_new else done, status.st_size - READ_MAX)
            if begin == status.st_size and not is_new:
                return ""
            stream.seek(begin)
            octets = stream.read(READ_MAX)
        whole = octets.rfind(b"\n") + 1
        self._places[file] = (status.st_ino, begin + whole)
        # Where the oldest part was passed over we are in the middle of a line: its rest is passed over as well.
        first = octets.find(b"\n") + 1 if begin > (0 if is_new else done) else 0
        return octets[first:whole].decode("utf-8", "replace")
