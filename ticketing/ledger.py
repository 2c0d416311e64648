"""How a ticket's rows change together: ticket, events, clocks, hosts, next step. Used by intake, acts and clock step.

Every function takes the transaction that the collector opened. A ticket is always read for update before it changes,
so that on PostgreSQL a person's act and the tick's verdict wait for each other instead of overwriting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from ticketing import audit, clocks, tables
from ticketing.calendar import Calendar
from ticketing.clocks import Change, Stopwatch
from ticketing.contracts import Book
from ticketing.model import ClockKind, ClockState, Reason, TicketState
from ticketing.tables import RowLike
from ticketing.terms import Contract

MACHINE = "machine"

_OPEN_VALUES = (
    TicketState.NEW.value,
    TicketState.IN_WORK.value,
    TicketState.WAITING_CLIENT.value,
    TicketState.WAITING_PROVIDER.value,
)

# Built once: thousands of tickets may change in one tick, and building a statement costs more than running it.
_TICKET = select(tables.tickets).where(tables.tickets.c.id == bindparam("b_id")).with_for_update()
_CHANGE = update(tables.tickets).where(tables.tickets.c.id == bindparam("b_id"))
_MOVE_UP = (
    update(tables.ticket_hosts)
    .where(tables.ticket_hosts.c.ticket_id == bindparam("b_id"))
    .values(updated_at_ms=bindparam("b_at"))
)
_EVENT = insert(tables.ticket_events)
_EVENTS = _EVENT.returning(tables.ticket_events.c.id, sort_by_parameter_order=True)


def ticket_row(tx: Connection, ticket_id: int) -> RowMapping | None:
    """The ticket, locked against other writers until the transaction ends (SQLite has one writer anyway)."""
    return tx.execute(_TICKET, {"b_id": ticket_id}).mappings().first()


def is_open(row: RowLike) -> bool:
    """Whether the ticket still asks for work."""
    return row["state"] in _OPEN_VALUES


def write_event(
    tx: Connection,
    ticket_id: int,
    at_ms: int,
    actor: str,
    kind: str,
    body: Mapping[str, Any] | None = None,
    *,
    is_public: bool = False,
) -> int:
    """Append to the ticket's history; returns the event's id."""
    row = event_values(ticket_id, at_ms, actor, kind, body, is_public=is_public)
    result = tx.execute(_EVENT, row)
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def event_values(
    ticket_id: int,
    at_ms: int,
    actor: str,
    kind: str,
    body: Mapping[str, Any] | None = None,
    *,
    is_public: bool = False,
) -> dict[str, Any]:
    """The columns of an event's row."""
    return {
        "ticket_id": ticket_id,
        "at_ms": at_ms,
        "actor": actor,
        "kind": kind,
        "is_public": is_public,
        "body": dict(body or {}),
    }


