"""What an engineer asks first, gathered at the moment a finding opens: top processes, last log lines, series, sockets.

Never a process's arguments or environment: passwords stand there. Log lines are redacted before they leave. All of it
fits into 16 KiB: what is least useful is dropped first, and each reading has its own bound and its own time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

from agent.checks.spec import UNIT_NAME
from agent.checks.systemctl import run_program
from agent.samplers.base import MIB, Errand
from agent.samplers.cpu import TICKS_PER_S
from agent.samplers.processes import Process, clean, list_io, list_processes, uid_of
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.samplers.sockets import count_tcp
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.logs import parse_journal, parse_kmsg
from agent.signals.redact import redact
from agent.signals.sample import Sample
from agent.wire import MAX_EVIDENCE_BYTES, Evidence, FindingChange
from config.clock import Clock, SystemClock, perf_seconds

if TYPE_CHECKING:
    from agent.settings import AgentSettings

WINDOW_MS = 15 * 60_000
BETWEEN_S = 0.25
"""Two looks at the process table so far apart give the rates of now, and not of the last half minute."""
IO_WAIT_S = 2.0
SHARED_S = 5.0
TOP = 5
KERNEL_LINES = 20
KERNEL_LINE_AGE_MS = 3_600_000
"""A line older than an hour explains no fault of now; on a quiet server the ring's last lines are those of the boot."""
UNIT_LINES = 20
PROGRAM_LINES = 10
JOURNAL_TIMEOUT_S = 1.5
MAX_SERIES = 12
MAX_POINTS = 90

_JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")

_RELATED: Dict[str, Tuple[str, ...]] = {
    "cpu": (
        "cpu.user_pct",
        "cpu.sys_pct",
        "cpu.steal_pct",
        "cpu.iowait_pct",
        "load.per_cpu",
        "sched.runq_per_cpu",
    ),
    "memory": ("mem.avail_pct", "mem.total_mb", "swap.out_mbps", "vm.majfault_ps", "psi.mem_full60"),
    "io": ("disk.await_ms", "disk.iops", "disk.mbps", "disk.qdepth", "psi.io_full60", "cpu.iowait_pct"),
    "fs_space": ("fs.used_pct", "fs.free_gb", "fs.inode_pct", "disk.mbps"),
    "fs": ("disk.await_ms", "disk.iops", "disk.stuck_s", "psi.io_full60"),
    "network": ("net.in_mbps", "net.in_kpps", "net.out_mbps", "net.crc_ps", "net.missed_ps", "net.ladder"),
    "limits": ("pid.used_pct", "fd.used_pct", "net.conntrack_pct", "net.ports_pct", "net.tcp_established"),
    "clock": ("clk.ntp_offset_ms", "clk.wall_step_s", "cpu.steal_pct"),
    "virt": ("cpu.steal_pct", "mem.total_mb", "mem.balloon_mb", "agent.gap_s"),
    "service": ("check.ms", "cpu.user_pct", "mem.avail_pct", "disk.await_ms", "net.tcp_established"),
}
_ALWAYS = ("cpu.user_pct", "cpu.steal_pct", "mem.avail_pct", "disk.await_ms", "load.per_cpu")


class Series(Protocol):
    """What we need of agent.history.History."""

    def series(self, signal: str, subject: str = "", since_ms: int = 0) -> List[Tuple[int, float]]: ...

    def newest(self, signal: str, subject: str = "") -> Optional[Sample]: ...

    def subjects(self, signal: str) -> List[str]: ...


def gather(
    change: FindingChange,
    history: Series,
    settings: AgentSettings,
    root: Path = Path("/"),
    *,
    clock: Optional[Clock] = None,
    pause: Optional[Callable[[float], None]] = None,
    words: Sequence[Dict[str, Any]] = (),
    ask: Optional[Ask] = None,
) -> Evidence:
    """The evidence for a finding that opens now, all of it at once; the daemon takes it in parts (agent.gathering).

    ``words`` are log lines that belong to this finding alone: the last ones of the boot before.
    """
    clock = clock or SystemClock()
    return joined(
        read_machine(change, settings, root, clock=clock, pause=pause, ask=ask),
        remembered(change, history, clock, words),
    )


def remembered(
    change: FindingChange, history: Series, clock: Clock, words: Sequence[Dict[str, Any]] = ()
) -> Evidence:
    """The part that stands in our own memory: series, and lines of programs' logs. Touches nothing else."""
    log = [*own_line(change), *words, *program_lines(history, clock)]
    return Evidence(log=log, series=related_series(change, history, clock))


