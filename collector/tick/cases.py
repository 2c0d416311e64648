"""Reading the store into what judgement sees: hosts with their siblings, and findings as ``Held``."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from collector.observed import Observation, recent
from collector.qualify.case import Case, Held, HostView, Seen, held_from_body
from collector.tables import hosts, open_findings
from collector.tick.rows import chunks

SIBLINGS_MAX = 500
"""Most siblings read for one tick's cases: a witness or two decides, not a census."""

OPS_BEFORE_MS = 120_000
"""A change explains a step that follows it this soon (signals.md 1 rule 9)."""
OPS_AFTER_MS = 20_000
"""Clocks of logs differ: an act written down this little after the fault still came before it."""

_NEAR = ("node", "storage", "rack", "resolver", "ntp")

_VIEW = (
    hosts.c.id,
    hosts.c.contract_id,
    hosts.c.topology,
    hosts.c.life,
    hosts.c.vitals,
    hosts.c.last_report_at_ms,
    hosts.c.lacks,
)


@dataclasses.dataclass
class OpenRow:
    """A row of ``open_findings`` in hand: what holds on a host now."""

    host_id: str
    rule: str
    subject: str
    stream: str
    opening_n: int
    family: str
    severity: str
    at_ms: int
    changed_at_ms: int
    body: dict[str, Any]
    ticket_id: int | None = None
    is_stored: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.host_id, self.rule, self.subject)

    def held(self) -> Held:
        """As the evidence rows see it."""
        return held_from_body(
            self.body,
            host_id=self.host_id,
            rule=self.rule,
            subject=self.subject,
            family=self.family,
            severity=self.severity,
            at_ms=self.at_ms,
            stream=self.stream,
            changed_at_ms=self.changed_at_ms,
        )


@dataclasses.dataclass
class Scene:
    """Hosts of one tick's findings, with those that stand near them."""

    hosts: dict[str, HostView]
    near: tuple[HostView, ...]
    seen: tuple[Observation, ...] = ()
    """What the collector's side saw of these hosts and their providers, oldest first."""

    @functools.cached_property
    def _by_provider(self) -> dict[str, list[HostView]]:
        """Who stands near whom: hosts of one provider; where that is not known, nobody."""
        found: dict[str, list[HostView]] = {}
        for view in self.near:
            if provider := view.place("provider"):
                found.setdefault(provider, []).append(view)
        return found

    def case(self, now_ms: int, subject: Held, beside: Sequence[Held]) -> Case:
        """The case of one problem on one host."""
        host = self.hosts.get(subject.host_id) or HostView(subject.host_id)
        siblings = tuple(s for s in self._by_provider.get(host.place("provider"), ()) if s.id != host.id)
        seen = tuple(o for o in self.seen if o.host_id in (host.id, host.place("provider")))
        began = subject.at_ms
        ops = tuple(
            str(o.value)
            for o in seen
            if o.signal == "ops.action" and began - OPS_BEFORE_MS <= o.at_ms <= began + OPS_AFTER_MS
        )
        said = tuple(Seen(o.host_id, o.signal, o.value, o.vantage, o.at_ms) for o in seen)
        return Case(now_ms, host, subject, tuple(beside), siblings, ops=ops, seen=said)


def view_of(row: Any, families: frozenset[str] = frozenset()) -> HostView:
    """A row of ``hosts`` as judgement sees it."""
    return HostView(
        id=row.id,
        contract_id=row.contract_id,
        topology={k: str(v) for k, v in (row.topology or {}).items() if v not in (None, "")},
        life=row.life,
        vitals=row.vitals or {},
        seen_at_ms=row.last_report_at_ms,
        lacks=row.lacks or {},
        families=families,
    )


def load_scene(
    tx: Connection,
    host_ids: Sequence[str],
    with_siblings: bool,
    *,
    is_wide: bool = False,
    families: Mapping[str, frozenset[str]] | None = None,
    seen_since_ms: int | None = None,
) -> Scene:
    """The hosts, and (when wanted) those of the same provider that share something with them, at most SIBLINGS_MAX.

    ``is_wide`` takes all hosts of the provider for neighbours; ``families`` = what holds in this tick already.
    """
    found: dict[str, HostView] = {}
    for part in chunks(host_ids):
        for row in tx.execute(select(*_VIEW).where(hosts.c.id.in_(part))):
            found[row.id] = view_of(row)
    near = _siblings(tx, list(found.values()), is_wide) if with_siblings else ()
    near = tuple(
        dataclasses.replace(v, families=v.families | (families or {}).get(v.id, frozenset())) for v in near
    )
    seen: list[Observation] = []
    if seen_since_ms is not None:
        providers = {v.place("provider") for v in found.values()} - {""}
        seen = recent(tx, {*host_ids, *providers}, seen_since_ms)
    return Scene(found, near, tuple(seen))


def _siblings(tx: Connection, views: Sequence[HostView], is_wide: bool) -> tuple[HostView, ...]:
    providers = sorted({v.place("provider") for v in views} - {""})
    if not providers:
        return ()
    shared = []
    for kind in _NEAR:
        names = sorted({v.topology.get(kind, "") for v in views} - {"", "local"})[:100]
        if names:
            shared.append(hosts.c.topology[kind].as_string().in_(names))
    wanted = select(*_VIEW).where(
        hosts.c.is_retired.is_(False), hosts.c.topology["provider"].as_string().in_(providers[:100])
    )
    if shared and not is_wide:
        wanted = wanted.where(or_(*shared))
    rows = tx.execute(wanted.limit(SIBLINGS_MAX)).all()
    families: dict[str, set[str]] = {}
    for part in chunks([row.id for row in rows]):
        open_ = select(open_findings.c.host_id, open_findings.c.family).where(
            open_findings.c.host_id.in_(part)
        )
        for host_id, family in tx.execute(open_):
            families.setdefault(host_id, set()).add(family)
    return tuple(view_of(row, frozenset(families.get(row.id, ()))) for row in rows)


def load_open(tx: Connection, host_ids: Sequence[str]) -> dict[str, dict[tuple[str, str, str], OpenRow]]:
    """What holds on these hosts: host -> (host, rule, subject) -> row."""
    found: dict[str, dict[tuple[str, str, str], OpenRow]] = {host_id: {} for host_id in host_ids}
    for part in chunks(host_ids):
        for row in tx.execute(select(open_findings).where(open_findings.c.host_id.in_(part))).mappings():
            values = dict(row)
            values["body"] = body_of(values["body"])
            opened = OpenRow(**values, is_stored=True)
            found[opened.host_id][opened.key] = opened
    return found


def body_of(raw: Any) -> dict[str, Any]:
    """A finding's body as a dict; intake may have stored the JSON text that it received, unparsed."""
    if isinstance(raw, (str, bytes)):
        parsed = json.loads(raw)
        return parsed if isinstance(parsed, dict) else {}
    return dict(raw) if isinstance(raw, Mapping) else {}
