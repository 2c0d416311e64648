"""The disk under a household's store: one that can be filled, become read-only, or be gone and come back. Real file systems.

``state`` is a bind mount of ``disk``, so that the collector can lose the one without anybody's losing what it wrote. A
program that ``ip netns exec`` started has mounts of its own: what it loses, the laboratory still sees.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from pathlib import Path

FILLS = 3
"""Rounds of filling: what the log gives back in one is taken in the next."""


class Disk:
    """Made before anything is started. ``kind``: tmpfs, or ext4 in a file (only that can fail as a device does)."""

    def __init__(self, folder: Path, kind: str, mib: int) -> None:
        self.state, self.disk, self.folder = folder / "state", folder / "disk", folder
        self.state.mkdir()
        self.disk.mkdir()
        self._mounted: list[Path] = []
        if kind == "ext4":
            image = folder / "disk.img"
            with image.open("wb") as file:
                file.truncate(mib << 20)
            _run("mkfs.ext4", "-q", "-F", str(image))
            self._mount(self.disk, "-o", "loop,errors=remount-ro", str(image))
        else:
            self._mount(self.disk, "-t", "tmpfs", "-o", f"size={mib}m", "lab")
        self._mount(self.state, "--bind", str(self.disk))

    def _mount(self, place: Path, *words: str) -> None:
        _run("mount", *words, str(place))
        self._mounted.append(place)

    def fill(self) -> None:
        """Not a byte is left, in the store's own log neither: a log that once was longer has room for hours."""
        for n in range(FILLS):
            with contextlib.suppress(sqlite3.Error), contextlib.closing(self._beside()) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with (
                (self.disk / f"ballast-{n}").open("wb", buffering=0) as ballast,
                contextlib.suppress(OSError),
            ):
                for size in (1 << 20, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while ballast.write(b"x" * size) == size:
                            pass

    def make_room(self) -> None:
        for ballast in self.disk.glob("ballast-*"):
            ballast.unlink()

    def _beside(self) -> sqlite3.Connection:
        return sqlite3.connect(self.disk / "collector.db", timeout=5)

    def fail(self) -> None:
        """The kernel meets an error on it, and from now on it is read-only, whoever has it open."""
        _run("mount", "-o", "remount,abort", str(self.disk))

    def replace(self) -> None:
        """A disk that is well, with all that the old one held, in its place; for a collector that does not run."""
        well = self.folder / "well"
        shutil.copytree(self.state, well, ignore=shutil.ignore_patterns("lost+found", "address"))
        self._mount(self.state, "--bind", str(well))

    def take(self, pid: int) -> None:
        """It is gone for this process: pulled out lazily, with the store open on it."""
        _run("nsenter", "-t", str(pid), "-m", "umount", "-l", str(self.state))

    def give_back(self, pid: int) -> None:
        """It is there again for this process."""
        _run("nsenter", "-t", str(pid), "-m", "mount", "--bind", str(self.disk), str(self.state))

    def end(self) -> None:
        """Nothing of it stays mounted. Safe to call twice."""
        while self._mounted:
            subprocess.run(["umount", "-l", self._mounted.pop()], check=False, timeout=30)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
