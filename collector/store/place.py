"""Whether the SQLite file that we write is still the one that lies at its path: else nobody will ever read what we commit.

A disk that is unmounted under us, a file that is deleted or put back from a backup: SQLite writes on into the file that it
has open, and says nothing. What is acknowledged or done from then on would be forgotten. Refuses: to follow the path to
another file, since what this process remembers belongs to the first; a new start reads it afresh.
"""

from __future__ import annotations

from pathlib import Path

from collector.store.errors import StoreGone


class Place:
    """The store's path and the file that was first opened there. Any thread."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._opened: tuple[int, int] | None = None

    def opened(self) -> None:
        """A connection is open: from the first one on this is the file."""
        if self._opened is None:
            self._opened = self._now()

    def check(self) -> None:
        """Raises StoreGone where the path leads to another file than the one opened, or to none."""
        if self._opened is None:
            return
        now = self._now()
        if now != self._opened:
            what = "is gone" if now is None else "was replaced: start the collector again"
            raise StoreGone(f"the store {self._path} {what}")

    def _now(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino
