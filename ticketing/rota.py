"""Who is on call at an instant, and why that one: pure, over rotas, absences and people.

Theory of operation. Of each rota of the line whose hours hold now one person has the turn; who is away gives it to the one
who stands in, else to the next of the rota who is there. Among those on call the first whose profiles hold what the cause
needs is called; where nobody on call has the profile the first one is, and the reason says so, for a person on call who
asks a colleague is better than one who sleeps. In a gap of the rota (outside its hours, everybody away) the ticket goes to
the line's lead, and the reason says why; a line without any rota keeps the ticket as a line, and its lead is told. Where there
is no lead either, nobody is named: the line sees it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from ticketing.duty import Absence, Rota
from ticketing.model import Reason

ON_CALL = ("reason.duty.on_call", "reason.duty.stand_in", "reason.duty.no_profile")
DUTY = (*ON_CALL, "reason.duty.lead", "reason.duty.unanswered")
"""Reasons of a call that somebody's duty brings; others are asked by name, at whatever hour they are."""


@dataclasses.dataclass(frozen=True)
class Colleague:
    """Somebody of the staff who may be called."""

    id: str
    role: str
    line: int | None
    profiles: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """Who is called, and the words for it."""

    person: str | None
    reason: Reason
    assigns: bool = True
    """The ticket becomes theirs. A lead who is told because the line has no rota at all gets no ticket: the line has it."""

    @property
    def is_duty(self) -> bool:
        """Whether it is their turn (or the lead's, for want of anybody): such a call rings at any hour."""
        return self.reason.key in DUTY

    def to_dict(self) -> dict[str, Any]:
        """As an event's body holds it."""
        return {"person": self.person, "reason": self.reason.to_dict()}


@dataclasses.dataclass(frozen=True)
class _Turn:
    """Whose turn it is in one rota, and who was passed over."""

    person: str
    instead_of: str


def on_call(
    rotas: Sequence[Rota],
    absences: Sequence[Absence],
    staff: Mapping[str, Colleague],
    line: int,
    profile: str,
    at_ms: int,
) -> Call:
    """Who of a line is called for a cause that needs ``profile``; ``rotas`` are those that hold for the contract."""
    mine = [rota for rota in rotas if rota.line == line]
    open_now = [rota for rota in mine if rota.calendar.is_working(at_ms)]
    turns = [turn for rota in open_now if (turn := _turn(rota, absences, staff, at_ms)) is not None]
    if not turns:
        why = "no_rota" if not mine else "outside_hours" if not open_now else "all_away"
        return _lead(mine, absences, staff, line, why, at_ms)
    fit = [turn for turn in turns if profile in staff[turn.person].profiles]
    chosen = (fit or turns)[0]
    params = {"who": chosen.person, "line": line, "profile": profile, "instead_of": chosen.instead_of}
    if not fit and profile:
        return Call(chosen.person, Reason("reason.duty.no_profile", params))
    if chosen.instead_of:
        return Call(chosen.person, Reason("reason.duty.stand_in", params))
    return Call(chosen.person, Reason("reason.duty.on_call", params))


def is_away(person: str, absences: Sequence[Absence], at_ms: int) -> bool:
    """Whether an absence of this person holds."""
    return any(absence.person == person and absence.holds_at(at_ms) for absence in absences)


def turn_number(rota: Rota, at_ms: int) -> int:
    """How many turns were handed over since the first; below zero before it. By local days, so no summer time moves it."""
    starts = dt.datetime.fromisoformat(rota.starts)
    local = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(rota.zone)).replace(tzinfo=None)
    days = (local.date() - starts.date()).days - (1 if local.time() < starts.time() else 0)
    return days // rota.turn_days


def _turn(
    rota: Rota, absences: Sequence[Absence], staff: Mapping[str, Colleague], at_ms: int
) -> _Turn | None:
    """Whose turn it is; None where nobody of the rota is there."""

    def is_there(person: str) -> bool:
        return person in staff and not is_away(person, absences, at_ms)

    place = turn_number(rota, at_ms) % len(rota.people)
    first = rota.people[place]
    if is_there(first):
        return _Turn(first, "")
    stand_ins = [a.instead for a in absences if a.person == first and a.instead and a.holds_at(at_ms)]
    following = [rota.people[(place + n) % len(rota.people)] for n in range(1, len(rota.people))]
    other = next((person for person in (*stand_ins, *following) if is_there(person)), None)
    return None if other is None else _Turn(other, first)


def _lead(
    mine: Sequence[Rota],
    absences: Sequence[Absence],
    staff: Mapping[str, Colleague],
    line: int,
    why: str,
    at_ms: int,
) -> Call:
    params: dict[str, Any] = {"line": line, "why": why}
    person = lead(mine, absences, staff, line, at_ms)
    if person is None:
        return Call(None, Reason("reason.duty.nobody", params))
    return Call(person, Reason("reason.duty.lead", params | {"who": person}), why != "no_rota")


def lead(
    mine: Sequence[Rota],
    absences: Sequence[Absence],
    staff: Mapping[str, Colleague],
    line: int,
    at_ms: int,
    but: str = "",
) -> str | None:
    """The lead whom a rota of the line names, else a lead of this line, else of a line above; never ``but``."""
    leads = sorted(
        (c for c in staff.values() if c.role == "lead" and (c.line or 0) >= line),
        key=lambda c: (c.line or 0, c.id),
    )
    named = [rota.lead for rota in mine if rota.lead in staff]
    there = (p for p in (*named, *(c.id for c in leads)) if p != but and not is_away(p, absences, at_ms))
    return next(there, None)
