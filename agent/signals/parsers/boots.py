"""What logs say of how a boot ended and how the next one began: panics, replayed journals, orders to go down."""

from __future__ import annotations

import datetime as dt
import re
from typing import Iterable, List, NamedTuple

from agent.signals.parsers.logs import LogLine
from agent.signals.parsers.operators import stamp_s

MAX_LINE = 300
_SYSLOG = re.compile(
    r"^(?:<\d{1,4}>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,16}) \S{1,255} (.+)$"
)

_RECOVERY = re.compile(
    r"EXT[234]-fs \([\w.-]+\): recovery complete|[\w/.-]+: recovering journal"
    r"|XFS \([\w.-]+\): (?:Starting|Ending) recovery|BTRFS\b.{0,60}start tree-log replay"
    r"|EXT[234]-fs \([\w.-]+\): \d+ orphan inodes? deleted|journal replay|replaying journal",
    re.IGNORECASE,
)
_PANIC = re.compile(
    r"Kernel panic - not syncing[^\n]{0,200}|BUG: unable to handle[^\n]{0,160}|kernel BUG at [^\n]{0,160}"
    r"|\[Hardware Error\][^\n]{0,160}|Oops: [^\n]{0,160}|general protection fault[^\n]{0,160}"
)
_WHERE = re.compile(r"\bRIP: (?:[0-9a-f]{4}:)?(?:\[<[0-9a-f]+>\] ){0,2}([^\s][^\n]{0,100})")
_HARDWARE = re.compile(r"\[Hardware Error\][^\n]{0,160}|Machine [Cc]heck (?:[Ee]xception)?[^\n]{0,160}")

_DOWN = r"systemd-logind(?:\[\d+\])?: (?:The system will|System is) (?:reboot|power|halt)"
_ORDERLY = re.compile(
    r"systemd-shutdown\[|systemd\[1\]: (?:Shutting down\."
    r"|Reached target (?:System )?(?:Shutdown|Reboot|Power-Off|Halt|Final Step)"
    r"|Reached target (?:shutdown|reboot|poweroff|final)\.target)|" + _DOWN
)
_ORDER = re.compile(
    r"systemd-logind(?:\[\d+\])?: ((?:Power|Reboot) key pressed[^\n]{0,40}"
    r"|(?:The system will|System is) (?:reboot|power|halt)[^\n]{0,60})"
    r"|COMMAND=(\S*(?:reboot|shutdown|poweroff|halt|telinit|init)\b[^\n]{0,80})"
    r"|COMMAND=(\S*systemctl\s+(?:\S+\s+){0,3}(?:reboot|poweroff|halt|kexec)\b[^\n]{0,40})"
    r"|((?:qemu-ga|vmtoolsd|vmsvc)\[\d+\][^\n]{0,40}"
    r"(?:guest-shutdown|[Ii]nitiat(?:ed|ing) (?:OS )?(?:shutdown|reboot)))"
)


class Ending(NamedTuple):
    """How the lines of a boot end."""

    is_orderly: bool
    """They show the system going down in order."""
    orders: List[str]
    """Who or what asked for it, oldest first, at most five."""


def syslog_before(text: str, before_s: float, now_s: float, local: dt.tzinfo, most: int) -> List[LogLine]:
    """The last lines of a syslog file that were written before the instant."""
    lines: List[LogLine] = []
    for line in text.split("\n"):
        match = _SYSLOG.match(line[:2000])
        at_s = stamp_s(match.group(1), now_s, local) if match else None
        if match and at_s is not None and at_s < before_s:
            lines.append(LogLine(0, round(at_s * 1_000_000), 6, match.group(2)))
    return lines[-most:]


def is_replayed(lines: Iterable[str]) -> bool:
    """Whether a file system replayed its journal: it was not unmounted in order."""
    return any(_RECOVERY.search(line) for line in lines)


def panic_in(text: str) -> str:
    """What the kernel died of, from its last words: the panic, where it stood, a hardware error before it; "" for none."""
    panics = [match.group(0).strip() for match in _PANIC.finditer(text)]
    if not panics:
        return ""
    # The panic itself, else the first thing that went wrong: the rest of an oops follows from it.
    parts = [next((p for p in panics if p.startswith("Kernel panic")), panics[0])]
    where = _WHERE.search(text)
    if where:
        parts.append(f"RIP: {where.group(1).strip()}")
    hardware = _HARDWARE.search(text)
    if hardware and hardware.group(0) not in parts[0]:
        parts.append(hardware.group(0).strip())
    return "; ".join(parts)[:MAX_LINE]


def ending_of(lines: Iterable[str]) -> Ending:
    """What the last lines of a boot say of its end."""
    orders: List[str] = []
    is_orderly = False
    for line in lines:
        is_orderly = is_orderly or bool(_ORDERLY.search(line))
        order = _ORDER.search(line)
        if order:
            said = next((part for part in order.groups() if part), "")
            text = " ".join("".join(c if c.isprintable() else " " for c in said).split())[:120]
            if text and text not in orders:
                orders.append(text)
    return Ending(is_orderly, orders[-5:])
