"""Kernel logs: what the patterns make of crash logs, whole host logs and incident cases, by SCORE.md's definitions."""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.signals.parsers.drops import count_drops
from agent.signals.parsers.error import ParseError
from agent.signals.patterns import KernelWatch, classify
from tests.score.snapshots import jsonl

GROUPS = {
    "soft_lockup": "lockup",
    "hard_lockup": "lockup",
    "workqueue_lockup": "lockup",
    "spinlock_lockup": "lockup",
}
FAMILIES = ("hung_task", "rcu_stall", "lockup", "oops")
LINE_MS = 1
"""Crash logs carry no usable clock: lines follow one another at once, so that an episode is one."""


@dataclasses.dataclass
class Item:
    """One log, and the causes that the watch told as faults."""

    id: str
    family: str
    panicked: bool
    told: set[str]


def crash_logs(path: Path) -> list[Item]:
    items = []
    for entry in jsonl(path):
        watch, told = KernelWatch(max_per_minute=10**9), set()
        for number, line in enumerate(entry["log"].splitlines()):
            for said in watch.take(line, number * LINE_MS):
                if said.match.is_fault:
                    told.add(GROUPS.get(said.match.id, said.match.id))
        items.append(Item(entry["id"], entry["family"], bool(entry["panicked"]), told))
    return items


def half(items: Iterable[Item], *, held_out: bool) -> list[Item]:
    """Halves by hash: patterns were written against the one and checked against the other."""
    return [i for i in items if hashlib.sha256(i.id.encode()).digest()[0] % 2 == int(held_out)]


@dataclasses.dataclass(frozen=True)
class Shares:
    """Recall and precision of one cause."""

    hits: int
    items: int
    flagged: int

    @property
    def recall(self) -> float:
        return self.hits / self.items if self.items else 1.0

    @property
    def precision(self) -> float:
        return self.hits / self.flagged if self.flagged else 1.0


def family_shares(items: Iterable[Item], family: str) -> Shares:
    """``debug_only`` is not scored."""
    scored = [i for i in items if i.family != "debug_only"]
    mine = [i for i in scored if i.family == family]
    return Shares(sum(family in i.told for i in mine), len(mine), sum(family in i.told for i in scored))


def panic_shares(items: Iterable[Item]) -> Shares:
    scored = list(items)
    mine = [i for i in scored if i.panicked]
    return Shares(sum("panic" in i.told for i in mine), len(mine), sum("panic" in i.told for i in scored))


def none_flagged(items: Iterable[Item]) -> tuple[list[str], list[str]]:
    """Items without a crash that are flagged: by any cause but a panic, and by a panic (judged by its own flag)."""
    flagged = [i for i in items if i.family == "none" and i.told]
    return (
        [f"{i.id}: {', '.join(sorted(i.told - {'panic'}))}" for i in flagged if i.told - {"panic"}],
        [i.id for i in flagged if i.told == {"panic"}],
    )


@dataclasses.dataclass
class Hosts:
    """Whole logs of healthy hosts."""

    lines: int = 0
    flagged: list[str] = dataclasses.field(default_factory=list)
    distinct: set[str] = dataclasses.field(default_factory=set)


def healthy_hosts(folder: Path) -> Hosts:
    found = Hosts()
    for path in sorted(folder.glob("*")):
        raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        for line in raw.decode("utf-8", "replace").splitlines():
            found.lines += 1
            match = classify(line)
            if match is not None and match.is_fault:
                found.flagged.append(f"{path.name}: {line.strip()[:120]}")
                found.distinct.add(re.sub(r"0x[0-9a-f]+|\d+", "#", line))
    return found


@dataclasses.dataclass
class Cases:
    """Incident cases: what was found in each."""

    found: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    missed: list[str] = dataclasses.field(default_factory=list)
    beyond: list[str] = dataclasses.field(default_factory=list)
    """Cases outside the mark (neither disk, conntrack nor network) in which nothing was found."""
    false: list[str] = dataclasses.field(default_factory=list)


def _is_marked(case: dict[str, Any]) -> bool:
    """A disk, conntrack or network fault, by the class that the reference raises or the case's own subject."""
    words = " ".join(case["raised"]) + " " + case["id"].rsplit("/", 1)[-1]
    return bool(case["raised"]) and re.search(r"(?i)network|disk|conntrack", words) is not None


def scenarios(path: Path) -> Cases:
    cases = Cases()
    for case in jsonl(path):
        causes = sorted({cause for name, text in case["files"].items() for cause in _causes(name, text)})
        cases.found[case["id"]] = causes
        if not case["raised"]:
            if causes:
                cases.false.append(f"{case['id']}: {causes}")
        elif not causes:
            (cases.missed if _is_marked(case) else cases.beyond).append(case["id"])
    return cases


def _causes(name: str, text: str) -> list[str]:
    if name.startswith("var/log"):
        watch = KernelWatch()
        return [
            said.match.id
            for number, line in enumerate(text.splitlines())
            for said in watch.take(line, number * LINE_MS)
            if said.match.is_fault or said.match.id == "call_trace"
        ]
    kind = {"proc/net/snmp": 0, "proc/net/netstat": 1, "proc/net/netlink": 2}.get(name)
    if kind is None:
        return []
    texts = ["", "", ""]
    texts[kind] = text
    try:
        return [f"{what}_drops" for what, count in count_drops(*texts).items() if count]
    except ParseError:
        return []


def incidents(path: Path) -> dict[str, list[str]]:
    """node-problem-detector's cases: id -> causes told."""
    found = {}
    for case in jsonl(path):
        watch = KernelWatch()
        lines = enumerate(case["log"].splitlines())
        found[case["id"]] = [s.match.id for number, line in lines for s in watch.take(line, number * LINE_MS)]
    return found