def own_line(change: FindingChange) -> List[Dict[str, Any]]:
    """The kernel's line by which the finding was raised (redacted by the sampler): the last lines need not hold it any more."""
    said = change.facts.get("kmsg")
    if said is None or not isinstance(said.now, str) or not said.now:
        return []
    return [{"at_ms": change.at_ms, "source": "kernel", "text": said.now}]


def read_machine(
    change: FindingChange,
    settings: AgentSettings,
    root: Path = Path("/"),
    *,
    clock: Clock,
    pause: Optional[Callable[[float], None]] = None,
    ask: Optional[Ask] = None,
) -> Evidence:
    """The part that is read now; each reading that fails is left out and named in the notes. Takes up to two seconds."""
    begun = perf_seconds()
    with _one_look:
        glance = _glance(root, pause or _pause)
    notes = dict(glance.notes)
    # Never shared: what the kernel said a moment ago may be just what this finding is about.
    log = kernel_lines(root, notes, clock)
    unit = unit_of(change, settings)
    if unit:
        log += unit_lines(unit, notes)
    if change.family in ("network", "limits", "service", "cpu", "silence"):
        _add_sockets(notes, root)
    top = [dict(row) for row in glance.top]
    if change.family in ("io", "fs", "fs_space", "memory"):
        add_io(top, root, notes, ask)
    notes["gathered_in_ms"] = round((perf_seconds() - begun) * 1000)
    return Evidence(top, log, {}, notes)


def joined(machine: Evidence, memory: Evidence) -> Evidence:
    """Both parts as one, each line once, within the bound."""
    read = {line["text"] for line in machine.log}
    log = [line for line in memory.log if line["text"] not in read]
    return fit(Evidence(machine.top, [*log, *machine.log], memory.series, machine.notes))


class _Glance(NamedTuple):
    """What is the same for all findings of one moment."""

    at_s: float
    root: Path
    top: List[Dict[str, Any]]
    notes: Dict[str, Any]


_last: List[_Glance] = []
_one_look = threading.Lock()
"""Findings of one moment are gathered in threads of their own: the second waits for the first one's look."""


def _glance(root: Path, pause: Callable[[float], None]) -> _Glance:
    """The processes; findings that open together share one look, since each look takes its time."""
    if not _last or _last[0].root != root or perf_seconds() - _last[0].at_s > SHARED_S:
        notes: Dict[str, Any] = {}
        top = top_processes(root, notes, pause)
        _last[:] = [_Glance(perf_seconds(), root, top, notes)]
    return _last[0]


def _pause(seconds: float) -> None:
    SystemClock().wait(threading.Event(), seconds)


# --- processes ---------------------------------------------------------------------------------------------------


def top_processes(root: Path, notes: Dict[str, Any], pause: Callable[[float], None]) -> List[Dict[str, Any]]:
    """The five largest by CPU, by memory and by I/O, each process once, with all three numbers."""
    proc = f"{root / 'proc'}"
    try:
        begun = perf_seconds()
        before = {(p.pid, p.start_ticks): p.ticks for p in list_processes(proc)}
        io_before = list_io(proc, _suspects(list_processes(proc)))
        pause(BETWEEN_S)
        now = list_processes(proc)
        io_now = list_io(proc, _suspects(now))
        seconds = max(0.01, perf_seconds() - begun)
    except OSError as error:
        notes["processes"] = f"cannot be read: {error.strerror}"
        return []
    rows = [_row(p, before, io_before, io_now, seconds) for p in now]
    chosen: Dict[int, Dict[str, Any]] = {}
    for by, key in (("cpu", "cpu_pct"), ("memory", "rss_mb"), ("io", "io_mbps")):
        ranked = sorted(rows, key=lambda row: row[key] or 0.0, reverse=True)[:TOP]
        for row in ranked:
            if row[key]:
                chosen.setdefault(row["pid"], {"by": by, **row})
    for row in chosen.values():
        row["user"] = user_of(proc, row["pid"])
    stuck = [clean(p.comm) for p in now if p.state == "D"]
    if stuck:
        notes["blocked"] = stuck[:10]
    frozen = [clean(p.comm) for p in now if p.state == "T"]
    if frozen:
        notes["stopped"] = frozen[:10]
    return list(chosen.values())


