"""Neighbours with the same kind of trouble are judged again together with what is new: their witness may have changed.

Whether one guest is slow or a whole node is known only when the second one speaks, seconds later; so each new finding
brings the open findings of the same family on hosts of the same provider back before the judge. What is only noted
since it harms nobody stays so whatever a neighbour says: a storm of such findings must not call all the others again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, not_, select

from collector.qualify.damping import NOTED_FAMILIES, NOTED_SEVERITY
from collector.qualify.judge import PATH_GROUP
from collector.qualify.shared import FAMILIES, RELATED
from collector.tables import hosts, open_findings
from collector.tick.cases import OpenRow, load_open
from collector.tick.problems import OpenSet, Problem, problem_of
from ticketing.tables import tickets

KIN_MAX = 300
"""Most neighbours that one tick judges again."""

LEFT_MAX = 6
"""With so many hosts the trouble of a group goes on."""


def call_kin(tx: Connection, touched: dict[str, Problem], open_set: OpenSet) -> None:
    """Add the neighbours' problems of the same families to ``touched``, and what holds on them to ``open_set``."""
    mine = {
        p.key.partition("|")[0] for p in touched.values() if _may_be_shared(p.members(open_set))
    } & FAMILIES
    families = sorted(mine.union(*(RELATED.get(family, frozenset()) for family in mine)))
    if not families:
        return
    near = _near(tx, families, open_set)
    if any(_may_be_our_way(o) for p in touched.values() for o in p.members(open_set)):
        near = sorted({*near, *_on_our_way(tx, open_set)})
    for host_id, here in load_open(tx, near).items():
        open_set[host_id] = here
        for opened in here.values():
            if opened.family in families and not _is_noted(opened) and _may_be_shared([opened]):
                key = problem_of(opened)
                touched.setdefault(f"{host_id}\n{key}", Problem(host_id, key))


def left_behind(tx: Connection, touched: dict[str, Problem], open_set: OpenSet) -> list[tuple[str, str]]:
    """(host, problem) of the few that are not well yet where others of their group's ticket recovered in this tick.

    What they shared may be over, and what goes on be the host's own: to be looked at when it has gone on for a while
    (collector.tick.parting). What holds on them comes into ``open_set``.
    """
    over = {
        o.ticket_id
        for p in touched.values()
        for o in p.ended
        if o.ticket_id is not None and o.family in FAMILIES and o.family != "silence"
    }
    found: list[tuple[str, str]] = []
    for group in _groups(tx, sorted(over)):
        wanted = select(open_findings.c.host_id).where(open_findings.c.ticket_id.in_(group)).distinct()
        names = list(tx.execute(wanted.limit(LEFT_MAX)).scalars())
        if len(names) == LEFT_MAX:
            continue
        open_set.update(load_open(tx, sorted(set(names) - open_set.keys())))
        held = (o for name in names for o in open_set[name].values() if o.ticket_id in group)
        found += sorted({(o.host_id, problem_of(o)) for o in held})
    return found


def _groups(tx: Connection, ticket_ids: Sequence[int]) -> list[list[int]]:
    """Of these tickets those that several hosts share, each with what stands beside it under one parent."""
    is_shared = and_(tickets.c.family != "silence", tickets.c.scope.not_like("host:%"))
    found: dict[int, list[int]] = {}
    for row in tx.execute(
        select(tickets.c.id, tickets.c.parent_id).where(tickets.c.id.in_(ticket_ids[:KIN_MAX]), is_shared)
    ):
        if row.parent_id is None:
            found[row.id] = [row.id]
        elif row.parent_id not in found:
            beside = select(tickets.c.id).where(tickets.c.parent_id == row.parent_id)
            found[row.parent_id] = list(tx.execute(beside).scalars())
    return list(found.values())


def _may_be_shared(members: Sequence[OpenRow]) -> bool:
    """Whether neighbours may suffer from the same: of services what is seen from outside, of silent hosts those that hang.

    The dead are grouped by themselves (collector.qualify.correlate), in a number that no kin may be.
    """
    return any(
        opened.stream.startswith("collector:")
        if opened.family == "service"
        else opened.family != "silence" or silence_word(opened) == "hung"
        for opened in members
    )


def _may_be_our_way(opened: OpenRow) -> bool:
    """Whether what we do not reach may be behind a broken way of ours: it fell with others' hosts, or others reach it."""
    facts = opened.body.get("facts") or {}
    is_together = opened.family == "service" and (facts.get("ext.together") or {}).get("now") is True
    return is_together or silence_word(opened) == "path"


def silence_word(opened: OpenRow) -> str:
    """What the probes made of a silence (collector.qualify.silence)."""
    fact = (opened.body.get("facts") or {}).get("silence.outcome") or {}
    return str(fact.get("now", ""))


def _is_noted(opened: OpenRow) -> bool:
    """Whether the finding is only noted, by itself; what harms somebody in the same problem calls the problem anyway."""
    is_noted = opened.family in NOTED_FAMILIES and opened.severity == NOTED_SEVERITY
    return opened.ticket_id is None and is_noted


def _near(tx: Connection, families: Sequence[str], open_set: OpenSet) -> list[str]:
    """Hosts of the same providers that have such trouble and did not speak in this tick."""
    noted = and_(
        open_findings.c.family.in_(NOTED_FAMILIES),
        open_findings.c.severity == NOTED_SEVERITY,
        open_findings.c.ticket_id.is_(None),
    )
    mine = _providers(tx, list(open_set))
    elsewhere = (
        select(open_findings.c.host_id)
        .join(hosts, hosts.c.id == open_findings.c.host_id)
        .where(
            open_findings.c.family.in_(families),
            not_(noted),
            open_findings.c.host_id.not_in(list(open_set)),
            hosts.c.topology["provider"].as_string().in_(mine),
        )
        .distinct()
        .limit(KIN_MAX)
    )
    return list(tx.execute(elsewhere).scalars()) if mine else []


def _on_our_way(tx: Connection, open_set: OpenSet) -> list[str]:
    """Hosts, of whatever provider, that are cut off from us alone: one broken way of ours is one problem for all behind it."""
    behind = (
        select(open_findings.c.host_id)
        .join(tickets, tickets.c.id == open_findings.c.ticket_id)
        .where(
            tickets.c.scope == PATH_GROUP,
            tickets.c.open_mark == 1,
            open_findings.c.host_id.not_in(list(open_set)),
        )
        .distinct()
        .limit(KIN_MAX)
    )
    return list(tx.execute(behind).scalars())


def _providers(tx: Connection, host_ids: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for start in range(0, len(host_ids), 500):
        wanted = select(hosts.c.topology).where(hosts.c.id.in_(host_ids[start : start + 500]))
        found.update(str((topology or {}).get("provider") or "") for topology in tx.execute(wanted).scalars())
    return sorted(found - {""})
