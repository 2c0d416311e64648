"""``vartovyi-agent once``: one look at this server, for a person who was just called to it, or as JSON.

Two readings a second apart, every rule judged by what holds right now (durations left aside), one cautious sentence
about whose fault it looks like. Nothing is stored, nothing is sent, and no reading is waited for longer than a few
seconds: the server may be sick.
"""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from agent.evidence import top_processes
from agent.history import History
from agent.samplers import platform
from agent.samplers.base import Errand, Sampler, read_or_none, why
from agent.samplers.registry import make_samplers
from agent.signals.catalogue import BY_NAME, UNITS
from agent.signals.parsers.error import ParseError
from agent.signals.rules import Level, Rule
from agent.signals.sample import Sample, plain
from agent.texts import TEXTS, say, say_lack, say_number
from agent.wire import Value
from config.clock import Clock, SystemClock

if TYPE_CHECKING:
    from agent.settings import AgentSettings

BETWEEN_S = 1.0
SWEEP_WAIT_S = 5.0
SETTLE_S = 6.0
"""For checks and systemctl, which have time-outs of their own."""

MAX_LACKS = 8
WIDTH = 110

_SEVERITY_RANK = {"low": 0, "medium": 1, "high": 2, "critical": 3}

_BELOW = {
    "cpu_steal": "cpu_steal", "cpu_slow": "cpu_slow", "balloon": "balloon", "memory_corrupted": "memory_corrupted",
    "raid_degraded": "raid_degraded", "disk_stuck": "disk_stuck", "link_errors": "link", "link_flaps": "link",
    "link_down": "link", "gateway_dead": "gateway_dead",
}  # fmt: skip
_OWN = {
    "cpu": "cpu_busy", "memory": "memory", "fs_space": "fs", "fs": "fs", "unit": "unit", "service": "check",
    "process": "check", "limits": "limits",
}  # fmt: skip


class Found(NamedTuple):
    """A rule whose level holds now (or nearly)."""

    rule: Rule
    subject: str
    value: Value
    severity: str


class Look(NamedTuple):
    """What two readings gave."""

    history: History
    lacks: Dict[str, str]
    failed: Dict[str, str]
    """Sampler -> why it brought nothing."""


def run(
    settings: AgentSettings,
    rules: Sequence[Rule],
    *,
    as_json: bool,
    language: str = "en",
    colour: bool = False,
    root: Path = Path("/"),
    clock: Optional[Clock] = None,
) -> int:
    """Look, judge, print. 0 when the look was made, whatever it showed."""
    clock = clock or SystemClock()
    seen = look(make_samplers(settings, root), clock)
    found, near = judge(rules, seen.history)
    if as_json:
        print(json.dumps(as_document(seen, found, language), ensure_ascii=False, indent=2, sort_keys=True))
        return 0
    for line in page(seen, found, near, language, colour, root, clock) + top_lines(language, colour, root):
        print(line)
    return 0


# --- looking -----------------------------------------------------------------------------------------------------


def look(samplers: Sequence[Sampler], clock: Clock) -> Look:
    """Sweep every sampler twice; one that hangs or fails is named, and the others go on."""
    history = History()
    failed: Dict[str, str] = {}
    for sampler in samplers:
        history.record(_sweep(sampler, clock, failed))
    clock.wait(threading.Event(), BETWEEN_S)
    for sampler in samplers:
        if sampler.name in failed:
            continue
        settle: Optional[Callable[[float], None]] = getattr(sampler, "settle", None)
        if settle is not None:
            settle(SETTLE_S)
        history.record(_sweep(sampler, clock, failed))
    lacks: Dict[str, str] = {}
    for sampler in samplers:
        lacks.update(sampler.lacks())
    return Look(history, lacks, failed)


def _sweep(sampler: Sampler, clock: Clock, failed: Dict[str, str]) -> List[Sample]:
    errand: Errand[List[Sample]] = Errand(sampler.name, lambda: sampler.sweep(clock.mono_ms()))
    if not errand.wait(SWEEP_WAIT_S):
        failed[sampler.name] = "did not answer in time"
        return []
    try:
        return [plain(sample) for sample in errand.answer()]
    except (OSError, ParseError) as error:
        failed[sampler.name] = why(error)
        return []