def add_io(top: List[Dict[str, Any]], root: Path, notes: Dict[str, Any], ask: Optional[Ask] = None) -> None:
    """Who reads and writes, from the root-only reader: of others' processes we are not told that (CAP_SYS_PTRACE)."""
    if top and all(row["io_mbps"] is not None for row in top):
        return
    way = ask or asker(root)
    if isinstance(way, NoAnswer):
        notes["io"] = way.why
        return
    question = way
    errand = Errand("io", lambda: question("io"))
    answer = errand.answer() if errand.wait(IO_WAIT_S) else NoAnswer("the root-only reader is late")
    if isinstance(answer, NoAnswer):
        notes["io"] = answer.why
        return
    try:
        rates = {int(one["pid"]): int(one["bytes_ps"]) for one in json.loads(answer)[:TOP]}
        known = {p.pid: p for p in list_processes(f"{root / 'proc'}")}
    except (ValueError, KeyError, TypeError, OSError):
        notes["io"] = "not understood"
        return
    rows = {row["pid"]: row for row in top}
    for pid, rate in rates.items():
        if pid not in rows and pid in known:
            process = known[pid]
            rows[pid] = {
                "by": "io", "pid": pid, "name": clean(process.comm), "user": user_of(f"{root / 'proc'}", pid),
                "cpu_pct": None, "rss_mb": round(process.rss_bytes / MIB, 1), "io_mbps": None,
            }  # fmt: skip
            top.append(rows[pid])
        if pid in rows:
            rows[pid]["io_mbps"] = round(rate / MIB, 2)


def _suspects(processes: Sequence[Process]) -> List[Process]:
    """Those worth a second read each: at most 300, the ones that used most CPU or wait in the kernel."""
    ranked = sorted(processes, key=lambda p: (p.state == "D", p.ticks), reverse=True)
    return ranked[:300]


def _row(
    process: Process,
    before: Dict[Tuple[int, int], int],
    io_before: Dict[Tuple[int, int], int],
    io_now: Dict[Tuple[int, int], int],
    seconds: float,
) -> Dict[str, Any]:
    key = (process.pid, process.start_ticks)
    ticks = process.ticks - before.get(key, process.ticks)
    moved = io_now[key] - io_before[key] if key in io_now and key in io_before else None
    return {
        "pid": process.pid,
        "name": clean(process.comm),
        "user": "",
        "cpu_pct": round(100.0 * ticks / TICKS_PER_S / seconds, 1),
        "rss_mb": round(process.rss_bytes / MIB, 1),
        "io_mbps": None if moved is None else round(moved / MIB / seconds, 2),
    }


def user_of(proc: str, pid: int) -> str:
    """The owner's name; the number where the name is not known."""
    uid = uid_of(proc, pid)
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# --- logs --------------------------------------------------------------------------------------------------------


def kernel_lines(root: Path, notes: Dict[str, Any], clock: Clock) -> List[Dict[str, Any]]:
    """The last lines of the kernel's own ring, read without waiting."""
    records: List[bytes] = []
    try:
        ring = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        notes["kernel_log"] = f"cannot be read: {(error.strerror or '').lower()}"
        return []
    try:
        # The ring holds some thousands of records; a bound all the same, since others may write meanwhile.
        for _ in range(100_000):
            try:
                record = os.read(ring, 8192)
            except BrokenPipeError:
                continue  # overwritten while we read: the next read goes on behind the hole
            if not record:
                break
            records.append(record)
            if len(records) > 2 * KERNEL_LINES:
                del records[:KERNEL_LINES]
    except BlockingIOError:
        pass  # the end of the ring
    except OSError as error:
        notes["kernel_log"] = f"cannot be read: {(error.strerror or '').lower()}"
    finally:
        os.close(ring)
    # Stamps of the ring run with CLOCK_MONOTONIC, which stands still in suspend: close enough for a log line.
    boot_ms = clock.now_ms() - clock.mono_ms()
    lines: List[Dict[str, Any]] = []
    odd = 0
    for record in records[-KERNEL_LINES:]:
        try:
            line = parse_kmsg(record.decode("utf-8", "replace"))
        except ParseError:
            odd += 1
            continue
        at_ms = boot_ms + line.at_us // 1000
        if at_ms >= clock.now_ms() - KERNEL_LINE_AGE_MS:
            lines.append({"at_ms": at_ms, "source": "kernel", "text": redact(line.text)})
    if odd:
        notes.setdefault("kernel_log", f"{odd} of the last records not understood")
    return lines


