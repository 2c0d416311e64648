"""The page of ``vartovyi-agent once``: what is wrong, whose fault it looks like, who is largest, the numbers. Words only.

Most important first, because the reader is tired and reads ten seconds: everything below the fold may be left unread.
It judges nothing (``agent.once`` does) and reads nothing but the process table and the machine's name.
"""

from __future__ import annotations

import socket
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from agent.evidence import top_processes
from agent.history import History
from agent.samplers import platform
from agent.samplers.base import Errand, read_or_none
from agent.signals.catalogue import UNITS
from agent.texts import TEXTS, say, say_lack, say_number
from agent.wire import Value
from config.clock import Clock, SystemClock

if TYPE_CHECKING:
    from agent.once import Found, Look

MAX_LACKS = 8
WIDTH = 110
MAX_WORDS = 70
"""Of a kernel line or a program's answer; the whole stands in --json."""

TOP_WAIT_S = 5.0

SEVERITY_RANK = {"low": 0, "medium": 1, "high": 2, "critical": 3}

_BELOW = {
    "cpu_steal": "cpu_steal", "cpu_slow": "cpu_slow", "balloon": "balloon", "memory_corrupted": "memory_corrupted",
    "raid_degraded": "raid_degraded", "disk_stuck": "disk_stuck", "link_errors": "link", "link_flaps": "link",
    "link_down": "link", "gateway_dead": "gateway_dead", "fs_hung": "fs_hung",
}  # fmt: skip
_OWN = {
    "cpu": "cpu_busy", "memory": "memory", "fs_space": "fs_space", "fs": "fs", "unit": "unit", "service": "check",
    "process": "check", "limits": "limits",
}  # fmt: skip

LATELY_S = 120.0
"""An event that is older than this is told with its age, and nobody is blamed for it: what is wrong now may be another."""

_OWN_RULES = {"oom_in_limit": "own_limit"}


class _Paint:
    """ANSI colours, or none."""

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_on else text


def page(
    seen: Look,
    found: Sequence[Found],
    near: Sequence[Found],
    language: str,
    colour: bool,
    root: Path,
    clock: Clock,
    top: Sequence[Dict[str, Any]] = (),
) -> List[str]:
    """The lines of the page; ``top`` are the largest processes as ``largest`` gives them."""
    paint = _Paint(colour)
    lines = [paint("1", headline(seen.history, language, root, clock)), ""]
    earlier = [f for f in found if (f.ago_s or 0.0) > LATELY_S]
    found = [f for f in found if f not in earlier]
    if found:
        lines.append(paint("1;31", say("once.wrong", language)))
        for f in found:
            seconds = say_number(f.rule.raise_.for_ms / 1000, language, 0)
            later = say("once.holds_for", language, seconds=seconds) if f.rule.raise_.for_ms else ""
            text = paint("31" if SEVERITY_RANK.get(f.severity, 1) >= 2 else "33", sentence(f, language))
            later = later or ago(f, language)
            lines.append(f"  ! {text}" + (paint("2", f"  ({later})") if later else ""))
    else:
        lines.append(paint("32", say("once.nothing_wrong", language)))
    if found:
        culprit = blame(found, seen.history, language, top)
        lines += ["", paint("1", say("once.blame", language)), *_wrapped(culprit)]
    if earlier:
        lines += ["", paint("1;33", say("once.earlier", language))]
        lines += [f"  - {sentence(f, language)}  ({ago(f, language)})" for f in earlier]
    if near:
        lines += ["", paint("1;33", say("once.near", language))]
        lines += [f"  ~ {sentence(f, language)}" for f in near]
    lines += _top_lines(top, language, paint)
    lines += ["", paint("1", say("once.numbers", language))]
    lines += [f"  {name:<16} {text}" for name, text in numbers(seen.history, language)]
    lines += _lacks(seen, language, paint)
    return lines


