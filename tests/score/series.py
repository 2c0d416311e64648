"""Metric series of the data folder as the agent would have sampled them: names and units of the catalogue."""

from __future__ import annotations

import csv
import datetime
import json
import lzma
from pathlib import Path
from typing import Iterator, Optional

from tests.score.streams import Row, Series, Window

FAULT_S = 300
"""CPU faults of Nezha last three to five minutes."""
CPU_FAULTS = ("cpu_contention", "cpu_consumed")
NAB_TAU_S = 300


def _instant(text: str) -> int:
    stamp = datetime.datetime.fromisoformat(text.split(".")[0])
    return int(stamp.replace(tzinfo=datetime.timezone.utc).timestamp())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)
    else:
        with path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)


def _nab_signal(name: str) -> str:
    """What the series measures, by what its name says that it is: the sources name no unit."""
    for word, signal in (
        ("cpu", "cpu.user_pct"),
        ("disk", "disk.mbps"),
        ("network", "net.in_mbps"),
        ("request", "net.tcp_established"),
        ("temperature", "hw.temp_c"),
    ):
        if word in name:
            return signal
    return "net.tcp_established"


def nab(folder: Path) -> list[Series]:
    windows = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    found = []
    for path in sorted(folder.glob("*.csv")):
        signal = _nab_signal(path.stem)
        scale = {"disk.mbps": 1 / 2**20, "net.in_mbps": 8e-6}.get(signal, 1.0)
        rows: list[Row] = []
        for line in _rows(path):
            values = {(signal, ""): float(line["value"]) * scale}
            if signal == "cpu.user_pct":
                values.update({("cpu.sys_pct", ""): 0.0, ("cpu.softirq_pct", ""): 0.0})
            rows.append((_instant(line["timestamp"]), values))
        rows.sort(key=lambda row: row[0])
        onsets = [_instant(text) for text in labels.get(path.stem, [])]
        mine = []
        for start, end in windows.get(path.stem, []):
            start_s, end_s = _instant(start), _instant(end)
            inside = [onset for onset in onsets if start_s <= onset <= end_s]
            mine.append(Window(start_s, end_s, inside[0] if inside else start_s))
        found.append(Series(path.stem, NAB_TAU_S, rows, mine, (signal,)))
    return found


def exathlon(folder: Path) -> list[Series]:
    return [
        Series(path.name.split(".csv")[0], 1, [_nmon(line) for line in _rows(path)], [], ("cpu.user_pct",))
        for path in sorted(folder.glob("*.csv*"))
    ]


def _nmon(line: dict[str, str]) -> Row:
    def number(name: str) -> Optional[float]:
        value = float(line.get(name) or -1)
        return None if value == -1 else max(0.0, value)

    values: dict[tuple[str, str], float] = {}

    def put(signal: str, value: Optional[float], subject: str = "") -> None:
        if value is not None:
            values[signal, subject] = value

    cpus = number("CPU_ALL_CPUs")
    for signal, column in (("user", "User"), ("sys", "Sys"), ("iowait", "Wait"), ("steal", "Steal")):
        put(f"cpu.{signal}_pct", number(f"CPU_ALL_{column}%"))
    put("cpu.softirq_pct", 0.0)
    put("cpu.online", cpus)
    total = number("MEM_memtotal")
    if total:
        free = [number(f"MEM_{kind}") for kind in ("memfree", "cached", "buffers")]
        if None not in free:
            put("mem.avail_pct", 100.0 * sum(part or 0.0 for part in free) / total)
        put("mem.total_mb", total)
    runnable = number("PROC_Runnable")
    if cpus and runnable is not None:
        put("sched.runq_per_cpu", runnable / cpus)
    put("proc.blocked", number("PROC_Blocked"))
    put("vm.majfault_ps", number("VM_pgmajfault"))
    swapped = number("VM_pswpout")
    put("swap.out_mbps", None if swapped is None else swapped * 4096 / 2**20)
    busiest: list[float] = []
    for column in line:
        if column.startswith("DISKBUSY_"):
            busy = number(column)
            put("disk.util_pct", busy, column[9:])
            if busy is not None:
                busiest.append(busy)
        elif column.startswith("JFSFILE_"):
            put("fs.used_pct", number(column), column[8:])
    put("disk.util_pct", max(busiest, default=None))
    return int(line["t"]), values


def nezha(folder: Path, day: str) -> list[Series]:
    """One set of pods; a pod stands for a server, and its limit for the server's size."""
    faults: dict[str, list[Window]] = {}
    for line in (folder / f"{day}.faults.jsonl").read_text(encoding="utf-8").splitlines():
        fault = json.loads(line)
        start = _instant(fault["inject_time"])
        onset = start if fault["inject_type"] in CPU_FAULTS else None
        faults.setdefault(fault["inject_pod"], []).append(Window(start, start + FAULT_S, onset))
    pods: dict[str, list[Row]] = {}
    path = next(folder.glob(f"{day}.pods.csv*"))
    for line in _rows(path):
        values = {("cpu.sys_pct", ""): 0.0, ("cpu.softirq_pct", ""): 0.0}
        if line["CpuUsageRate(%)"]:
            values["cpu.user_pct", ""] = float(line["CpuUsageRate(%)"])
        if line["MemoryUsageRate(%)"]:
            values["mem.avail_pct", ""] = max(0.0, 100.0 - float(line["MemoryUsageRate(%)"]))
        pods.setdefault(line["PodName"], []).append((_instant(line["Time"]), values))
    return [
        Series(pod, 60, sorted(rows, key=lambda row: row[0]), faults.get(pod, []), ("cpu.user_pct",))
        for pod, rows in sorted(pods.items())
    ]


def vm(folder: Path) -> list[Series]:
    """Servers without truth: any folder of CSV with `timestamp,value` (CPU per cent), as the held-back set has."""
    found = []
    for path in sorted(folder.glob("*.csv*")):
        rows: list[Row] = []
        for line in _rows(path):
            stamp = line["timestamp"]
            at_s = int(float(stamp)) if stamp.replace(".", "", 1).isdigit() else _instant(stamp)
            rows.append((at_s, {("cpu.user_pct", ""): float(line["value"]), ("cpu.sys_pct", ""): 0.0,
                                ("cpu.softirq_pct", ""): 0.0}))  # fmt: skip
        rows.sort(key=lambda row: row[0])
        found.append(Series(path.name.split(".csv")[0], 300, rows, [], ("cpu.user_pct",)))
    return found
