"""What must hold at every tick of the desk's month, and the counter of minutes that judges it at the end.

The counter knows nothing of stopwatches, spans or events' clocks: it has the sim's own notes of what was done to a
ticket, and asks the wall clock of the contract's zone about every minute. It counts the terms that were in force when a
clock ended, or those in force now for one that did not.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, or_, select

from ticketing import calls as desk_calls
from ticketing import clock_proof
from ticketing.calendar import DAYS, parse_hours
from ticketing.tables import calls, clocks, outbox, ticket_events, tickets
from ticketing.terms import Contract

if TYPE_CHECKING:
    from tests.sim.desk_month import Desk

MINUTE_MS = 60_000
OVERDUE_MS = 120_000
UNSAID_MS = 31 * MINUTE_MS
"""The sim ticks at what is due, or after half an hour; a call that outlasts that was forgotten."""
WRONG_MAX = 20
RINGS_MOST = 2 * desk_calls.MOST_CALLS
"""A lead may be told of others' calls beside their own."""

MOVES = ("ask_client", "client_answered", "ask_provider", "provider_answered", "resolve", "reopen", "merge")
"""Acts that start or stop a clock."""

REACTIONS = (
    "take",
    "ask_client",
    "client_answered",
    "ask_provider",
    "provider_answered",
    "escalate",
    "resolve",
)
"""What the client sees of somebody who cares, done by the staff."""


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing that was done to a ticket, as somebody beside the desk would write it down."""

    at_ms: int
    what: str
    contract_id: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a month went."""

    counts: dict[str, int]
    wrong: list[str]

    @property
    def is_right(self) -> bool:
        return not self.wrong

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"{count:>8} {name}" for name, count in sorted(self.counts.items())]
        return [*told, *(f"WRONG {words}" for words in self.wrong), "right" if self.is_right else "broken"]


def is_reaction(act: str, person: str, fields: dict[str, Any]) -> bool:
    """Whether the client was promised this: a word that it sees, or somebody who takes the ticket."""
    if act == "note":
        return bool(fields.get("is_public"))
    return act in REACTIONS or (act == "assign" and fields.get("assignee") == person)


def look(conn: Connection, now_ms: int) -> tuple[str | None, tuple[int, int, int] | None]:
    """The laws of every tick: an open ticket has its clocks and a next step; and the step that is longest overdue.

    The overdue step is its ticket, the instant and the ticket's version: of several steps that fell due at one instant
    (a class that changes makes them so) each tick takes one, and that moves the version.
    """
    lacking = conn.execute(_LACKING).first()
    late = conn.execute(_LATE.where(tickets.c.next_step_at_ms < now_ms - OVERDUE_MS)).first()
    broken = f"ticket {lacking.id} has no next step, or not its clocks" if lacking else None
    unsaid = conn.execute(_UNSAID.where(calls.c.due_at_ms < now_ms - UNSAID_MS)).first()
    if unsaid is not None and broken is None:
        broken = f"call {unsaid.id} is left lying since {unsaid.due_at_ms}"
    return broken, None if late is None else (late.id, late.next_step_at_ms, late.version)


_LACKING = (
    select(tickets.c.id)
    .where(
        tickets.c.open_mark == 1,
        or_(
            tickets.c.next_step_at_ms.is_(None),
            ~select(clocks.c.kind)
            .where(
                clocks.c.ticket_id == tickets.c.id,
                clocks.c.kind == "resolution",
                or_(
                    clocks.c.state == "running", (clocks.c.state == "paused") & (clocks.c.pause_reason != "")
                ),
            )
            .exists(),
            ~select(clocks.c.kind)
            .where(clocks.c.ticket_id == tickets.c.id, clocks.c.kind == "reaction")
            .exists(),
        ),
    )
    .limit(1)
)
_UNSAID = select(calls.c.id, calls.c.due_at_ms).order_by(calls.c.due_at_ms).limit(1)
_LATE = (
    select(tickets.c.id, tickets.c.next_step_at_ms, tickets.c.version)
    .order_by(tickets.c.next_step_at_ms)
    .limit(1)
)