def program_lines(history: Series, clock: Clock) -> List[Dict[str, Any]]:
    """The last line that argues of each program, of the last quarter of an hour; the sampler has redacted it."""
    found: List[Dict[str, Any]] = []
    for program in history.subjects("log"):
        sample = history.newest("log", program) if program else None
        age_ms = clock.mono_ms() - sample.at_ms if sample else 0
        if sample is not None and age_ms <= WINDOW_MS:
            found.append({"at_ms": clock.now_ms() - age_ms, "source": program, "text": str(sample.value)})
    return sorted(found, key=lambda line: line["at_ms"])[-PROGRAM_LINES:]


def unit_of(change: FindingChange, settings: AgentSettings) -> str:
    """The systemd unit that the finding is about, if it is about one; a unit check names it in the settings."""
    for check in settings.checks:
        if check.name == change.subject and check.unit:
            return check.unit
    is_unit = change.family in ("unit", "service") and "." in change.subject
    return change.subject if is_unit and UNIT_NAME.fullmatch(change.subject) else ""


def unit_lines(unit: str, notes: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The last lines of the unit's journal."""
    program = next((place for place in _JOURNALCTL if Path(place).exists()), None)
    if program is None or not UNIT_NAME.fullmatch(unit):
        return []
    command = [
        program,
        f"--unit={unit}",
        f"--lines={UNIT_LINES}",
        "--output=short-iso",
        "--no-pager",
        "--quiet",
    ]
    output = run_program(command, JOURNAL_TIMEOUT_S)
    if not isinstance(output, str):
        notes["unit_log"] = output.why
        return []
    try:
        found = parse_journal(output)[-UNIT_LINES:]
    except ParseError as error:
        notes["unit_log"] = f"not understood: {error}"
        return []
    return [{"at_ms": line.at_us // 1000, "source": unit, "text": redact(line.text)} for line in found]


# --- series, sockets, room ---------------------------------------------------------------------------------------


def related_series(change: FindingChange, history: Series, clock: Clock) -> Dict[str, List[List[float]]]:
    """The finding's own signals and its family's for the quarter of an hour before, in wall time."""
    offset_ms = clock.now_ms() - clock.mono_ms()
    since_ms = (change.mono_ms or clock.mono_ms()) - WINDOW_MS
    wanted = list(dict.fromkeys([*change.facts, *_RELATED.get(change.family, ()), *_ALWAYS]))
    found: Dict[str, List[List[float]]] = {}
    for signal in wanted:
        points = history.series(signal, change.subject, since_ms) or history.series(signal, "", since_ms)
        if len(points) >= 2 and len(found) < MAX_SERIES:
            found[signal] = [[at + offset_ms, round(value, 2)] for at, value in thin(points, MAX_POINTS)]
    return found


def thin(points: List[Tuple[int, float]], most: int) -> List[Tuple[int, float]]:
    """At most ``most`` points: of each group its most extreme, so that no peak is lost; the last one stays."""
    if len(points) <= most:
        return points
    size = -(-len(points) // (most - 1))
    middle = sum(value for _, value in points) / len(points)
    groups = [points[at : at + size] for at in range(0, len(points) - 1, size)]
    return [max(group, key=lambda point: abs(point[1] - middle)) for group in groups] + [points[-1]]


def _add_sockets(notes: Dict[str, Any], root: Path) -> None:
    if root != Path("/"):
        return
    try:
        notes["sockets"] = count_tcp().by_state
    except OSError as error:
        notes["sockets"] = f"cannot be read: {(error.strerror or '').lower()}"


def size_of(evidence: Evidence) -> int:
    """Octets as they travel."""
    text = json.dumps(dataclasses.asdict(evidence), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "replace"))


def fit(evidence: Evidence) -> Evidence:
    """The evidence in at most MAX_EVIDENCE_BYTES: coarser series first, then series of others, old lines, small processes."""
    log, top = list(evidence.log), list(evidence.top)
    series = dict(evidence.series)
    made = evidence
    for most in (60, 40, 25, 15):
        if size_of(made) <= MAX_EVIDENCE_BYTES:
            return made
        series = {
            name: [list(p) for p in thin([(int(a), v) for a, v in points], most)]
            for name, points in series.items()
        }
        made = dataclasses.replace(evidence, series=series)
    while size_of(made) > MAX_EVIDENCE_BYTES:
        if len(series) > 2:
            series.popitem()
        elif len(log) > 5:
            log = log[2:]
        elif len(top) > 3:
            top.pop()
        elif log or series or top:
            log, series, top = log[1:], {}, top[:-1]
        else:
            return Evidence(notes={"dropped": "too large"})
        made = Evidence(top, log, series, evidence.notes)
    return made
