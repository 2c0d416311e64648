"""The short memory of vitals: the last quarter of an hour of every host, so that a silent one still has its plot.

After silence no series comes, so the numbers of the heartbeats before it must lie somewhere. ``Keeping`` thins them in
the intake's memory (one point a host every half minute, 105 bytes); a flush writes them in blocks of many hosts, one
row each; ``series_of`` reads one host's out of its block. A history for people it is not: that belongs to Prometheus,
and retention deletes these rows after minutes. Why in the store, and why packed: docs/adr/0017.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from agent.wire import VITALS
from collector.fleet_cache import HostEntry
from collector.tables import hosts, vitals

WINDOW_MS = 900_000
"""As long as the agents' own series before a finding."""

EVERY_MS = 30_000
WRITE_EVERY_MS = 10_000
"""A block that holds something new is written this often at most."""

BLOCKS = 64
"""A read takes one host's block: of 10,000 hosts 160, of which the others are passed over."""

WAITING_MAX = 60
"""Most points of one host that wait while the store cannot be written: older ones would be out of the window."""

BLOCKS_A_FLUSH = 8
"""A large fleet's blocks are written over several seconds, not all in one transaction."""

_POINT = struct.Struct(f"<q{len(VITALS)}f")

FORM = hashlib.sha256(",".join((_POINT.format, *VITALS)).encode()).hexdigest()[:12]
"""What the packed numbers mean; rows that another version wrote with another list are passed over."""

_LARGEST = 3.0e38
"""What a float32 holds; above it lies no vital that a plot could show."""

ARGUING = (
    "cpu.user_pct",
    "cpu.steal_pct",
    "load.per_cpu",
    "mem.avail_pct",
    "disk.await_ms",
    "psi.io_full60",
    "net.in_mbps",
    "fs.used_pct",
    "psi.mem_full60",
    "swap.out_mbps",
    "cpu.iowait_pct",
    "net.in_kpps",
)
"""What may have ended a host, in the order in which an engineer asks."""

Block = tuple[int, dict[str, list[bytes]]]
"""A block's number and its hosts' packed points."""

Series = dict[str, list[list[float]]]
"""Signal -> [[at_ms, value], ...], oldest first: as agents send theirs."""


class Keeping:
    """The intake's side: points on their way into the store. The caller holds the intake's lock."""

    def __init__(self, every_ms: int = EVERY_MS) -> None:
        self._every_ms = every_ms
        self._waiting: dict[int, dict[str, list[bytes]]] = {}
        self._written_at_ms = [0] * BLOCKS

    def take(self, entry: HostEntry, numbers: Mapping[str, float | None], received_at_ms: int) -> None:
        """Keep a heartbeat's vitals, unless one was kept a moment ago."""
        if not numbers or received_at_ms - entry.vitals_at_ms < self._every_ms:
            return
        entry.vitals_at_ms = received_at_ms
        points = self._waiting.setdefault(block_of(entry.id), {}).setdefault(entry.id, [])
        points.append(packed(received_at_ms, numbers))
        del points[:-WAITING_MAX]

    def due(self, now_ms: int) -> list[Block]:
        """Blocks to write now, the longest waiting first; they are ours no more."""
        waiting = [n for n in self._waiting if now_ms - self._written_at_ms[n] >= WRITE_EVERY_MS]
        waiting.sort(key=lambda n: (self._written_at_ms[n], n))
        found = []
        for number in waiting[:BLOCKS_A_FLUSH]:
            self._written_at_ms[number] = now_ms
            found.append((number, self._waiting.pop(number)))
        return found

    def again(self, blocks: Sequence[Block]) -> None:
        """An undone flush: what it took waits again."""
        for number, block in blocks:
            waiting = self._waiting.setdefault(number, {})
            for host_id, points in block.items():
                waiting[host_id] = points + waiting.get(host_id, [])


def write_blocks(tx: Connection, blocks: Sequence[Block], now_ms: int) -> None:
    """One row a block."""
    if blocks:
        rows = [
            {"block": number, "at_ms": now_ms, "form": FORM, "points": _encoder.encode(block)}
            for number, block in blocks
        ]
        tx.execute(_INSERT, rows)


def series_of(conn: Connection, host_id: str, from_ms: int, to_ms: int) -> Series:
    """The host's vitals between two instants, its newest heartbeat included; signals that say something first.

    A signal with less than two points is no series and left out; {} for a host that has none.
    """
    points: dict[int, Mapping[str, float | None]] = {}
    wanted = select(vitals.c.points).where(
        vitals.c.block == block_of(host_id), vitals.c.at_ms >= from_ms, vitals.c.form == FORM
    )
    for (body,) in conn.execute(wanted.order_by(vitals.c.at_ms, vitals.c.id)):
        for point in _decoder.decode(body).get(host_id, ()):
            at_ms, numbers = unpacked(point)
            points[at_ms] = numbers
    newest = conn.execute(
        select(hosts.c.vitals, hosts.c.last_report_at_ms).where(hosts.c.id == host_id)
    ).first()
    if newest is not None and newest.vitals and newest.last_report_at_ms is not None:
        points[newest.last_report_at_ms] = newest.vitals
    return _series({at: points[at] for at in sorted(points) if from_ms <= at <= to_ms})


def _series(points: Mapping[int, Mapping[str, float | None]]) -> Series:
    told: Series = {}
    silent: Series = {}
    for signal in ARGUING:
        line = [
            [at, round(value, 2)]
            for at, numbers in points.items()
            if (value := numbers.get(signal)) is not None
        ]
        if len(line) >= 2:
            # A flat zero argues too, but a page shows only the first few.
            (told if any(value for _, value in line) else silent)[signal] = line
    return {**told, **silent}


@functools.lru_cache(maxsize=50_000)
def block_of(host_id: str) -> int:
    """The block in which a host's points lie, the same in every process."""
    return zlib.crc32(host_id.encode()) % BLOCKS


def packed(at_ms: int, numbers: Mapping[str, float | None]) -> bytes:
    """One heartbeat's vitals: when, and the numbers in the wire's order; what is not known is NaN."""
    return _POINT.pack(at_ms, *[_number(numbers.get(name)) for name in VITALS])


def unpacked(point: bytes) -> tuple[int, dict[str, float | None]]:
    """What ``packed`` was given."""
    at_ms, *values = _POINT.unpack(point)
    return at_ms, {name: None if math.isnan(v) else v for name, v in zip(VITALS, values, strict=True)}


def _number(value: Any) -> float:
    return float(value) if value is not None and -_LARGEST < value < _LARGEST else math.nan


_INSERT = insert(vitals)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, list[bytes]])
