"""A host whose own account speaks of another cause leaves the group's ticket, on the same tick, with history on both.

So does the last one that is not well when all others are, where a cause of its own is found: theirs is over.

The group's ticket keeps the others, whose outage it was from the start; the host's findings go with the host. Only where both
would bear one problem key (its silence still holds, and its provider says why) it stays the host's, and the others move.
Which accounts are good enough is pure (``collector.qualify.parting``).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select, update

from collector.qualify.case import Case
from collector.qualify.parting import has_own_cause, is_left_to_itself, of_host, without
from collector.qualify.subjects import OpenProblem
from collector.tables import findings, open_findings
from collector.tick.problems import OpenSet
from ticketing import intake
from ticketing.model import Reason, Verdict
from ticketing.tables import tickets

if TYPE_CHECKING:
    from collector.tick.ticket import Desk

LEFT_ALONE_MS = 300_000
"""So long after all others of a group are well what goes on of one host is looked at as its own; some are well a little later."""

OTHERS_MAX = 500
"""Most hosts of a group that are asked when they were well again."""


@dataclasses.dataclass(frozen=True)
class Parted:
    """What a split moved: the findings of these hosts, from one ticket to another."""

    host_ids: tuple[str, ...]
    from_id: int
    to_id: int


def part(desk: Desk, ticket_id: int, verdict: Verdict, case: Case) -> int | None:
    """The host's own ticket, where its account takes it out of the group that ``ticket_id`` is about; else None."""
    told = desk.rows.get(ticket_id)
    if told is None or not _is_group(desk, told) or told["root_cause"] == verdict.root_cause:
        return None
    host_id = case.host.id
    row = _own_contract_s(desk, host_id, told["scope"])
    if row is None:
        return None
    if told["family"] != "silence":
        is_own = case.subject.family == told["family"] and is_left_to_itself(verdict)
        return _go_on_alone(desk, row, verdict, host_id) if is_own and _is_last(desk, row, host_id) else None
    if not has_own_cause(verdict):
        return None
    began = next(
        (p.began_at_ms for p in desk.problems.get(host_id, ()) if p.family == "silence" and p.word),
        row["began_at_ms"],
    )
    own = of_host(verdict, host_id, row["family"], min(began, verdict.began_at_ms))
    if own.problem == row["problem"]:
        # The group's ticket was opened for this host; it is the others' now, and the account names the new one.
        own = dataclasses.replace(own, family=verdict.family)
    new_id = _split(desk, row, own)
    if new_id is not None and row["parent_id"] is not None:
        _leave_parent(desk, row["parent_id"], host_id, new_id)
    return new_id


def carry(desk: Desk, open_set: OpenSet) -> None:
    """Move what holds on the parted hosts to the tickets that they have now: rows in hand, and those of the store."""
    for parted in desk.parted:
        for host_id in parted.host_ids:
            for opened in open_set.get(host_id, {}).values():
                if opened.ticket_id == parted.from_id:
                    opened.ticket_id = parted.to_id
        mine = open_findings.c.host_id.in_(parted.host_ids) & (open_findings.c.ticket_id == parted.from_id)
        desk.tx.execute(update(open_findings).where(mine).values(ticket_id=parted.to_id))
    desk.parted.clear()


def _is_group(desk: Desk, row) -> bool:
    """Of a contract with one host in it the others stand on the ticket above."""
    whole = desk.rows.get(row["parent_id"]) or row
    return not row["scope"].startswith("host:") and len(whole["affected"]) >= 2 and row["origin"] == "machine"


def _own_contract_s(desk: Desk, host_id: str, scope: str):
    """The group's ticket under the host's own contract: over several contracts the parent is nobody's client's."""
    contract_id = desk.contract_id(host_id)
    mine = [
        row
        for row in desk.rows.values()
        if row["open_mark"] == 1 and row["scope"] == scope and host_id in row["affected"]
    ]
    return next((row for row in mine if row["contract_id"] == contract_id), None)


