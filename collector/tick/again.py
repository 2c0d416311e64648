"""What is judged again though no agent said anything new: a window that ended, a word that came late.

A planned window keeps what falls into it quiet; what outlives it opens with its original start. And an entry of the
provider's log, an operator's act, a trace or what another vantage saw may arrive long after the ticket: it alone brings
the host's open findings back before the judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, or_, select

from collector.observed import newest
from collector.qualify.excuses import EVENTS
from collector.tables import hosts, observations, open_findings
from collector.tick.cases import OpenRow, body_of
from collector.tick.context import TickContext
from collector.tick.rows import chunks
from ticketing.contracts import Book

QUIET_CHECK_MS = 10_000
TOLD_OVERLAP_MS = 5_000
"""Rows of another connection become visible a little after the moment they bear: that far each look goes back again."""
FIRST_LOOK_MS = 600_000
TELLING = ("prov.event", "prov.status", "prov.vm_state", "ops.action", "ext.last_hop", "ext.bmc")
FROM_ELSEWHERE = ("ext.icmp", "ext.tcp22", "ext.svc")
WINDOW = "ops.window"
HOSTS_MAX = 5_000
"""Most hosts of one provider that are asked for their windows."""


class Windows:
    """Which hosts stand in a planned window now: by their contract, or by a calendar that was read for them."""

    def __init__(self, tx: Connection, book: Book, now_ms: int) -> None:
        self._tx = tx
        self._book = book
        self._now_ms = now_ms
        self._known: dict[str, str | None] = {}
        self._narrowed: dict[str, bool] = {}

    def learn(self, host_ids: Sequence[str]) -> None:
        """Read the calendars' windows of these hosts at once."""
        wanted = sorted(set(host_ids) - self._known.keys())
        if not wanted:
            return
        places = _providers(self._tx, wanted)
        said = newest(self._tx, {*wanted, *places.values()} - {""}, WINDOW)
        open_for = {host_id for (host_id, _), seen in said.items() if seen.value is True}
        for host_id in wanted:
            contract = self._book.contract_of(host_id)
            window = contract.window_at(host_id, self._now_ms) if contract is not None else None
            is_open = bool({host_id, places.get(host_id, "")} & open_for)
            self._known[host_id] = window.title if window is not None else "" if is_open else None

    def title(self, host_id: str) -> str | None:
        """The window's title ("" where nobody gave it one), None outside of any."""
        if host_id not in self._known:
            self.learn([host_id])
        return self._known[host_id]

    def is_elsewhere(self, host_id: str) -> bool:
        """Whether windows are open for other hosts of the provider and none for this one: its work is told to be there."""
        if self.title(host_id) is not None:
            return False
        provider = _providers(self._tx, [host_id]).get(host_id, "")
        if not provider:
            return False
        if provider not in self._narrowed:
            mine = select(hosts.c.id).where(hosts.c.topology["provider"].as_string() == provider)
            said = newest(self._tx, set(self._tx.execute(mine.limit(HOSTS_MAX)).scalars()), WINDOW)
            self._narrowed[provider] = any(seen.value is True for seen in said.values())
        return self._narrowed[provider]


def _providers(tx: Connection, host_ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in chunks(host_ids):
        for row in tx.execute(select(hosts.c.id, hosts.c.topology).where(hosts.c.id.in_(part))):
            found[row.id] = str((row.topology or {}).get("provider") or "")
    return found


def outlived(tx: Connection, now_ms: int, ctx: TickContext, windows: Windows) -> list[OpenRow]:
    """Findings that a planned window kept quiet and that outlived it: they open with their original start."""
    if now_ms - ctx.quiet_checked_at_ms < QUIET_CHECK_MS:
        return []
    ctx.quiet_checked_at_ms = now_ms
    quiet = (
        select(open_findings)
        .where(open_findings.c.ticket_id.is_(None), open_findings.c.body["quiet"].as_string() == "window")
        .limit(ctx.limits.findings)
    )
    kept = _rows(tx, quiet)
    windows.learn([opened.host_id for opened in kept])
    return [o for o in kept if windows.title(o.host_id) is None and o.rule not in EVENTS]


def told(tx: Connection, now_ms: int, ctx: TickContext) -> list[OpenRow]:
    """Open findings of the hosts, and of the providers, of which something was said since we last looked."""
    since = max(ctx.told_until_ms - TOLD_OVERLAP_MS, now_ms - FIRST_LOOK_MS)
    ctx.told_until_ms = now_ms
    wanted = (
        select(observations.c.host_id)
        .where(
            observations.c.received_at_ms > since,
            or_(
                observations.c.signal.in_(TELLING),
                and_(observations.c.signal.in_(FROM_ELSEWHERE), observations.c.vantage != ""),
            ),
        )
        .distinct()
        .limit(ctx.limits.findings)
    )
    names = list(tx.execute(wanted).scalars())
    if not names:
        return []
    about = select(hosts.c.id).where(
        or_(hosts.c.id.in_(names[:500]), hosts.c.topology["provider"].as_string().in_(names[:500]))
    )
    return _rows(
        tx, select(open_findings).where(open_findings.c.host_id.in_(about)).limit(ctx.limits.findings)
    )


def _rows(tx: Connection, wanted: object) -> list[OpenRow]:
    found = []
    for row in tx.execute(wanted).mappings():  # type: ignore[call-overload]
        values = dict(row)
        values["body"] = body_of(values["body"])
        found.append(OpenRow(**values, is_stored=True))
    return found
