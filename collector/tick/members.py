"""What a ticket holds, and a newly found symptom, as the rules of joining see them: one finding, one ``OpenProblem``.

Reads findings only; whether two of them are one problem is decided in ``collector.qualify.subjects``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from collector.qualify.case import Case, Held, as_number
from collector.qualify.subjects import ELSEWHERE_RULE, MOMENTS, OpenProblem, is_named, stem

FULL_PCT = 95.0
"""A file system this full explains what fails on it."""

ACT_BEFORE_MS = 120_000
"""An act this little before a fault is its first explanation (signals.md 1 rule 9)."""

FILLED = ("fs.used_pct", "fs.inode_pct")
"""Space and inodes: without either of them nothing more can be written."""

SHORT_PCT = 10.0
"""With less memory free than this its want goes on, whatever was killed for it."""

_KILLED = re.compile(
    r"Kill(?:ed)? process \d+ \(([^)]+)\)|task_memcg=\S*?/([^/\s,]+)\.(?:service|scope|slice)\b"
)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|Errcode: 28|ENOSPC|[Dd]isk is full")


def member(ticket_id: int, subject: str, cause: str, held: Held) -> OpenProblem:
    """A finding as part of a problem: the ticket's (0 = none yet), with the subject and cause that it has there."""
    word = held.facts.get("silence.outcome")
    return OpenProblem(
        ticket_id,
        held.host_id,
        subject,
        held.family,
        cause,
        held.at_ms,
        frozenset({stem(held.subject)}) if held.subject else frozenset(),
        held.is_outside,
        str(word.now) if word is not None else "",
        moment_ms=held.told_at_ms if held.rule in MOMENTS else None,
        names=named(held.lines),
        is_elsewhere=held.rule == ELSEWHERE_RULE,
        lacks_room=any(_NO_ROOM.search(line) for line in held.lines),
        is_member=True,
    )


def named(lines: Iterable[str]) -> frozenset[str]:
    """Bare names of the programs and units that the kernel says it killed."""
    found = {group for line in lines for match in _KILLED.finditer(line) for group in match.groups() if group}
    return frozenset(stem(name) for name in found)


def same_by_act(case: Case) -> frozenset[str]:
    """Bare names under which the judged part is known too: an operator's act felled a service, and names the unit behind it.

    Of a service that is not reached those of the host's failed units; of such a unit those of the services.
    """
    held = list(case.held())
    services = [h for h in held if h.family == "service" and h.is_outside]
    units = [h for h in held if h.family in ("unit", "process")]
    pairs = [
        (service, unit)
        for service in services
        for unit in units
        if case.subject in (service, unit) and is_named(unit.subject, _acts_before(case, service.at_ms))
    ]
    return frozenset(
        stem(unit.subject if case.subject is service else service.subject) for service, unit in pairs
    )


def _acts_before(case: Case, at_ms: int) -> list[str]:
    acts = [s for s in case.seen if s.signal == "ops.action" and s.host_id == case.host.id]
    return [str(s.value) for s in acts if at_ms - ACT_BEFORE_MS <= s.at_ms <= at_ms]


def as_it_stands(problem: OpenProblem, members: Iterable[OpenProblem], case: Case) -> OpenProblem:
    """The ticket's own entry with what is left of it: an instant, where nothing of its family lasts on the host."""
    mine = [m for m in members if (m.ticket_id, m.family) == (problem.ticket_id, problem.family)]
    moments = [m.moment_ms for m in mine if m.moment_ms is not None]
    if not moments or (problem.family == "memory" and is_short(case)):
        return dataclasses.replace(problem, moment_ms=None)
    if any(m.moment_ms is None and m.is_member for m in mine):
        return problem
    names = frozenset[str]().union(*(m.names for m in mine))
    return dataclasses.replace(problem, moment_ms=max(moments), names=names)


def is_full(case: Case) -> bool:
    """Whether some file system of the host has no room or no inodes left, by its findings or by its newest vitals."""
    said = [held.facts[name].now for held in case.held() for name in FILLED if name in held.facts]
    said += [case.host.vitals.get(name) for name in FILLED]
    return any((as_number(value) or 0.0) >= FULL_PCT for value in said)


def is_short(case: Case) -> bool:
    """Whether the host is short of memory now, by what it told last."""
    free = case.number("mem.avail_pct")
    return free is not None and free < SHORT_PCT
