"""/proc/diskstats: what each block device did since boot."""

from __future__ import annotations

from typing import List, NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole

SECTOR_BYTES = 512
"""The unit of diskstats, whatever the device's own sector is."""


class DiskCounters(NamedTuple):
    """One device; times in milliseconds."""

    name: str
    reads: int
    sectors_read: int
    read_ms: int
    writes: int
    sectors_written: int
    write_ms: int
    in_flight: int
    busy_ms: int
    weighted_ms: int


def parse_diskstats(text: str) -> List[DiskCounters]:
    """All devices, partitions among them. Discards and flushes of newer kernels are left out of the rates."""
    devices: List[DiskCounters] = []
    for line in text.split("\n"):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 14:
            if len(fields) == 7:
                continue  # partitions of kernels before 2.6.25
            raise ParseError("expected fourteen columns")
        # in_flight is signed in the kernel and was seen below zero.
        flight = fields[11]
        devices.append(
            DiskCounters(
                fields[2],
                whole(fields[3]),
                whole(fields[5]),
                whole(fields[6]),
                whole(fields[7]),
                whole(fields[9]),
                whole(fields[10]),
                0 if flight.startswith("-") else whole(flight),
                whole(fields[12]),
                whole(fields[13]),
            )
        )
    return devices
