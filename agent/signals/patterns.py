"""Kernel log lines by cause: what a line says (``classify``), and what a run of lines amounts to (``KernelWatch``).

Theory of operation. One fault of the kernel speaks in many lines: a head ("BUG: unable to handle ..."), a die line, a
trace, the same again from another CPU, and often a panic at the end. The watch tells the *first* line of such an
episode and takes in what follows: inside EPISODE_MS of its last line, further lines of the same group are its
consequences, and so are those of the groups that the first one explains (``_EXPLAINS``); only a panic is always told,
because it ends the machine, and carries ``after``: what it followed. Everything else is told once per cause and object
(device, program, port) and then at most every REPEAT_MS, with the count of lines in between; at most MAX_PER_MINUTE
lines a minute are told at all, the rest is counted.

Storms: one program that crashes is the administrator's (a note); three different programs that crash within ten
minutes, while none was killed for want of memory, point at RAM or at the disk that holds their code (``segv_storm``).

Pure: lines and instants in, values out. The table stands in ``agent.signals.kernel_lines``.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Pattern, Tuple

from agent.signals.kernel_lines import DETAIL, FAULT, NOTE, ROWS

EPISODE_MS = 60_000
REPEAT_MS = 300_000
STORM_MS = 600_000
STORM_PROGRAMS = 3
MAX_PER_MINUTE = 30
MAX_FOLLOWED = 256
MAX_LINE = 1_000


class Match(NamedTuple):
    """What one line says."""

    id: str
    family: str
    """Symptom family of the findings (``agent.signals.rules.FAMILIES``)."""
    hint: str
    fields: Dict[str, str]
    """Named parts: dev, comm, cpu, s, ...; empty ones are left out."""
    weight: str = FAULT

    @property
    def is_fault(self) -> bool:
        """Whether the line alone is worth a finding."""
        return self.weight == FAULT

    def object(self) -> str:
        """What it is about: the device, program, port, ...; "" where the line names nothing."""
        for key in ("dev", "md", "mc", "server", "comm", "port", "where", "what", "flavour", "cs"):
            if key in self.fields:
                return self.fields[key]
        return ""


class Told(NamedTuple):
    """A line that the watch tells."""

    match: Match
    line: str
    """The message without its time stamp."""
    at_ms: int
    lines: int = 1
    """Lines of this cause and object since it was last told, this one among them."""
    after: str = ""
    """For a panic: id of the cause before it."""


# "[  12.345678]", "[  12.345678][ T1234]", "[   C2]", "<4>", and what syslog or journalctl put before the message.
_STAMP = re.compile(
    r"\s*(?:\*\* \d+ printk messages dropped \*\*\s*)?"
    r"(?:<\d{1,3}>)?"
    r"(?:(?:[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*) \S+ (?=kernel|\[))?"
    r"(?:kernel: ?)?"
    r"(?:<\d{1,3}>)?"
    r"(?:\[ *\d+\.\d+(?:,\d+)?\] ?)?(?:\[ *[TC]\d+\] ?)?"
    r"(?:kernel: )?(?:\[ *\d+\.\d+\] ?)?"
)

# Read once a line: most lines of a boot hold none of these words, and cost one search instead of seventy.
_WORDS = re.compile(
    r"panic|initiator|resolve|stall|starved|kthread|lockup|LOCKUP|atchdog|blocked|can't die|nable to handle|BUG|\[#|Oops"
    r"|ernal error|PANIC|Unhandled"
    r"|Bad |Insufficient|[Ss]tack|Alignment|usercopy|corruption|slab error|unregister_netdevice|SAN|WARNING|ODEBUG|INFO"
    r"|kmemleak|unreferenced|Call |cut here|out of memory|Out of memory|oom|page allocation|Hardware|HARDWARE|[Mm]achine"
    r"|Machine|MCE|EDAC|Memory failure|NMI|AER|PCIe|temperature|Power|AC adapter|error|Error|nvme|ata\d|hostbyte|Sense"
    r"|reject|offlined|timing out|reset|abort|timed? ?out|FAULT|fault|crash|CDB|path|free |water mark|pool|Disk failure"
    r"|continu|not enough|nfs: |session|conn error|EXT|journal|XFS|BTRFS|-fs|Link|link|Hang|mtu|conntrack|SYN|duplicate"
    r"|megaraid_sas|martian|limit|fork|orphaned|overflow|Route cache|segfault|traps|trap|protection|locksource|crng|balloon"
)


class _Compiled(NamedTuple):
    id: str
    family: str
    weight: str
    hint: str
    search: Pattern[str]


_COMPILED: List[_Compiled] = []


def _table() -> List[_Compiled]:
    """The expressions, compiled at the first line that needs them: an agent without a kernel log pays nothing."""
    if not _COMPILED:
        _COMPILED.extend(
            _Compiled(row.id, row.family, row.weight, row.hint, re.compile(row.expression)) for row in ROWS
        )
    return _COMPILED


def without_stamp(line: str) -> str:
    """The message, without what the kernel, syslog or journalctl wrote before it."""
    found = _STAMP.match(line)
    return line[found.end() :] if found else line


def classify(line: str) -> Optional[Match]:
    """What the line says, None for a line of no known cause. Takes lines with and without time stamps."""
    message = without_stamp(line[:MAX_LINE])
    if _WORDS.search(message) is None:
        return None
    for row in _table():
        found = row.search.search(message)
        if found is not None:
            fields = {key.rstrip("23"): part for key, part in found.groupdict().items() if part}
            return Match(row.id, row.family, row.hint, fields, row.weight)
    return None


_STUCK = ("rcu_stall", "soft_lockup", "hard_lockup", "workqueue_lockup", "spinlock_lockup", "hung_task")
_BROKEN = ("oops", "bad_page")
_TALK = ("kernel_debug", "kernel_warning", "call_trace")

_EXPLAINS: Dict[str, Tuple[str, ...]] = {
    **dict.fromkeys((*_BROKEN, *_STUCK), (*_STUCK, *_BROKEN, *_TALK)),
    "panic": (*_STUCK, *_BROKEN, *_TALK),
    # What a warning or a debugging report is followed by within the same second is its own trace.
    "kernel_debug": _TALK,
    "kernel_warning": _TALK,
    "call_trace": _TALK,
}
"""Cause -> what follows it as a part of the same episode. A machine that is stuck reports stalls on every CPU; one that
took an oops may hold locks for ever, and panics by its settings."""


class KernelWatch:
    """Lines in, what is worth telling out. ``at_ms`` is any clock that does not run backwards."""

    def __init__(self, max_per_minute: int = MAX_PER_MINUTE) -> None:
        self.unsaid = 0
        """Lines of a known cause that were not told, because they repeat one or the minute was full."""
        self._max = max_per_minute
        self._told_at: Deque[int] = deque()
        self._episode: Optional[Tuple[str, int]] = None
        self._last: Dict[Tuple[str, str], Tuple[int, int]] = {}
        """(cause, object) -> (when it was last told, lines since)."""
        self._crashed: Dict[str, int] = {}
        self._oom_ms: Optional[int] = None

    def take(self, line: str, at_ms: int) -> List[Told]:
        """One line of the log: what it makes worth telling, in most cases nothing."""
        match = classify(line)
        if match is None:
            return []
        message = without_stamp(line)[:MAX_LINE]
        told = self._in_episode(match, message, at_ms)
        if match.id in ("oom_global", "oom_cgroup", "oom_no_victim"):
            self._oom_ms = at_ms
        if match.id == "segv":
            storm = self._storm(match, message, at_ms)
            if storm is not None:
                told = storm
        if told is None or not self._has_room(told.at_ms):
            self.unsaid += 1
            return []
        return [told]

    def _in_episode(self, match: Match, message: str, at_ms: int) -> Optional[Told]:
        before = self._episode
        if before is not None and at_ms - before[1] > EPISODE_MS:
            before = self._episode = None
        if match.id == "panic":
            if before is not None and before[0] == "panic":
                self._episode = ("panic", at_ms)
                return None
            self._episode = ("panic", at_ms)
            return Told(match, message, at_ms, 1, before[0] if before else "")
        if before is not None and match.id in _EXPLAINS.get(before[0], ()):
            # A note that nobody looks at does not hide the fault behind it; the other way round it does.
            self._episode = (before[0], at_ms)
            return None
        if match.id in _EXPLAINS:
            self._episode = (match.id, at_ms)
        return self._again(match, message, at_ms)

    def _again(self, match: Match, message: str, at_ms: int) -> Optional[Told]:
        key = (match.id, match.object())
        known = self._last.get(key)
        if known is not None and at_ms - known[0] < REPEAT_MS:
            self._last[key] = (known[0], known[1] + 1)
            return None
        if known is None and len(self._last) >= MAX_FOLLOWED:
            del self._last[min(self._last, key=lambda k: self._last[k][0])]
        self._last[key] = (at_ms, 0)
        return Told(match, message, at_ms, 1 + (known[1] if known else 0))

    def _storm(self, match: Match, message: str, at_ms: int) -> Optional[Told]:
        self._crashed[match.fields.get("comm", "")] = at_ms
        self._crashed = {comm: at for comm, at in self._crashed.items() if at_ms - at <= STORM_MS}
        if len(self._crashed) < STORM_PROGRAMS:
            return None
        if self._oom_ms is not None and at_ms - self._oom_ms <= STORM_MS:
            return None
        programs = ", ".join(sorted(self._crashed))[:200]
        storm = Match("segv_storm", "hardware", "1?", {"programs": programs}, FAULT)
        return self._again(storm, message, at_ms)

    def _has_room(self, at_ms: int) -> bool:
        while self._told_at and at_ms - self._told_at[0] > 60_000:
            self._told_at.popleft()
        if len(self._told_at) >= self._max:
            return False
        self._told_at.append(at_ms)
        return True


__all__ = ["DETAIL", "FAULT", "NOTE", "KernelWatch", "Match", "Told", "classify", "without_stamp"]
