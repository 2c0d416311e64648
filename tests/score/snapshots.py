"""Snapshots with a reference output: what our parsers make of them, beside what the reference tools made of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import lzma
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from agent.samplers import hardware
from agent.signals.parsers import (
    boots,
    commands,
    diskstats,
    keyed,
    mdstat,
    netdev,
    numbers,
    pid,
    pressure,
    routes,
    smart,
    stat,
)
from agent.signals.parsers.error import ParseError
from agent.signals.patterns import classify

TICKS = 100.0
EQUAL = 1e-9
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")

Parser = Callable[[str], Any]


@dataclasses.dataclass
class Outcome:
    """One set: how many samples or texts were compared, and which differ."""

    compared: int = 0
    different: list[str] = dataclasses.field(default_factory=list)
    untaken: dict[str, str] = dataclasses.field(default_factory=dict)
    """Fixture -> why no parser of ours takes it."""


def jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with (
        lzma.open(path, "rt", encoding="utf-8")
        if path.suffix == ".xz"
        else path.open(encoding="utf-8") as stream
    ):
        for line in stream:
            yield json.loads(line)


# --- node_exporter -------------------------------------------------------------------------------------------------


def lay_out(fixtures: Path, root: Path) -> None:
    """The tree of fixtures.jsonl as files, folders and links under ``root``."""
    for entry in jsonl(fixtures):
        path = root / entry["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry["type"] == "file":
            path.write_text(entry["content"], encoding="utf-8", errors="surrogateescape", newline="")
        elif entry["type"] == "dir":
            path.mkdir(exist_ok=True)
        elif not path.is_symlink() and not path.exists():
            path.symlink_to(entry.get("target") or entry.get("content") or "")


def expected_samples(path: Path) -> dict[str, float]:
    """``name{labels}`` -> value."""
    found = {}
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            if line.strip() and not line.startswith("#"):
                name, _, value = line.rstrip("\n").rpartition(" ")
                found[name] = float(value)
    return found


def our_samples(root: Path) -> dict[str, float]:
    """What our parsers read from the tree, under node_exporter's names; only what a sampler of ours uses."""
    ours: dict[str, float] = {}

    def text(path: str) -> str:
        return (root / path).read_text(encoding="utf-8", errors="replace")

    read = stat.parse_stat(text("proc/stat"))
    ours["node_context_switches_total"] = read.context_switches
    ours["node_intr_total"] = float(read.interrupts or 0)
    ours["node_forks_total"] = read.forks
    ours["node_procs_running"] = read.running
    ours["node_procs_blocked"] = read.blocked
    ours["node_boot_time_seconds"] = read.boot_time_s
    for name, load in zip(("1", "5", "15"), numbers.parse_loadavg(text("proc/loadavg"))[:3]):
        ours[f"node_load{name}"] = load
    for key, octets in keyed.parse_meminfo(text("proc/meminfo")).items():
        name = re.sub(r"\((\w+)\)", r"_\1", key)
        ours[f"node_memory_{name}" + ("" if key.startswith("HugePages_") else "_bytes")] = octets
    counters = keyed.parse_counters(text("proc/vmstat"))
    for key in ("oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"):
        ours[f"node_vmstat_{key}"] = counters[key]
    for path in ("proc/net/snmp", "proc/net/netstat"):
        for protocol, values in keyed.parse_paired(text(path)).items():
            for key, value in values.items():
                ours[f"node_netstat_{protocol}_{key}"] = value
    for protocol, values in keyed.parse_sockstat(text("proc/net/sockstat")).items():
        for key, value in values.items():
            ours[f"node_sockstat_{protocol}_{key}"] = value
    for key, share in (
        ("cpu", "some"),
        ("io", "some"),
        ("io", "full"),
        ("memory", "some"),
        ("memory", "full"),
    ):
        kind = "waiting" if share == "some" else "stalled"
        total = pressure.parse_pressure(text(f"proc/pressure/{key}"))[share].total_us
        ours[f"node_pressure_{key}_{kind}_seconds_total"] = total / 1e6
    ours["node_filefd_allocated"], ours["node_filefd_maximum"] = numbers.parse_file_nr(
        text("proc/sys/fs/file-nr")
    )
    ours["node_nf_conntrack_entries"] = numbers.parse_whole(text("proc/sys/net/netfilter/nf_conntrack_count"))
    ours["node_nf_conntrack_entries_limit"] = numbers.parse_whole(
        text("proc/sys/net/netfilter/nf_conntrack_max")
    )
    _disks(ours, text("proc/diskstats"))
    _arrays(ours, text("proc/mdstat"))
    _neighbours(ours, text("proc/net/arp"))
    for name, (corrected, uncorrected) in hardware.memory_errors(root).items():
        label = f'{{controller="{name[2:]}"}}'
        ours[f"node_edac_correctable_errors_total{label}"] = corrected
        ours[f"node_edac_uncorrectable_errors_total{label}"] = uncorrected
    for name, count in hardware.throttles(root).items():
        package, _, core = name.replace("package", "").partition(" core")
        if core:
            ours[f'node_cpu_core_throttles_total{{core="{core}",package="{package}"}}'] = count
        else:
            ours[f'node_cpu_package_throttles_total{{package="{package}"}}'] = count
    for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")):
        label = f'{{cpu="{path.parts[-3][3:]}"}}'
        ours[f"node_cpu_scaling_frequency_hertz{label}"] = numbers.parse_whole(path.read_text()) * 1e3
    for path in sorted((root / "sys/class/net").glob("*/carrier")):
        if path.read_text().strip().isdigit():
            ours[f'node_network_carrier{{device="{path.parent.name}"}}'] = numbers.parse_whole(
                path.read_text()
            )
    return ours