def judge(rules: Sequence[Rule], history: History) -> Tuple[List[Found], List[Found]]:
    """Rules that would open if it stayed so, worst first; and those between their clear and raise levels."""
    found: List[Found] = []
    near: List[Found] = []
    for rule in rules:
        for subject in history.subjects(rule.signal):
            if not rule.takes(subject):
                continue
            value_of = _reader(rule, subject, history)
            value = value_of(rule.signal)
            if rule.raise_.holds(value_of) is True:
                found.append(Found(rule, subject, value, _severity(rule, value_of)))
            elif _is_near(rule.raise_, rule.clear, value_of):
                near.append(Found(rule, subject, value, rule.severity))
    found.sort(key=lambda f: -_SEVERITY_RANK.get(f.severity, 1))
    return found, near


def _reader(rule: Rule, subject: str, history: History) -> Callable[[str], Value]:
    def value_of(signal: str) -> Value:
        part = subject if history.newest(signal, subject) is not None else ""
        if signal == rule.signal and rule.rise_ms:
            points = history.series(signal, part)
            return points[-1][1] - points[0][1] if points else None
        if signal == rule.signal and rule.fall_ms:
            levels = [value for _, value in history.series(signal, part)]
            return 100.0 * (max(levels) - levels[-1]) / max(levels) if levels and max(levels) > 0 else None
        return history.value(signal, part)

    return value_of


def _severity(rule: Rule, value_of: Callable[[str], Value]) -> str:
    is_worse = rule.worse is not None and rule.worse.holds(value_of) is True
    return rule.worse_severity if is_worse else rule.severity


def _is_near(raise_: Level, clear: Level, value_of: Callable[[str], Value]) -> bool:
    """A level with a number that is neither raised nor clear; words know no nearness."""
    has_number = any(isinstance(c.value, float) for c in clear.all)
    return has_number and raise_.holds(value_of) is False and clear.holds(value_of) is False


# --- for a program -----------------------------------------------------------------------------------------------


def as_document(seen: Look, found: Sequence[Found], language: str) -> Dict[str, Any]:
    """{"signals": {name: {value, unit}}, "lacks": {name: why}, "findings": [...]}."""
    signals: Dict[str, Dict[str, Any]] = {}
    parts: Dict[str, List[Value]] = {}
    for sample in seen.history.all_newest():
        name = f"{sample.signal}{{{sample.subject}}}" if sample.subject else sample.signal
        signals[name] = {"value": sample.value, "unit": UNITS.get(sample.signal, "")}
        if sample.subject:
            parts.setdefault(sample.signal, []).append(sample.value)
    for signal, values in parts.items():
        if signal not in signals:
            signals[signal] = {"value": worst(signal, values), "unit": UNITS.get(signal, "")}
    lacks = {**seen.lacks, **{f"sampler {name}": reason for name, reason in seen.failed.items()}}
    findings = [
        {
            "rule": f.rule.name,
            "family": f.rule.family,
            "severity": f.severity,
            "subject": f.subject,
            "signal": f.rule.signal,
            "value": f.value,
            "unit": UNITS.get(f.rule.signal, ""),
            "after_s": f.rule.raise_.for_ms / 1000,
            "text": sentence(f, language),
        }
        for f in found
    ]
    return {"signals": signals, "lacks": lacks, "findings": findings}


def worst(signal: str, values: Sequence[Value]) -> Value:
    """The value that stands for the host where its sampler gives only parts: the one farthest from the healthy one."""
    row = BY_NAME.get(signal)
    usual = row.baseline if row else None
    numbers = [v for v in values if isinstance(v, (int, float))]
    if numbers and isinstance(usual, (int, float)):
        return max(numbers, key=lambda v: abs(v - usual))
    return next((v for v in values if v != usual), values[0])