def write_events(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Append many events at once; their ids, in order."""
    return [int(event_id) for event_id in tx.execute(_EVENTS, [dict(row) for row in rows]).scalars()]


def change_ticket(tx: Connection, row: RowLike, now_ms: int, **values: Any) -> dict[str, Any]:
    """Write values and a new version; returns the row as it stands now. The row must have been read in this tx.

    ``updated_at_ms`` never goes back: pages continue after (updated_at_ms, id), and a wall clock may step.
    """
    values.setdefault("updated_at_ms", max(now_ms, row["updated_at_ms"]))
    values.setdefault("version", row["version"] + 1)
    tx.execute(_CHANGE, {"b_id": row["id"], **values})
    if row["affected"] and values["updated_at_ms"] != row["updated_at_ms"]:
        tx.execute(_MOVE_UP, {"b_id": row["id"], "b_at": values["updated_at_ms"]})
    return dict(row) | values


def touch(tx: Connection, row: RowLike, now_ms: int) -> dict[str, Any]:
    """Something was added that no decision depends on: the ticket moves up the list, its version stays."""
    return change_ticket(tx, row, now_ms, version=row["version"])


def set_hosts(tx: Connection, before: RowLike, after: RowLike) -> None:
    """Keep ``ticket_hosts`` equal to the ticket's affected hosts: its row before a change, and the row it became."""
    table, ticket_id = tables.ticket_hosts, after["id"]
    were, are = set(before["affected"]), set(after["affected"])
    gone, new = sorted(were - are), sorted(are - were)
    for start in range(0, len(gone), 500):
        tx.execute(
            delete(table).where(
                table.c.ticket_id == ticket_id, table.c.host_id.in_(gone[start : start + 500])
            )
        )
    if new:
        tx.execute(insert(table), host_links(after, new))


def host_links(row: RowLike, host_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of ``ticket_hosts`` for a ticket and these hosts."""
    common = {"ticket_id": row["id"], "updated_at_ms": row["updated_at_ms"]}
    return [{"host_id": host_id, **common} for host_id in host_ids]


def watches(tx: Connection, ticket_id: int) -> dict[ClockKind, Stopwatch]:
    """The ticket's clocks as cached."""
    table = tables.clocks
    rows = tx.execute(select(table).where(table.c.ticket_id == ticket_id)).mappings()
    return {ClockKind(row["kind"]): watch_of(row) for row in rows}


def watch_of(row: RowLike) -> Stopwatch:
    """A row of ``clocks`` as a value."""
    return Stopwatch(
        kind=ClockKind(row["kind"]),
        state=ClockState(row["state"]),
        started_at_ms=row["started_at_ms"],
        target_ms=row["target_ms"],
        spent_ms=row["spent_ms"],
        running_since_ms=row["running_since_ms"],
        pause_reason=row["pause_reason"],
        warned_pct=row["warned_pct"],
        escalated_pct=row["escalated_pct"],
        outcome=row["outcome"],
        stopped_at_ms=row["stopped_at_ms"],
    )


def first_clocks(
    contract: Contract, version: int, ticket_id: int, held: Mapping[ClockKind, Stopwatch]
) -> list[dict[str, Any]]:
    """The rows of a new ticket's clocks."""
    calendar = contract.calendar.calendar
    rows = [clock_values(watch, calendar, contract.id, version) for watch in held.values()]
    return [row | {"ticket_id": ticket_id} for row in rows]


def turn_clocks(
    tx: Connection, book: Book, row: RowLike, changes: Sequence[Change]
) -> dict[ClockKind, Stopwatch]:
    """Apply changes to the ticket's clocks and cache them; the caller writes the same changes into its event.

    Where the contract changed since the clocks were judged, they are first judged anew: an act must not count the same
    minutes half by the old calendar and half by the new one.
    """
    contract = book.contract(row["contract_id"])
    calendar = contract.calendar.calendar
    if changes and is_outdated(book, row):
        return rejudge(tx, book, row, changes[0].at_ms, changes)[1]
    known = watches(tx, row["id"])
    after = dict(known)
    for change in changes:
        after[change.kind] = clocks.apply(after.get(change.kind), change, calendar)
    for kind, watch in after.items():
        if known.get(kind) != watch:
            save_watch(tx, row["id"], watch, contract, book.version(contract.id), is_new=kind not in known)
    return after


def is_outdated(book: Book, row: RowLike) -> bool:
    """Whether the ticket's clocks were judged by terms that are no longer those of its contract."""
    version = book.version(row["contract_id"])
    return version != 0 and row["contract_version"] != version


def changes_of(tx: Connection, ticket_id: int) -> list[Change]:
    """Every change of the ticket's clocks, in the order in which they happened."""
    table = tables.ticket_events
    wanted = select(table.c.body).where(table.c.ticket_id == ticket_id).order_by(table.c.id)
    bodies = tx.execute(wanted).scalars()
    return [Change.from_dict(raw) for body in bodies for raw in body.get("clocks", ())]


def rejudge(
    tx: Connection, book: Book, row: RowLike, now_ms: int, then: Sequence[Change] = ()
) -> tuple[dict[str, Any], dict[ClockKind, Stopwatch]]:
    """Count the clocks anew under the contract's present terms, from the original start, and say so; ``then`` come after.

    Clocks that stand keep what was judged under the old terms. A target that had already ended under the new ones is
    flagged in the event and in the audit row: no breach may come out of nothing. Answers with the ticket's row and clocks.
    """
    contract, version = book.contract(row["contract_id"]), book.version(row["contract_id"])
    calendar = contract.calendar.calendar
    held = watches(tx, row["id"])
    running = [kind for kind, watch in held.items() if watch.state is not ClockState.STOPPED]
    retargets = [
        change for change in sla_changes(contract, row["class"], now_ms, "retarget") if change.kind in running
    ]
    if ClockKind.PROVIDER in running:
        owed_ms = int(contract.provider_sla * 1000)
        retargets.append(Change(ClockKind.PROVIDER, "retarget", now_ms, owed_ms))
    before = changes_of(tx, row["id"])
    judged = clocks.replay([*before, *retargets], calendar)
    after = clocks.replay([*before, *retargets, *then], calendar)
    flags: list[str] = []
    moved: dict[str, Any] = {}
    for kind, watch in after.items():
        old = held.get(kind)
        if old is not None and old.state is ClockState.STOPPED and watch.state is ClockState.STOPPED:
            after[kind] = old
            continue
        if old is not None:
            due = judged[kind].reaches(calendar, 100)
            if due is not None and due <= now_ms and old.outcome != "breached":
                flags.append(kind.value)
            moved[kind.value] = {"due_before_ms": old.reaches(calendar, 100), "due_ms": due}
            after[kind] = clocks.rejudged(watch, old, calendar, now_ms)
        save_watch(tx, row["id"], after[kind], contract, version, is_new=old is None)
    params = {"version_before": row["contract_version"], "version": version, "breached": flags}
    reason = Reason("reason.clock.rejudged", params)
    body = {"reason": reason.to_dict(), "clocks": as_dicts(retargets), "breached": flags}
    write_event(tx, row["id"], now_ms, MACHINE, "rejudge", body)
    audit.write(tx, now_ms, MACHINE, "rejudge", f"ticket:{row['id']}", details={**params, "clocks": moved})
    # No version moves: nobody decided anything, and every open form would be refused as stale.
    return change_ticket(tx, row, now_ms, version=row["version"], contract_version=version), after


def save_watch(
    tx: Connection,
    ticket_id: int,
    watch: Stopwatch,
    contract: Contract,
    version: int,
    *,
    is_new: bool = False,
) -> None:
    """Write one clock with its due time and the next instant at which something must be told."""
    values = clock_values(watch, contract.calendar.calendar, contract.id, version)
    table = tables.clocks
    if is_new:
        tx.execute(insert(table).values(ticket_id=ticket_id, **values))
    else:
        tx.execute(
            update(table)
            .where(table.c.ticket_id == ticket_id, table.c.kind == watch.kind.value)
            .values(**values)
        )


def clock_values(watch: Stopwatch, calendar: Calendar, contract_id: str, version: int) -> dict[str, Any]:
    """The columns of a clock's row."""
    upcoming = watch.next_threshold(calendar)
    return {
        "kind": watch.kind.value,
        "state": watch.state.value,
        "started_at_ms": watch.started_at_ms,
        "target_ms": watch.target_ms,
        "spent_ms": watch.spent_ms,
        "running_since_ms": watch.running_since_ms,
        "pause_reason": watch.pause_reason,
        "calendar": calendar_tag(contract_id, version),
        "due_at_ms": watch.reaches(calendar, 100),
        "next_event_at_ms": None if upcoming is None else upcoming[1],
        "warned_pct": watch.warned_pct,
        "escalated_pct": watch.escalated_pct,
        "outcome": watch.outcome,
        "stopped_at_ms": watch.stopped_at_ms,
    }


def calendar_tag(contract_id: str, version: int) -> str:
    """Under whose terms a clock counts."""
    return f"{contract_id[:48]}@{version}"


def next_step_at(contract: Contract, row: RowLike, held: Mapping[ClockKind, Stopwatch], now_ms: int) -> int:
    """When the ticket must be looked at again: an escalation, or a reminder where none is left. Never None."""
    terms = contract.escalation.of(row["class"])
    calendar = contract.calendar.calendar
    candidates = [now_ms + int(terms.remind * 1000)]
    if row["line"] < contract.lines:
        reaction, resolution = held.get(ClockKind.REACTION), held.get(ClockKind.RESOLUTION)
        if reaction is not None and terms.at_reaction_breach and reaction.escalated_pct < 100:
            candidates.append(reaction.reaches(calendar, 100) or candidates[0])
        if resolution is not None:
            steps = [pct for pct in terms.at_resolution_pct if pct > resolution.escalated_pct]
            if steps:
                candidates.append(resolution.reaches(calendar, steps[0]) or candidates[0])
    return min(candidates)


def plan_next_step(
    tx: Connection, book: Book, row: RowLike, held: Mapping[ClockKind, Stopwatch], now_ms: int
) -> None:
    """Write the next step of an open ticket; it moves no version, since no person decides on it."""
    at_ms = next_step_at(book.contract(row["contract_id"]), row, held, now_ms)
    tickets = tables.tickets
    tx.execute(update(tickets).where(tickets.c.id == row["id"]).values(next_step_at_ms=at_ms))


def sla_changes(contract: Contract, class_: int, at_ms: int, act: str) -> list[Change]:
    """Start or retarget of both clocks of a class."""
    times = contract.times(class_)
    return [
        Change(ClockKind.REACTION, act, at_ms, int(times.reaction * 1000)),
        Change(ClockKind.RESOLUTION, act, at_ms, int(times.resolution * 1000)),
    ]


def as_dicts(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Clock changes as an event's body holds them."""
    return [change.to_dict() for change in changes]