def _disks(ours: dict[str, float], text: str) -> None:
    for disk in diskstats.parse_diskstats(text):
        label = f'{{device="{disk.name}"}}'
        ours[f"node_disk_reads_completed_total{label}"] = disk.reads
        ours[f"node_disk_writes_completed_total{label}"] = disk.writes
        ours[f"node_disk_read_bytes_total{label}"] = disk.sectors_read * diskstats.SECTOR_BYTES
        ours[f"node_disk_written_bytes_total{label}"] = disk.sectors_written * diskstats.SECTOR_BYTES
        ours[f"node_disk_read_time_seconds_total{label}"] = disk.read_ms / 1e3
        ours[f"node_disk_write_time_seconds_total{label}"] = disk.write_ms / 1e3
        ours[f"node_disk_io_time_seconds_total{label}"] = disk.busy_ms / 1e3
        ours[f"node_disk_io_time_weighted_seconds_total{label}"] = disk.weighted_ms / 1e3
        ours[f"node_disk_io_now{label}"] = disk.in_flight


def _arrays(ours: dict[str, float], text: str) -> None:
    for array in mdstat.parse_mdstat(text):
        ours[f'node_md_disks{{device="{array.name}",state="failed"}}'] = len(array.failed)
        ours[f'node_md_disks{{device="{array.name}",state="spare"}}'] = len(array.spares)
        ours[f'node_md_state{{device="{array.name}",state="inactive"}}'] = float(not array.is_active)
        for action, state in (("recovery", "recovering"), ("resync", "resync"), ("check", "check")):
            if array.is_active:
                ours[f'node_md_state{{device="{array.name}",state="{state}"}}'] = float(
                    array.action == action
                )
        if array.wanted and array.is_active:
            ours[f'node_md_disks_required{{device="{array.name}"}}'] = array.wanted
            ours[f'node_md_disks{{device="{array.name}",state="active"}}'] = array.present


def _neighbours(ours: dict[str, float], text: str) -> None:
    for device, count in Counter(device for _, device in routes.parse_arp(text)).items():
        ours[f'node_arp_entries{{device="{device}"}}'] = count