def _wrapped(text: str) -> List[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def headline(history: History, language: str, root: Path, clock: Clock) -> str:
    """Name, system, kind of machine, uptime, CPUs."""
    host = platform.detect(root)
    release = read_or_none(root / "etc/os-release") or ""
    names = dict(line.split("=", 1) for line in release.split("\n") if "=" in line)
    hours = clock.boottime_ms() // 3_600_000
    up = ("once.uptime_days", hours // 24) if hours >= 48 else ("once.uptime_hours", hours)
    parts = [
        socket.gethostname(),
        names.get("PRETTY_NAME", "").strip('"'),
        f"{host.machine} / {host.container}" if host.container else host.machine,
        say(up[0], language, n=up[1]),
        say("once.cpus", language, n=history.value("cpu.online") or "?"),
    ]
    return " · ".join(part for part in parts if part)


def sentence(f: Found, language: str) -> str:
    """The finding in words; a rule of the admin's own in its signal's name."""
    key = f"rule.{f.rule.name}"
    shown = show(f.value, UNITS.get(f.rule.signal, ""), language)
    return say(
        key if key in TEXTS else "rule.other",
        language,
        subject=f.subject,
        value=shown,
        rule=f.rule.name,
        signal=f.rule.signal,
    )


def ago(f: Found, language: str) -> str:
    """How long ago an event was; "" for what holds now."""
    if f.ago_s is None:
        return ""
    unit, seconds = ("min", 60.0) if f.ago_s >= 90 else ("s", 1.0)
    return say(f"once.ago_{unit}", language, n=round(f.ago_s / seconds))


def show(value: Value, unit: str, language: str) -> str:
    """A value with its unit as people write it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (int, float)):
        # Units such as "ratio", "count" and the lists of words say nothing beside the number.
        tail = "" if unit in ("ratio", "count", "bits") or "|" in unit else f" {_unit(unit, language)}"
        tail = tail.replace(" 1/", "/")  # a rate: 25.3/s
        return say_number(float(value), language) + tail
    key = f"state.{value}"
    if key in TEXTS:
        return say(key, language)
    words = str(value)
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 2] + " …"


_UNITS_UK = {"ms": "мс", "s": "с", "days": "дн.", "1/s": "1/с", "1/h": "1/год", "MiB": "МіБ", "MiB/s": "МіБ/с",
             "GiB": "ГіБ", "GiB/h": "ГіБ/год", "Mbit/s": "Мбіт/с", "kpkt/s": "тис. пак./с", "kB": "кБ"}  # fmt: skip


def _unit(unit: str, language: str) -> str:
    return _UNITS_UK.get(unit, unit) if language == "uk" else unit


def blame(found: Sequence[Found], history: History, language: str, top: Sequence[Dict[str, Any]] = ()) -> str:
    """One cautious sentence: below this server, in it, both, or not to be told from one look."""
    below: List[str] = []
    own: List[str] = []
    for f in found:
        side, reason = _side(f, history)
        target = below if side == "below" else own if side == "own" else None
        if target is not None:
            text = say(f"why.{reason}", language) + _who(reason, top, language)
            if text not in target:
                target.append(text)
    if below and own:
        return say("blame.both", language, below="; ".join(below[:2]), own="; ".join(own[:2]))
    if below:
        return say("blame.below", language, why="; ".join(below[:3]))
    if own:
        return say("blame.own", language, why="; ".join(own[:3]))
    return say("blame.unclear", language, why=say("why.other", language))


def _who(reason: str, top: Sequence[Dict[str, Any]], language: str) -> str:
    """The program behind it, all processes of its name together: many small workers are one cause."""
    key = {"cpu_busy": "cpu_pct", "memory": "rss_mb"}.get(reason)
    if key is None:
        return ""
    used: Dict[str, float] = {}
    for row in top:
        used[row["name"]] = used.get(row["name"], 0.0) + (row[key] or 0.0)
    name = max(used, key=lambda one: used[one], default="")
    if not name or used[name] <= 0:
        return ""
    unit = "%" if key == "cpu_pct" else _unit("MiB", language)
    return say("why.who", language, name=name, value=f"{say_number(used[name], language, 0)} {unit}")


def _side(f: Found, history: History) -> Tuple[str, str]:
    if f.rule.family == "io" and f.rule.name != "disk_stuck":
        # Little's law: a deep queue of our own requests, or a slow answer to few of them (signals.md, D5).
        depth = history.value("disk.qdepth", f.subject)
        if isinstance(depth, (int, float)):
            return ("own", "disk_own") if depth >= 4 else ("below", "disk_below")
        return "", ""
    if f.rule.name in _BELOW:
        return "below", _BELOW[f.rule.name]
    reason = _OWN_RULES.get(f.rule.name) or _OWN.get(f.rule.family)
    return ("own", reason) if reason else ("", "")


def numbers(history: History, language: str) -> List[Tuple[str, str]]:
    """The rows of the table: name, figures."""

    def figure(label: str, signal: str, subject: str = "") -> str:
        value = history.value(signal, subject)
        return (
            "" if value is None else f"{say(label, language)} {show(value, UNITS.get(signal, ''), language)}"
        )

    def row(*figures: str) -> str:
        return " · ".join(text for text in figures if text)

    total = history.value("mem.total_mb")
    memory = figure("once.avail", "mem.avail_pct")
    if memory and isinstance(total, (int, float)):
        memory += f" {say('once.of', language)} {say_number(total, language, 0)} {_unit('MiB', language)}"
    mounts = sorted(subject for subject in history.subjects("fs.used_pct") if subject)
    fullest = sorted(mounts, key=lambda m: -_number(history.value("fs.used_pct", m)))[:4]
    checks = [
        f"{name}: {show(history.value('check.state', name), '', language)}"
        for name in history.subjects("check.state")
    ]
    rows = [
        ("once.row_cpu", row(
            figure("once.user", "cpu.user_pct"), figure("once.sys", "cpu.sys_pct"),
            figure("once.iowait", "cpu.iowait_pct"), figure("once.steal", "cpu.steal_pct"),
            figure("once.load", "load.per_cpu"))),
        ("once.row_memory", row(memory, figure("once.swap_out", "swap.out_mbps"))),
        ("once.row_disk", row(
            figure("once.await", "disk.await_ms"), figure("once.iops", "disk.iops"),
            figure("once.queue", "disk.qdepth"))),
        ("once.row_fs", row(*(
            f"{mount} {show(history.value('fs.used_pct', mount), '%', language)}" for mount in fullest))),
        ("once.row_network", row(
            figure("once.in", "net.in_mbps"), figure("once.out", "net.out_mbps"),
            figure("once.gateway", "net.gw"))),
        ("once.row_process", row(
            str(history.value("proc.count") or ""), figure("once.blocked", "proc.blocked"),
            figure("once.zombies", "proc.zombies"))),
        ("once.row_check", row(*checks[:6])),
    ]  # fmt: skip
    return [(say(key, language), text) for key, text in rows if text]


def _number(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def largest(root: Path, within_s: float = TOP_WAIT_S) -> List[Dict[str, Any]]:
    """The largest processes by a second look at the table; none where the table does not come in time."""
    errand = Errand("top", lambda: top_processes(root, {}, _pause))
    return errand.answer() if errand.wait(within_s) else []


def _top_lines(top: Sequence[Dict[str, Any]], language: str, paint: _Paint) -> List[str]:
    if not top:
        return []
    lines = ["", paint("1", say("once.top", language))]
    for by in ("cpu", "memory", "io"):
        for row in [r for r in top if r["by"] == by][:3]:
            io = row["io_mbps"]
            moved = f"{say_number(io, language)} {_unit('MiB/s', language)}" if io else ""
            memory = f"{say_number(row['rss_mb'], language, 0)} {_unit('MiB', language)}"
            lines.append(
                f"  {say(f'once.by_{by}', language):<10} {row['name'][:20]:<20} {row['pid']:>7} {row['user'][:12]:<12}"
                f" {say_number(row['cpu_pct'] or 0.0, language):>6} % {memory:>10} {moved:>12}".rstrip()
            )
    return lines


def _pause(seconds: float) -> None:
    SystemClock().wait(threading.Event(), seconds)


def _lacks(seen: Look, language: str, paint: _Paint) -> List[str]:
    every = {**seen.failed, **seen.lacks}
    if not every:
        return []
    by_reason: Dict[str, List[str]] = {}
    for name, reason in sorted(every.items()):
        by_reason.setdefault(reason, []).append(name)
    lines = ["", paint("1", say("once.lacks", language))]
    for reason, names in list(by_reason.items())[:MAX_LACKS]:
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        line = f"  {shown}: {say_lack(reason, language)}"
        lines.append(paint("2", line if len(line) <= WIDTH else line[: WIDTH - 2] + " …"))
    if len(by_reason) > MAX_LACKS:
        lines.append(paint("2", "  " + say("once.lacks_more", language, n=len(by_reason) - MAX_LACKS)))
    return lines