# --- for a person ------------------------------------------------------------------------------------------------


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
) -> List[str]:
    """The lines of the page, without the processes."""
    paint = _Paint(colour)
    lines = [paint("1", headline(seen.history, language, root, clock)), ""]
    if found:
        lines.append(paint("1;31", say("once.wrong", language)))
        for f in found:
            seconds = say_number(f.rule.raise_.for_ms / 1000, language, 0)
            later = say("once.holds_for", language, seconds=seconds) if f.rule.raise_.for_ms else ""
            text = paint("31" if _SEVERITY_RANK.get(f.severity, 1) >= 2 else "33", sentence(f, language))
            lines.append(f"  ! {text}" + (paint("2", f"  ({later})") if later else ""))
    else:
        lines.append(paint("32", say("once.nothing_wrong", language)))
    if near:
        lines += ["", paint("1;33", say("once.near", language))]
        lines += [f"  ~ {sentence(f, language)}" for f in near]
    if found:
        lines += ["", paint("1", say("once.blame", language)), "  " + blame(found, seen.history, language)]
    lines += ["", paint("1", say("once.numbers", language))]
    lines += [f"  {name:<16} {text}" for name, text in numbers(seen.history, language)]
    lines += _lacks(seen, language, paint)
    return lines


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


def show(value: Value, unit: str, language: str) -> str:
    """A value with its unit as people write it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (int, float)):
        # Units such as "ratio", "count" and the lists of words say nothing beside the number.
        tail = "" if unit in ("ratio", "count", "bits") or "|" in unit else f" {_unit(unit, language)}"
        return say_number(float(value), language) + tail
    key = f"state.{value}"
    return say(key, language) if key in TEXTS else str(value)


_UNITS_UK = {"ms": "мс", "s": "с", "days": "дн.", "1/s": "1/с", "1/h": "1/год", "MiB": "МіБ", "MiB/s": "МіБ/с",
             "GiB": "ГіБ", "GiB/h": "ГіБ/год", "Mbit/s": "Мбіт/с", "kpkt/s": "тис. пак./с", "kB": "кБ"}  # fmt: skip


def _unit(unit: str, language: str) -> str:
    return _UNITS_UK.get(unit, unit) if language == "uk" else unit


def blame(found: Sequence[Found], history: History, language: str) -> str:
    """One cautious sentence: below this server, in it, both, or not to be told from one look."""
    below: List[str] = []
    own: List[str] = []
    for f in found:
        side, reason = _side(f, history)
        target = below if side == "below" else own if side == "own" else None
        if target is not None:
            text = say(f"why.{reason}", language)
            if text not in target:
                target.append(text)
    if below and own:
        return say("blame.both", language, below="; ".join(below[:2]), own="; ".join(own[:2]))
    if below:
        return say("blame.below", language, why="; ".join(below[:3]))
    if own:
        return say("blame.own", language, why="; ".join(own[:3]))
    return say("blame.unclear", language, why=say("why.other", language))


def _side(f: Found, history: History) -> Tuple[str, str]:
    if f.rule.family == "io" and f.rule.name != "disk_stuck":
        # Little's law: a deep queue of our own requests, or a slow answer to few of them (signals.md, D5).
        depth = history.value("disk.qdepth", f.subject)
        if isinstance(depth, (int, float)):
            return ("own", "disk_own") if depth >= 4 else ("below", "disk_below")
        return "", ""
    if f.rule.name in _BELOW:
        return "below", _BELOW[f.rule.name]
    reason = _OWN.get(f.rule.family)
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


def top_lines(language: str, colour: bool, root: Path) -> List[str]:
    """The largest processes, by a second look at the table."""
    paint = _Paint(colour)
    notes: Dict[str, Any] = {}
    rows = top_processes(root, notes, _pause)
    if not rows:
        return []
    lines = ["", paint("1", say("once.top", language))]
    for by in ("cpu", "memory", "io"):
        for row in [r for r in rows if r["by"] == by][:3]:
            io = (
                ""
                if row["io_mbps"] is None
                else f"{say_number(row['io_mbps'], language)} {_unit('MiB/s', language)}"
            )
            memory = f"{say_number(row['rss_mb'], language, 0)} {_unit('MiB', language)}"
            lines.append(
                f"  {say(f'once.by_{by}', language):<10} {row['name'][:20]:<20} {row['pid']:>7} {row['user'][:12]:<12}"
                f" {say_number(row['cpu_pct'], language):>6} % {memory:>10} {io:>12}".rstrip()
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
        lines.append(paint("2", f"  {shown}: {say_lack(reason, language)}"[:WIDTH]))
    if len(by_reason) > MAX_LACKS:
        lines.append(paint("2", "  " + say("once.lacks_more", language, n=len(by_reason) - MAX_LACKS)))
    return lines