def node_exporter(folder: Path, root: Path) -> Outcome:
    """Compare what both have; a name that the exporter does not print by default is not compared."""
    lay_out(next(folder.glob("fixtures.jsonl*")), root)
    expected = expected_samples(next(folder.glob("expected.prom*")))
    outcome = Outcome()
    for name, value in our_samples(root).items():
        if name not in expected:
            continue
        outcome.compared += 1
        if not math.isclose(value, expected[name], rel_tol=EQUAL, abs_tol=0.0) and value != expected[name]:
            outcome.different.append(f"{name}: {value} instead of {expected[name]}")
    return outcome


# --- mdstat --------------------------------------------------------------------------------------------------------


def mdstat_texts(path: Path) -> Outcome:
    outcome = Outcome()
    for entry in jsonl(path):
        outcome.compared += 1
        arrays = {array.name: array for array in mdstat.parse_mdstat(entry["text"])}
        components = entry["expected"]["components"]
        theirs: dict[str, set[str]] = {}
        for component in components:
            theirs.setdefault(component["device_name"], set()).add(component["component_name"])
            array = arrays.get(component["device_name"])
            if (
                array is None
                or array.is_active != component["active"]
                or (array.level != (component["raid"] or ""))
                or ("F" in component["device_flag"]) != (component["component_name"] in array.failed)
            ):
                outcome.different.append(f"{entry['id']}: {component['device_name']}")
                continue
            is_short = any(c.get("up") is False for c in components if c["device_name"] == array.name)
            if is_short and array.state() == "ok":
                outcome.different.append(f"{entry['id']}: {array.name} is {array.state()}")
        if theirs != {name: set(array.components) for name, array in arrays.items() if array.components}:
            outcome.different.append(f"{entry['id']}: components")
    return outcome


# --- drives --------------------------------------------------------------------------------------------------------


def drives(folder: Path) -> Outcome:
    outcome = Outcome()
    for path in sorted(folder.glob("*.jsonl*")):
        for entry in jsonl(path):
            outcome.compared += 1
            truth, drive = entry["truth"], smart.parse_smartctl(json.dumps(entry["doc"]))
            bits = set(truth["smartctl_exit_bits"])
            failing = bool(bits & {smart.BIT_FAILING, smart.BIT_PREFAIL_NOW})
            wanted = "FAILED" if failing else ("PASSED" if truth["passed"] else "na")
            nvme = {
                "critical_warning": drive.critical_warning,
                "available_spare": drive.spare_pct,
                "available_spare_threshold": drive.spare_least_pct,
                "percentage_used": drive.wear_pct,
                "media_errors": drive.media_errors,
            }
            wrong = {key: value for key, value in truth["nvme"].items() if nvme.get(key) != value}
            if drive.verdict != wanted or wrong or set(drive.exit_bits) != bits:
                outcome.different.append(f"{entry['id']}: {drive.verdict} instead of {wanted} {wrong or ''}")
    return outcome


# --- command outputs -----------------------------------------------------------------------------------------------


def _syslog(text: str) -> list[str]:
    """Every line with a stamp, as the witness reads the end of the boot before."""
    far = 4e9
    return [line.text for line in boots.syslog_before(text, far, far, dt.timezone.utc, 10_000)]


_OWN: tuple[tuple[str, Parser], ...] = (
    ("syslog-3164.out", _syslog),
    ("diskstats", diskstats.parse_diskstats),
    ("loadavg", numbers.parse_loadavg),
    ("meminfo", keyed.parse_meminfo),
    ("net_dev", netdev.parse_netdev),
    ("net_netstat", keyed.parse_paired),
    ("pid_io", pid.parse_io),
    ("pid_stat", pid.parse_stat),
    ("pid_statm", numbers.parse_statm),
    ("pid_stat_*", pid.parse_stat),
    ("pid_status", pid.parse_status_uid),
    ("stat", stat.parse_stat),
    ("stat2", stat.parse_stat),
    ("swaps", commands.parse_swaps),
    ("uptime", commands.parse_uptime),
    ("vmstat", keyed.parse_counters),
)
"""Files of /proc that samplers read: each with its own parser, whose numbers are a part of the reference's."""