class Minutes:
    """Which minutes count under a contract, each asked of the wall clock, and their running total."""

    def __init__(self, contract: Contract, from_ms: int, to_ms: int) -> None:
        terms = contract.calendar
        self._from = from_ms
        self._tz = ZoneInfo(terms.zone)
        self._week = {day: [parse_hours(text) for text in terms.hours.get(day, [])] for day in DAYS}
        self._always = not terms.hours
        self._free = set(terms.holidays)
        self._instead = {day: [parse_hours(t) for t in texts] for day, texts in terms.working_days.items()}
        self.totals = [0]
        for at in range(from_ms, to_ms, MINUTE_MS):
            self.totals.append(self.totals[-1] + (1 if self._counts(at) else 0))

    def between(self, from_ms: int, to_ms: int) -> int:
        """Milliseconds that count; both ends are whole minutes, but for the very last."""
        first, last = (from_ms - self._from) // MINUTE_MS, (to_ms - self._from) // MINUTE_MS
        return (self.totals[last] - self.totals[first]) * MINUTE_MS

    def reaches(self, from_ms: int, need_ms: int) -> int | None:
        """The instant at which so much has counted since a whole minute; None where it is past the month."""
        whole, rest = divmod(need_ms, MINUTE_MS)
        base = self.totals[(from_ms - self._from) // MINUTE_MS]
        if rest == 0:
            place = bisect.bisect_left(self.totals, base + whole)
            return None if place >= len(self.totals) else self._from + place * MINUTE_MS
        # The minute in which the rest counts is the one that brings the total over the whole ones.
        place = bisect.bisect_left(self.totals, base + whole + 1)
        return None if place >= len(self.totals) else self._from + (place - 1) * MINUTE_MS + rest

    def _counts(self, at_ms: int) -> bool:
        local = dt.datetime.fromtimestamp(at_ms / 1000, self._tz)
        minute, today = local.hour * 60 + local.minute, local.date()
        return self._holds(today, minute) or self._holds(today - dt.timedelta(days=1), minute + 1440)

    def _holds(self, day: dt.date, minute: int) -> bool:
        if day.isoformat() in self._instead:
            spans = self._instead[day.isoformat()]
        elif day.isoformat() in self._free:
            return False
        elif self._always:
            return minute < 1440
        else:
            spans = self._week[DAYS[day.weekday()]]
        return any(begin <= minute < end for begin, end in spans)


@dataclasses.dataclass
class _Lived:
    """Stretches in which a clock ran, by the notes; ``ended_ms`` = it stands for good (so far)."""

    ran: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    since_ms: int | None = None
    ended_ms: int | None = None

    def start(self, at_ms: int) -> None:
        self.ended_ms = None
        if self.since_ms is None:
            self.since_ms = at_ms

    def rest(self, at_ms: int) -> None:
        if self.since_ms is not None:
            self.ran.append((self.since_ms, at_ms))
        self.since_ms = None

    def end(self, at_ms: int) -> None:
        self.rest(at_ms)
        if self.ended_ms is None:
            self.ended_ms = at_ms


def judge(desk: Desk) -> Verdict:
    """Count every clock of every ticket again, and look at everything that was told of it."""
    wrong: list[str] = []
    begin_ms = min(since for known in desk.versions.values() for since, _ in known)
    wall = _Wall(desk, begin_ms)
    told: dict[tuple[int, str], list[Any]] = defaultdict(list)
    counts: Counter[str] = Counter(desk.counts)
    with desk.store.read() as conn:
        wanted = select(
            ticket_events.c.ticket_id, ticket_events.c.at_ms, ticket_events.c.kind, ticket_events.c.body
        )
        kinds = ticket_events.c.kind.in_(("warn", "breach"))
        for event in conn.execute(wanted.where(kinds).order_by(ticket_events.c.id)):
            told[event.ticket_id, event.body["clock"]].append(event)
            counts["late" if event.body["late"] else "in time"] += 1
        classes = {row.id: row[1] for row in conn.execute(select(tickets.c.id, tickets.c["class"]))}
        for row in conn.execute(select(clocks)).mappings():
            notes = desk.notes.get(row["ticket_id"])
            if notes is None:
                continue  # a ticket about ourselves
            counts["clocks counted again"] += 1
            wrong += _wrong_clock(desk, wall, row, notes, classes[row["ticket_id"]])
            wrong += _wrong_words(wall, row, notes, told[row["ticket_id"], row["kind"]])
            if len(wrong) > WRONG_MAX:
                break
        counts["tickets"] = len(desk.notes)
        wrong += _rings(conn, counts)
    proved = desk.store.write(lambda tx: _disagreements(desk, tx))
    if len(desk.notes) < desk.wanted // 2:
        wrong.append(f"only {len(desk.notes)} tickets came of {desk.wanted}: the month proves nothing")
    return Verdict(dict(counts), wrong[:WRONG_MAX] + proved[:WRONG_MAX])


def _rings(conn: Connection, counts: Counter[str]) -> list[str]:
    """Nobody was rung more often than people can take in, and no message about one call went out twice."""
    rung: dict[str, list[int]] = defaultdict(list)
    said: Counter[tuple[int, str]] = Counter()
    for row in conn.execute(select(outbox.c.payload, outbox.c.created_at_ms).order_by(outbox.c.id)):
        person = row.payload.get("person")
        if person is None:
            continue
        counts[f"told {row.payload['event']}"] += 1
        said[row.payload["event_id"], person] += 1
        if row.payload["event"] in ("opened", "reopened", "escalated", "requalified", "consulted"):
            rung[person].append(row.created_at_ms)
    wrong = [
        f"{person} was rung {RINGS_MOST} times within {desk_calls.WINDOW_MS} ms from {first}"
        for person, times in rung.items()
        for first, last in zip(times, times[RINGS_MOST:], strict=False)
        if last - first < desk_calls.WINDOW_MS
    ]
    wrong += [f"{person} was told {n} times of event {event}" for (event, person), n in said.items() if n > 2]
    return wrong


def _disagreements(desk: Desk, tx: Connection) -> list[str]:
    """Rows against events, as the nightly proof looks at them."""
    found = ((ticket_id, clock_proof.disagreements(tx, desk.book, ticket_id)) for ticket_id in desk.notes)
    return [
        f"ticket {ticket_id}: rows and events disagree about {kinds}" for ticket_id, kinds in found if kinds
    ]


class _Wall:
    """The counters of all versions of all contracts."""

    def __init__(self, desk: Desk, begin_ms: int) -> None:
        self.desk, self._begin = desk, begin_ms
        self._known: dict[Any, Minutes] = {}

    def terms(self, contract_id: str, at_ms: int) -> Contract:
        """What was in force at an instant; of a contract that left, what was last."""
        return [terms for since, terms in self.desk.versions[contract_id] if since <= at_ms][-1]

    def minutes(self, contract: Contract) -> Minutes:
        calendar = contract.calendar
        key = (calendar.zone, str(calendar.hours), str(calendar.holidays), str(calendar.working_days))
        if key not in self._known:
            self._known[key] = Minutes(contract, self._begin, self.desk.end_ms + MINUTE_MS)
        return self._known[key]


def _lived(kind: str, notes: list[Note]) -> _Lived:
    """When this clock ran, by what was done to the ticket."""
    one, has_reacted = _Lived(), False
    for note in notes:
        what, at_ms = note.what, note.at_ms
        if what in ("resolve", "merge"):
            one.end(at_ms)
        elif kind == "provider":
            if what == "ask_provider":
                one.start(at_ms)
            elif what == "provider_answered":
                one.rest(at_ms)
        elif kind == "reaction":
            if what == "react" and not has_reacted:
                has_reacted = True
                one.end(at_ms)
            elif what in ("start", "reopen") and not has_reacted:
                one.start(at_ms)
        elif what in ("start", "reopen", "client_answered"):
            one.start(at_ms)
        elif what == "ask_client":
            one.rest(at_ms)
    return one


def _wrong_clock(desk: Desk, wall: _Wall, row: Any, notes: list[Note], class_: int) -> list[str]:
    name = f"ticket {row['ticket_id']} {row['kind']}"
    one = _lived(row["kind"], notes)
    at_ms = one.ended_ms if one.ended_ms is not None else desk.end_ms
    contract = wall.terms(notes[0].contract_id, at_ms)
    minutes = wall.minutes(contract)
    ran = [*one.ran, *([(one.since_ms, desk.end_ms)] if one.since_ms is not None else [])]
    spent = sum(minutes.between(begin, end) for begin, end in ran)
    state = "stopped" if one.ended_ms is not None else "running" if one.since_ms is not None else "paused"
    found: list[str] = []
    if row["state"] != state:
        return [f"{name}: {row['state']}, should be {state}; {[(n.what, n.at_ms) for n in notes]}"]
    shown = row["spent_ms"]
    if row["running_since_ms"] is not None:
        shown += minutes.between(row["running_since_ms"], desk.end_ms)
    if shown != spent:
        found.append(
            f"{name}: shows {shown / 60000:g} min, the wall clock counts {spent / 60000:g} ({contract.id})"
        )
    if state == "stopped" and row["outcome"] not in ("kept", "breached", "moot"):
        found.append(f"{name}: ended with {row['outcome']!r}")
    if state == "stopped" and spent > row["target_ms"] and row["outcome"] != "breached":
        found.append(f"{name}: {spent} of {row['target_ms']} ms and called {row['outcome']!r}")
    if one.ended_ms is None:
        times = contract.times(class_)
        promised = {
            "reaction": times.reaction, "resolution": times.resolution, "provider": contract.provider_sla
        }[row["kind"]]  # fmt: skip
        if row["target_ms"] != round(promised * 1000):
            found.append(f"{name}: the target is {row['target_ms']}, promised were {promised} s")
    return found


def _wrong_words(wall: _Wall, row: Any, notes: list[Note], told: list[Any]) -> list[str]:
    """Warnings and breach: each once a promise, in order, late ones called late; of a plain life also when each was due."""
    name = f"ticket {row['ticket_id']} {row['kind']}"
    found = [
        f"{name}: {event.kind} {event.body['pct']} at {event.at_ms} is told late={event.body['late']}"
        for event in told
        if event.body["late"] != (event.body["told_at_ms"] - event.at_ms > 60_000)
    ]
    percents = [event.body["pct"] for event in told]
    if percents.count(100) > 1:
        found.append(f"{name}: breached twice")
    desk, contract_id = wall.desk, notes[0].contract_id
    one = _lived(row["kind"], notes)
    at_ms = one.ended_ms if one.ended_ms is not None else desk.end_ms
    changed = any(notes[0].at_ms < since <= at_ms for since, _ in desk.versions[contract_id])
    if (
        changed
        or any(note.what == "class" for note in notes)
        or row["kind"] == "provider"
        or len(one.ran) > 1
    ):
        return found
    ran = [*one.ran, *([(one.since_ms, desk.end_ms)] if one.since_ms is not None else [])]
    if len(ran) != 1:
        return found
    (begin, end) = ran[0]
    minutes = wall.minutes(wall.terms(contract_id, at_ms))
    due = [(pct, minutes.reaches(begin, -(-row["target_ms"] * pct // 100))) for pct in (50, 75, 90, 100)]
    # What falls due in the minute of the end, or while nobody ticks before it, may be overtaken by the end itself.
    wanted = [(pct, at) for pct, at in due if at is not None and at < end]
    said = [(event.body["pct"], event.at_ms) for event in told]
    missing = [
        (pct, at) for pct, at in wanted if (pct, at) not in said and at < end - desk_slack(desk, at, end)
    ]
    extra = [entry for entry in said if entry not in due]
    if missing or extra or len(said) != len(set(said)):
        found.append(f"{name}: told {said}, due were {wanted}")
    return found


def desk_slack(desk: Desk, due_ms: int, end_ms: int) -> int:
    """How long after its instant a word may be unsaid when the ticket ends: two ticks, or as long as we were away."""
    slept = [until - begin for begin, until in desk.slept if begin <= due_ms + 60_000 and until >= due_ms]
    return 60_000 + (max(slept) + 60_000 if slept else 0)
