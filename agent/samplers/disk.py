"""Block devices: how long a request takes, how many there are, how deep they queue.

Only whole devices that are no layer over others count: partitions, loop, ram, LVM and md show the same requests
again. As the host's value stand the sum of requests and octets, and the worst of wait, queue and use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Optional, Set

from agent.samplers import platform
from agent.samplers.base import MIB, Batch, read, read_or_none, why
from agent.signals.parsers.diskstats import SECTOR_BYTES, DiskCounters, parse_diskstats
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.mdstat import parse_mdstat
from agent.signals.parsers.pressure import parse_pressure
from agent.signals.sample import Sample

SIGNALS = (
    "disk.await_ms",
    "disk.iops",
    "disk.mbps",
    "disk.util_pct",
    "disk.qdepth",
    "disk.stuck_s",
    "psi.io_full60",
)

_LAYER = re.compile(r"(?:loop|ram|zram|dm-|md|sr|fd|nbd|drbd|bcache|zd)\d")
_PARTITION = re.compile(r"(?:[svh]d[a-z]+|xvd[a-z]+)\d+$|(?:nvme\d+n\d+|mmcblk\d+)p\d+$")
# Xen guests are often given xvda1 without an xvda: then it is the device.

MIN_OPS_PS = 1.0
"""A device below this rate does not stand for the host's wait: one slow request a minute is no measure."""

MAX_DEVICES = 64
MD_STATES = ("ok", "rebuilding", "degraded", "inactive")
"""Better to worse."""


class Disk:
    """Signals disk.await_ms, .iops, .mbps, .util_pct, .qdepth, .stuck_s by device and for the host; psi.io_full60, hw.md."""

    name = "disk"
    period_s = 10.0

    def __init__(self, root: Path = Path("/"), host: Optional[platform.Platform] = None) -> None:
        self._diskstats = f"{root / 'proc/diskstats'}"
        self._pressure = f"{root / 'proc/pressure/io'}"
        self._mdstat = f"{root / 'proc/mdstat'}"
        self._before: Dict[str, DiskCounters] = {}
        self._before_ms = 0
        self._stuck_since_ms: Dict[str, int] = {}
        self._lacks = platform.lacks(host or platform.detect(root), (*SIGNALS, "hw.md"))

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        try:
            text = read(self._diskstats)
        except OSError as error:
            self._lacks.update(dict.fromkeys(SIGNALS[:-1], why(error)))
        else:
            self._sweep_devices(batch, text, mono_ms)
        self._add_arrays(batch)
        if "psi.io_full60" not in self._lacks:
            try:
                batch.add("psi.io_full60", parse_pressure(read(self._pressure))["full"].avg60)
            except (OSError, ParseError) as error:
                self._lacks["psi.io_full60"] = platform.no_pressure(error)
        return batch.samples

    def _sweep_devices(self, batch: Batch, text: str, mono_ms: int) -> None:
        devices = {device.name: device for device in whole_devices(parse_diskstats(text))}
        before, self._before = self._before, devices
        seconds, self._before_ms = (mono_ms - self._before_ms) / 1000.0, mono_ms
        if not before or seconds <= 0:
            return
        total = {
            "disk.iops": 0.0,
            "disk.mbps": 0.0,
            "disk.await_ms": 0.0,
            "disk.util_pct": 0.0,
            "disk.qdepth": 0.0,
        }
        stuck_s = 0.0
        for name, device in devices.items():
            prior = before.get(name)
            rates = rates_between(prior, device, seconds) if prior else None
            if rates is None:
                continue
            for signal, value in rates.items():
                batch.add(signal, value, name)
            stuck = self._stuck(name, rates["disk.iops"], device.in_flight, mono_ms)
            batch.add("disk.stuck_s", stuck, name)
            stuck_s = max(stuck_s, stuck)
            _count(total, rates)
        for signal, value in total.items():
            batch.add(signal, value)
        batch.add("disk.stuck_s", stuck_s)

    def _add_arrays(self, batch: Batch) -> None:
        """Software RAID: each array's state, and the worst. A machine without md has none, which is no lack."""
        text = read_or_none(self._mdstat)
        if text is None:
            return
        try:
            arrays = parse_mdstat(text)
        except ParseError as error:
            self._lacks["hw.md"] = why(error)
            return
        for array in arrays[:MAX_DEVICES]:
            batch.add("hw.md", array.state(), array.name)
        if arrays:
            batch.add("hw.md", max((array.state() for array in arrays), key=MD_STATES.index))

    def _stuck(self, name: str, iops: float, in_flight: int, mono_ms: int) -> float:
        """Seconds for which requests were under way and none ended: virtio-blk has no timeout, so no error comes."""
        if iops > 0 or in_flight == 0:
            self._stuck_since_ms.pop(name, None)
            return 0.0
        return (mono_ms - self._stuck_since_ms.setdefault(name, mono_ms)) / 1000.0


def _count(total: Dict[str, float], rates: Dict[str, float]) -> None:
    total["disk.iops"] += rates["disk.iops"]
    total["disk.mbps"] += rates["disk.mbps"]
    for signal in ("disk.util_pct", "disk.qdepth"):
        total[signal] = max(total[signal], rates[signal])
    if rates["disk.iops"] >= MIN_OPS_PS:
        total["disk.await_ms"] = max(total["disk.await_ms"], rates["disk.await_ms"])


def whole_devices(devices: List[DiskCounters]) -> List[DiskCounters]:
    """Devices that stand on their own, at most MAX_DEVICES."""
    names: Set[str] = {device.name for device in devices}
    chosen = [d for d in devices if not _LAYER.match(d.name) and not _is_part(d.name, names)]
    return chosen[:MAX_DEVICES]


def _is_part(name: str, names: Set[str]) -> bool:
    if not _PARTITION.match(name):
        return False
    whole = name.rstrip("0123456789")
    if whole in names:
        return True
    return whole.endswith("p") and whole[:-1] in names


def rates_between(before: DiskCounters, now: DiskCounters, seconds: float) -> Optional[Dict[str, float]]:
    """Signal -> value between two readings; None where a counter ran backwards (device replaced under one name)."""
    ended = now.reads + now.writes - before.reads - before.writes
    sectors = now.sectors_read + now.sectors_written - before.sectors_read - before.sectors_written
    waited_ms = now.read_ms + now.write_ms - before.read_ms - before.write_ms
    busy_ms = now.busy_ms - before.busy_ms
    weighted_ms = now.weighted_ms - before.weighted_ms
    if min(ended, sectors, waited_ms, busy_ms, weighted_ms) < 0:
        return None
    return {
        "disk.iops": ended / seconds,
        "disk.mbps": sectors * SECTOR_BYTES / MIB / seconds,
        "disk.await_ms": waited_ms / ended if ended else 0.0,
        "disk.util_pct": min(100.0, busy_ms / seconds / 10.0),
        "disk.qdepth": weighted_ms / seconds / 1000.0,
    }