_TABLES = (
    "df.out", "df-long-filesystem.out", "free.out", "free-w.out", "iostat*.out", "mpstat*.out", "netstat-i.out",
    "ntpq-p*.out", "pidstat-*.out", "ps-axu.out", "systemctl-ls.out", "systemctl-luf.out", "vmstat.out", "vmstat-a.out",
    "vmstat-w.out", "vmstat-d.out", "zpool-iostat-v.out", "net_protocols", "slabinfo", "softirqs", "last-crash.out",
    "w.out", "zpool-status-*.out",
)  # fmt: skip
_FIELDS = ("sysctl-a.out", "cpuinfo*", "ethtool--module*.out")
_UNTAKEN = {
    "df-h.out": "rounded for people: df.out and statvfs hold the numbers",
    "free-h.out": "rounded for people: free.out and meminfo hold the numbers",
    "ifconfig.out": "not run: /proc/net/dev and /sys/class/net hold the same counters",
    "lsblk*.out": "not run: a picture for people; /sys/block holds the same",
    "mount*.out": "not run: /proc/self/mountinfo escapes what mount prints ambiguously",
    "systemctl.out": "the agent asks with --plain --no-legend (agent.signals.parsers.systemd); this is the picture for people",
    "timedatectl*.out": "not run: adjtimex(2) says whether the clock is in step",
    "top-*.out": "not run: /proc/PID/stat holds the same",
    "uptime.out": "not run: /proc/uptime and /proc/loadavg",
    "vmstat-*t*.out": "not run: /proc/vmstat; a stamp of two words breaks the table",
    "vmstat-at*.out": "not run: /proc/vmstat; headings are repeated",
    "buddyinfo": "no signal of the catalogue reads it",
    "interrupts": "no signal of the catalogue reads it: /proc/stat holds the sum",
    "net_tcp*": "not read: the kernel walks its whole table; sock_diag counts instead",
    "zoneinfo*": "no signal of the catalogue reads it",
    "ethtool--default*.out": "not run: /sys/class/net/*/speed and carrier",
    "swapon-*.out": "not run: /proc/swaps",
    "tune2fs-l.out": "not run: reads the device itself; /proc/mounts has what rules need",
}


def taker(name: str) -> Parser | str:
    """The parser that takes the fixture of that name, or the reason why none does."""
    from fnmatch import fnmatchcase

    if name.startswith("mdadm-"):
        return commands.parse_mdadm
    for glob, parser in _OWN:
        if fnmatchcase(name, glob):
            return parser
    if any(fnmatchcase(name, glob) for glob in _TABLES):
        return commands.parse_table
    if any(fnmatchcase(name, glob) for glob in _FIELDS):
        return commands.parse_fields
    for glob, reason in _UNTAKEN.items():
        if fnmatchcase(name, glob):
            return reason
    return "no parser of ours knows it"


_COMPUTED = ("epoch", "epoch_utc", "events_maj", "events_min")
"""Keys whose numbers the reference computes and the text does not hold: instants, and 0.18 taken for two numbers."""