def _split(desk: Desk, row, own: Verdict) -> int | None:
    """Part the host from its contract's ticket; the id of the ticket that is its own now."""
    ticket_id, (host_id,) = row["id"], own.affected
    parent = desk.rows.get(row["parent_id"]) or row
    group = dataclasses.replace(Verdict.from_dict(row["verdict"]), affected=tuple(row["affected"]))
    rest = without(group, host_id, len(set(parent["affected"]) - {host_id}))
    if not rest.affected:
        _requalify_alone(desk, ticket_id, own)
        return ticket_id
    goes, stays = (rest, own) if own.problem == row["problem"] else (own, rest)
    done = intake.split(
        desk.tx,
        desk.book,
        ticket_id,
        goes,
        desk.now_ms,
        parent_id=row["parent_id"] if goes is rest else None,
    )
    if done.ticket_id is None or done.ticket_id == ticket_id:
        return None
    if (stays.class_, stays.root_cause, stays.scope) != (row["class"], row["root_cause"], row["scope"]):
        intake.requalify(desk.tx, desk.book, ticket_id, stays, desk.now_ms)
    if stays is own and row["parent_id"] is not None:
        intake.attach(desk.tx, ticket_id, None, _why(host_id), desk.now_ms)
    desk.parted.append(Parted(goes.affected, ticket_id, done.ticket_id))
    _learn_anew(desk, ticket_id, done.ticket_id)
    return done.ticket_id if goes is own else ticket_id


def _requalify_alone(desk: Desk, ticket_id: int, own: Verdict) -> None:
    """The only host that its contract has in the group takes the contract's ticket with it."""
    intake.requalify(desk.tx, desk.book, ticket_id, own, desk.now_ms)
    intake.attach(desk.tx, ticket_id, None, _why(own.affected[0]), desk.now_ms)
    _learn_anew(desk, ticket_id)


def _is_last(desk: Desk, row, host_id: str) -> bool:
    """Whether all others of the group, other contracts' too, have been well for a while."""
    whole = desk.rows.get(row["parent_id"]) or row
    group = select(tickets.c.id).where((tickets.c.id == whole["id"]) | (tickets.c.parent_id == whole["id"]))
    held = open_findings.c.ticket_id.in_(group) & (open_findings.c.host_id != host_id)
    if desk.tx.execute(select(exists().where(held))).scalar():
        return False
    others = sorted(set(whole["affected"]) - {host_id})[:OTHERS_MAX]
    over = select(func.max(findings.c.received_at_ms)).where(
        findings.c.host_id.in_(others), findings.c.ticket_id.in_(group), findings.c.kind == "closed"
    )
    ended_ms = desk.tx.execute(over).scalar()
    return ended_ms is not None and desk.now_ms - ended_ms >= LEFT_ALONE_MS


def _go_on_alone(desk: Desk, row, verdict: Verdict, host_id: str) -> int | None:
    """What goes on of the host alone gets a ticket of its own; the group's keeps naming it, and ends with its trouble."""
    own = of_host(verdict, host_id, row["family"], verdict.began_at_ms)
    if row["affected"] == [host_id]:
        _requalify_alone(desk, row["id"], own)
        return row["id"]
    done = intake.split(desk.tx, desk.book, row["id"], own, desk.now_ms, was_theirs=True)
    if done.ticket_id is None or done.ticket_id == row["id"]:
        return None
    desk.parted.append(Parted((host_id,), row["id"], done.ticket_id))
    _learn_anew(desk, row["id"], done.ticket_id)
    return done.ticket_id


def _leave_parent(desk: Desk, parent_id: int, host_id: str, own_id: int) -> None:
    """The parent over several contracts speaks of the host no more."""
    intake.narrow(desk.tx, parent_id, (host_id,), own_id, desk.now_ms)
    _learn_anew(desk, parent_id)


def _learn_anew(desk: Desk, *ticket_ids: int) -> None:
    """Tickets whose hosts have changed: what each host's problems are now."""
    for ticket_id in ticket_ids:
        desk.refresh(ticket_id)
        row = desk.rows[ticket_id]
        for host_id, known in desk.problems.items():
            if host_id not in row["affected"]:
                desk.problems[host_id] = [p for p in known if p.ticket_id != ticket_id]
            elif all(p.ticket_id != ticket_id for p in known):
                subject = row["problem"].partition("|")[2]
                family, cause, began = row["family"], row["root_cause"], row["began_at_ms"]
                desk.note(OpenProblem(ticket_id, host_id, subject, family, cause, began))


def _why(host_id: str) -> Reason:
    return Reason("reason.parted", {"host": host_id})
