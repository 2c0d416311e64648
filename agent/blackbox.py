"""The last witness after a loss of power: a ring of small records on disk, each durable before the next is written.

One file of 1 MiB, written over in turn: 8,192 records of 128 octets, a block of the file system at a time. The file is
filled with zeros once, so that a record later moves no metadata (fdatasync): 4 KiB reach the disk for each. A record
carries its own checksum and number; what is torn, damaged or of another format is passed over, and the newest number
found is where writing goes on. Reading never fails for what is in the file.

It knows no clock and no thread: the witness sampler says when, and writes from a thread that may hang.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from agent.wire import GOODBYES

RECORD_BYTES = 128
RECORDS = 8192
FILE_BYTES = RECORD_BYTES * RECORDS
MAGIC = 0x42585456
"""VTXB, little-endian."""
KINDS = ("beat", "host_shutdown", "service_stop", "accounted", "roll_out")
"""In the order in which the file numbers them: new ones stand at the end. Goodbyes are those of ``agent.wire``."""
NOTHING = -1.0
"""Where a number was not known."""

_RECORD = struct.Struct("<IIQqqq48s4fiB7xi")
_READ_BYTES = 64 * 1024


class Record(NamedTuple):
    """What was known at one instant."""

    wall_ms: int
    mono_ms: int
    boottime_ms: int
    boot_id: str
    kind: str = "beat"
    load_per_cpu: float = NOTHING
    avail_pct: float = NOTHING
    steal_pct: float = NOTHING
    io_full_pct: float = NOTHING
    in_flight: int = -1
    """Requests that disks had under way."""
    ladder: int = -1
    """The rungs of the network that answered (net.ladder)."""

    @property
    def is_goodbye(self) -> bool:
        """Whether the agent knew that it was to end; what else it wrote are signs of life."""
        return self.kind in GOODBYES


class BlackBox:
    """The file, opened for one run of the agent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = -1
        """Of the newest record; -1 before the file was read."""
        self._file: Optional[int] = None

    def read(self) -> List[Record]:
        """Every sound record, oldest first; an empty list where there is none or the file cannot be read."""
        found = sorted(_sound(self._path), key=lambda one: one[0])
        self._number = max(self._number, found[-1][0] if found else 0)
        return [record for _, record in found]

    def write(self, record: Record) -> None:
        """Put one record in the oldest one's place and wait until it is on the disk. OSError where it is not."""
        if self._number < 0:
            self.read()
        if self._file is None:
            self._file = self._open()
        self._number += 1
        body = _packed(self._number, record)
        os.pwrite(self._file, body, (self._number % RECORDS) * RECORD_BYTES)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        handle, self._file = self._file, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> int:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(handle).st_size
            if size != FILE_BYTES:
                os.ftruncate(handle, FILE_BYTES)
                for at in range(
                    size - size % _READ_BYTES if size < FILE_BYTES else FILE_BYTES, FILE_BYTES, _READ_BYTES
                ):
                    kept = os.pread(handle, _READ_BYTES, at)
                    os.pwrite(handle, kept.ljust(_READ_BYTES, b"\0"), at)
                os.fsync(handle)
        except OSError:
            os.close(handle)
            raise
        return handle


def _packed(number: int, record: Record) -> bytes:
    body = _RECORD.pack(
        MAGIC,
        0,
        number,
        record.wall_ms,
        record.mono_ms,
        record.boottime_ms,
        record.boot_id.encode("ascii", "replace")[:48],
        record.load_per_cpu,
        record.avail_pct,
        record.steal_pct,
        record.io_full_pct,
        record.in_flight,
        KINDS.index(record.kind),
        record.ladder,
    ).ljust(RECORD_BYTES, b"\0")
    return body[:4] + struct.pack("<I", zlib.crc32(body[8:])) + body[8:]


def _sound(path: Path) -> Iterator[tuple[int, Record]]:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        while True:
            octets = stream.read(_READ_BYTES)
            for at in range(0, len(octets) - RECORD_BYTES + 1, RECORD_BYTES):
                found = _unpacked(octets[at : at + RECORD_BYTES])
                if found is not None:
                    yield found
            if len(octets) < _READ_BYTES:
                return


def _unpacked(body: bytes) -> Optional[tuple[int, Record]]:
    if body[:4] != MAGIC.to_bytes(4, "little") or struct.unpack_from("<I", body, 4)[0] != zlib.crc32(
        body[8:]
    ):
        return None
    _, _, number, wall, mono, boottime, boot_id, load, avail, steal, io, flight, kind, ladder = (
        _RECORD.unpack_from(body)
    )
    if kind >= len(KINDS):
        return None
    name = boot_id.rstrip(b"\0").decode("ascii", "replace")
    return number, Record(wall, mono, boottime, name, KINDS[kind], load, avail, steal, io, flight, ladder)
