"""What a ticket holds, and a newly found symptom, as the rules of joining see them: one finding, one ``OpenProblem``.

Reads findings only; whether two of them are one problem is decided in ``collector.qualify.subjects``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from collector.qualify.case import Case, Held, as_number
from collector.qualify.subjects import ELSEWHERE_RULE, MOMENTS, OpenProblem, stem

FULL_PCT = 95.0
"""A file system this full explains what fails on it."""

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
    """Whether some file system of the host has no room left, by its findings or by its newest vitals."""
    said = [held.facts["fs.used_pct"].now for held in case.held() if "fs.used_pct" in held.facts]
    numbers = [as_number(value) or 0.0 for value in (*said, case.host.vitals.get("fs.used_pct"))]
    return max(numbers) >= FULL_PCT


def is_short(case: Case) -> bool:
    """Whether the host is short of memory now, by what it told last."""
    free = case.number("mem.avail_pct")
    return free is not None and free < SHORT_PCT