def _numbers(value: Any, key: str = "") -> Iterator[float]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, str(name))
    elif isinstance(value, (list, tuple, set)):
        for part in value:
            yield from _numbers(part, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not key.endswith(_COMPUTED):
        yield float(value)


def _numbers_in_text(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _numbers_in_text(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _numbers_in_text(part)
    elif isinstance(value, str):
        yield from (float(found) for found in _NUMBER.findall(value))


def compare(name: str, text: str, expected: Any) -> str:
    """ "" where the parser's numbers are the reference's, else what differs."""
    parser = taker(name)
    assert not isinstance(parser, str)
    try:
        ours = parser(text)
    except ParseError as error:
        return f"refused: {error}"
    theirs = Counter(_numbers(expected))
    if parser in (commands.parse_table, commands.parse_fields, commands.parse_mdadm):
        missing = theirs - Counter(_numbers_in_text(ours))
        return f"misses {sorted(missing)[:5]}" if missing else ""
    if parser is _syslog:
        told = [entry["content"] for entry in expected if entry.get("date") and entry.get("content")]
        missing_lines = [one for one in told if not any(one.strip() in line for line in ours)]
        return f"misses {missing_lines[:2]}" if missing_lines else ""
    # A typed parser keeps what samplers use: each of its numbers must be one of the reference's.
    scaled = set(theirs) | {value * 1024 for value in theirs}
    if parser is pid.parse_io:
        scaled.add(float(expected["read_bytes"] + expected["write_bytes"]))
    if parser is stat.parse_stat:
        scaled.add(float(len(re.findall(r"^cpu\d+ ", text, re.MULTILINE))))
        scaled.update(float(value) for value in _NUMBER.findall(text))
    strange = set(_numbers(ours._asdict() if hasattr(ours, "_asdict") else ours)) - scaled
    return f"has {sorted(strange)[:5]} that the reference has not" if strange else ""


def jc(path: Path) -> Outcome:
    outcome = Outcome()
    for entry in jsonl(path):
        name = entry["id"].rsplit("/", 1)[-1]
        parser = taker(name)
        if isinstance(parser, str):
            outcome.untaken[entry["id"]] = parser
            continue
        outcome.compared += 1
        wrong = compare(name, entry["input"], entry["expected"])
        if wrong:
            outcome.different.append(f"{entry['id']}: {wrong}")
    return outcome


_KINDS: dict[str, Parser] = {
    "softnet_stat": keyed.parse_softnet,
    "df": commands.parse_table,
    "proc_stat": stat.parse_stat,
    "multipath_v4_ll": commands.parse_paths,
    "dmesg": lambda text: [classify(line) for line in text.splitlines()],
    "messages": lambda text: [classify(line) for line in text.splitlines()],
}
_KINDS_UNTAKEN = {
    "scsi": "no signal of the catalogue reads /proc/scsi/scsi",
    "virt_what": "not run: agent.samplers.platform reads DMI, cpuinfo and clock source itself",
}
_HOST_FILES: dict[str, Parser] = {
    "proc/stat": stat.parse_stat,
    "proc/meminfo": keyed.parse_meminfo,
    "proc/vmstat": keyed.parse_counters,
    "proc/diskstats": diskstats.parse_diskstats,
    "proc/mdstat": mdstat.parse_mdstat,
    "proc/cpuinfo": commands.parse_fields,
    "sos_commands/filesys/df_-al_-x_autofs": commands.parse_table,
    "sos_commands/filesys/df_-ali_-x_autofs": commands.parse_table,
    "sos_commands/memory/free": commands.parse_table,
    "sos_commands/multipath/multipath_-ll": commands.parse_paths,
    "sos_commands/systemd/timedatectl": commands.parse_fields,
}
_HOST_UNTAKEN = {
    "proc/buddyinfo": "no signal of the catalogue reads it",
    "sos_commands/host/uptime": "not run: /proc/uptime and /proc/loadavg",
    "sos_commands/networking/nstat_-zas": "not run: /proc/net/netstat and snmp hold the same",
    "sos_commands/networking/ip_-s_-d_link": "not run: /proc/net/dev and /sys/class/net",
    "sos_commands/date/date": "not run: the clock is read by clock_gettime",
}


def texts(entries: Iterable[tuple[str, str, str]]) -> Outcome:
    """Texts without a reference: (id, kind or path, text); parsing must not refuse them."""
    outcome = Outcome()
    parsers = {**_KINDS, **_HOST_FILES}
    reasons = {**_KINDS_UNTAKEN, **_HOST_UNTAKEN}
    for name, kind, text in entries:
        parser = parsers.get(kind)
        if parser is None:
            outcome.untaken[name] = reasons.get(kind, "no parser of ours knows it")
            continue
        outcome.compared += 1
        try:
            parser(text)
        except ParseError as error:
            # An empty text, or a tool's own complaint, is refused as it should be.
            if len(text.split()) > 2 and "No such file" not in text and "not found" not in text:
                outcome.different.append(f"{name}: refused: {error}")
    return outcome
