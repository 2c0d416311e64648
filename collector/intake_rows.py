"""The intake's rows: reading streams, appending findings, writing newest reports in groups. SQL only; no decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, case, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from agent.wire import VITALS, Adopt, FindingChange, Report
from collector import intake_sqlite
from collector.fleet import Life, Sign, return_due_ms, silent_after_ms
from collector.intake_sqlite import REPORTED, lives_after
from collector.observed import keep_newest, observe
from collector.tables import findings, hosts, observations, open_findings, streams
from ticketing.model import Reason

if TYPE_CHECKING:
    from collector.intake import Accepted

ADOPT_MAX = 500
"""Most findings offered for adoption in one reply."""

HOSTS_IN_ONE_SELECT = 500

ACT = "ops.action"
LAG = "repl.lag_s"
SAME_ACT_MS = 2_000
"""The same words within this time are one act told twice (an absurd clock is corrected anew by each receipt)."""

_VITALS = frozenset(VITALS)


@dataclasses.dataclass
class Stream:
    """Where one finding stream stands."""

    next_n: int
    is_current: bool


KnownStreams = dict[tuple[str, str], Stream]


class Newest:
    """A host's newest report on its way to the hosts table."""

    __slots__ = (
        "clone_seen_at_ms",
        "found",
        "host_id",
        "interval_s",
        "is_roll_out",
        "lacks",
        "received_at_ms",
        "report",
    )

    def __init__(
        self, host_id: str, report: Report, received_at_ms: int, interval_s: float, is_roll_out: bool
    ) -> None:
        self.host_id = host_id
        self.report = report
        self.received_at_ms = received_at_ms
        self.interval_s = interval_s
        self.is_roll_out = is_roll_out
        self.lacks = report.lacks
        self.found = report.found
        self.clone_seen_at_ms: int | None = None

    def keep_from(self, before: Newest) -> None:
        """Carry over what an older one said that this one leaves unsaid: {} means unchanged."""
        if not self.lacks:
            self.lacks = before.lacks
        if not self.found:
            self.found = before.found
        if self.clone_seen_at_ms is None:
            self.clone_seen_at_ms = before.clone_seen_at_ms


class Batch:
    """Rows of one transaction, gathered so that each table is written once."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        self.moved: dict[tuple[str, str], int] = {}

    def append(self, row: dict[str, Any]) -> None:
        self.findings.append(row)

    def write(self, tx: Connection) -> None:
        """Append the findings and move the streams."""
        moved = [
            {"b_host": host, "b_stream": stream, "b_n": n} for (host, stream), n in sorted(self.moved.items())
        ]
        if tx.dialect.name == "sqlite":
            if self.findings:
                intake_sqlite.append(tx, self.findings)
            if moved:
                intake_sqlite.move(tx, [tuple(row.values()) for row in moved])
            return
        if self.findings:
            tx.execute(_APPEND, self.findings)
        if moved:
            tx.execute(_MOVE, moved)


def streams_of(tx: Connection, host_ids: Sequence[str], *, locked: bool = False) -> KnownStreams:
    """Every stream of these hosts; ``locked`` in one order, so that collectors cannot block each other for good."""
    known: KnownStreams = {}
    if not host_ids:
        return known
    if tx.dialect.name == "sqlite":
        for host_id, stream, next_n, is_current in intake_sqlite.streams_of(tx, host_ids):
            known[(host_id, stream)] = Stream(next_n, bool(is_current))
        return known
    for start in range(0, len(host_ids), HOSTS_IN_ONE_SELECT):
        part = list(host_ids[start : start + HOSTS_IN_ONE_SELECT])
        for host_id, stream, next_n, is_current in tx.execute(
            _STREAMS_LOCKED if locked else _STREAMS, {"b_hosts": part}
        ):
            known[(host_id, stream)] = Stream(next_n, is_current)
    return known


def announce(tx: Connection, known: KnownStreams, host_id: str, stream: str, at_ms: int) -> Stream:
    """Begin a new stream for the host and mark its others as left behind; returns where it stands."""
    kind: Any = postgresql if tx.dialect.name == "postgresql" else sqlite
    tx.execute(
        kind.insert(streams)
        .values(host_id=host_id, stream=stream, next_n=1, announced_at_ms=at_ms, is_current=True)
        .on_conflict_do_nothing()
    )
    tx.execute(
        update(streams)
        .where(
            streams.c.host_id == host_id, streams.c.stream != stream, streams.c.stream.not_like("collector:%")
        )
        .values(is_current=False)
    )
    known.update(streams_of(tx, [host_id], locked=True))
    return known[(host_id, stream)]


def finding_row(
    one: Accepted, change: FindingChange, body: msgspec.Raw, at_ms: int, why: Reason | None
) -> dict[str, Any]:
    """One row of findings; with ``why`` it is recorded at once and the tick never sees it."""
    return {
        "host_id": one.entry.id,
        "stream": one.report.stream,
        "n": change.n,
        "kind": change.kind,
        "opening_n": change.opening_n,
        "rule": change.rule,
        "subject": change.subject,
        "family": change.family,
        "severity": change.severity,
        "at_ms": at_ms,
        "received_at_ms": one.received_at_ms,
        "body": body,
        "handled_at_ms": one.received_at_ms if why else None,
        "outcome": "recorded" if why else "",
        "ticket_id": None,
        "why": why.to_dict() if why else None,
    }


def write_acts(tx: Connection, accepted: Sequence[Accepted], absurd_clock_ms: int) -> int:
    """Acts of people as observations, each once: a report whose answer was lost tells them again. How many were new."""
    written = 0
    for one in accepted:
        received = one.received_at_ms
        offset = received - one.report.wall_ms
        moved = offset if abs(offset) > absurd_clock_ms else 0
        for act in one.report.acts:
            at_ms = max(0, min(act.at_ms + moved, received))
            near = select(observations.c.value).where(
                observations.c.host_id == one.entry.id,
                observations.c.signal == ACT,
                observations.c.vantage == "",
                observations.c.at_ms.between(at_ms - SAME_ACT_MS, at_ms + SAME_ACT_MS),
            )
            if act.text not in tx.execute(near).scalars().all():
                written += observe(tx, one.entry.id, ACT, act.text, at_ms, "agent", received_at_ms=received)
    return written


def printable(value: Any) -> Any:
    """The value without anything that a terminal would take for an order; it came from a client's server."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [printable(part) for part in value]
    if isinstance(value, dict):
        return {printable(str(name)): printable(part) for name, part in value.items()}
    return value


def write_told(tx: Connection, accepted: Sequence[Accepted], absurd_clock_ms: int) -> int:
    """How boots and gaps went, as observations, each once (see ``write_acts``). How many were new."""
    written = 0
    for one in accepted:
        received = one.received_at_ms
        offset = received - one.report.wall_ms
        moved = offset if abs(offset) > absurd_clock_ms else 0
        for told in one.report.told:
            at_ms = max(0, min(told.at_ms + moved, received))
            if told.signal == LAG:
                written += keep_newest(tx, one.entry.id, LAG, told.value, at_ms, "agent", received)
                continue
            known = select(observations.c.value).where(
                observations.c.host_id == one.entry.id,
                observations.c.signal == told.signal,
                observations.c.vantage == "",
                observations.c.at_ms.between(at_ms - SAME_ACT_MS, at_ms + SAME_ACT_MS),
            )
            value = printable(told.value)
            if value not in tx.execute(known).scalars().all():
                written += observe(
                    tx,
                    one.entry.id,
                    told.signal,
                    value,
                    at_ms,
                    "agent",
                    received_at_ms=received,
                    is_each_told=True,
                )
    return written


def adoptable(tx: Connection, current: dict[str, str]) -> dict[str, list[Adopt]]:
    """Findings that the store holds open from streams other than each host's current one."""
    found: dict[str, list[Adopt]] = {}
    if not current:
        return found
    for host_id, stream, rule, subject, at_ms in tx.execute(_OPEN, {"b_hosts": sorted(current)}):
        offered = found.setdefault(host_id, [])
        if stream != current[host_id] and len(offered) < ADOPT_MAX:
            offered.append(Adopt(rule, subject, at_ms))
    return found


def write_newest(tx: Connection, newest: Sequence[Newest]) -> None:
    """Update the hosts' rows, in one order; a report that the store already knows a newer one of changes nothing."""
    ordered = sorted(newest, key=lambda n: n.host_id)
    believed = [n for n in ordered if n.clone_seen_at_ms is None]
    for is_goodbye, statement in ((False, _NEWEST), (True, _GOODBYE)):
        group = [_newest_row(n) for n in believed if bool(n.report.goodbye) is is_goodbye]
        if not group:
            continue
        if tx.dialect.name == "sqlite":
            intake_sqlite.write_newest(tx, Sign.GOODBYE if is_goodbye else Sign.REPORT, group)
        else:
            tx.execute(statement, group)
    lacks = [{"b_id": n.host_id, "lacks": n.lacks} for n in believed if n.lacks]
    if lacks:
        tx.execute(_LACKS, lacks)
    found = [{"b_id": n.host_id, "found": n.found} for n in believed if n.found]
    if found:
        tx.execute(_FOUND, found)
    clones = [_clone_row(n) for n in ordered if n.clone_seen_at_ms is not None]
    if clones:
        tx.execute(_CLONE, clones)


def _newest_row(newest: Newest) -> dict[str, Any]:
    report, received = newest.report, newest.received_at_ms
    goodbye = report.goodbye or ""
    if goodbye:
        deadline = return_due_ms(received, goodbye, newest.interval_s, newest.is_roll_out)
    else:
        deadline = silent_after_ms(received, newest.interval_s)
    return {
        "b_id": newest.host_id,
        "b_boot": report.boot_id,
        "b_mono": report.mono_ms,
        "b_received": received,
        "silent_after_ms": deadline,
        "last_report_at_ms": received,
        "boot_id": report.boot_id,
        "run_id": report.run_id,
        "mono_ms": report.mono_ms,
        "wall_offset_ms": received - report.wall_ms,
        "mono_offset_ms": received - report.mono_ms,
        "interval_s": newest.interval_s,
        "goodbye": goodbye,
        "agent_version": report.agent,
        "vitals": report.vitals if report.vitals.keys() <= _VITALS else _known(report.vitals),
        "sweep_age_s": report.sweep_age_s,
        "spool_depth": report.spool_depth,
        "spool_dropped": report.spool_dropped,
        "settings_version": report.settings_version,
    }


def _known(vitals: Mapping[str, float | None]) -> dict[str, float | None]:
    """Without what a newer agent sends beside today's list."""
    return {name: value for name, value in vitals.items() if name in _VITALS}


def _clone_row(newest: Newest) -> dict[str, Any]:
    """Somebody speaks under this token, so it is not silent; but nothing either half says of itself is kept."""
    return {
        "b_id": newest.host_id,
        "b_received": newest.received_at_ms,
        "silent_after_ms": silent_after_ms(newest.received_at_ms, newest.interval_s),
        "last_report_at_ms": newest.received_at_ms,
        "clone_seen_at_ms": newest.clone_seen_at_ms,
    }


def _life_after(sign: Sign) -> dict[str, Any]:
    """``life`` and ``life_since_ms`` as the table of lives moves them for a sign."""
    becomes = lives_after(sign)
    moves = [(hosts.c.life == before, after) for before, after in becomes.items()]
    changes = [hosts.c.life == before for before, after in becomes.items() if before != after]
    return {
        "life": case(*moves, else_=hosts.c.life),
        "life_since_ms": case((or_(*changes), bindparam("b_received")), else_=hosts.c.life_since_ms),
    }


_REPORTED = {name: bindparam(name, type_=hosts.c[name].type) for name in REPORTED}
# Two collectors on one PostgreSQL may flush in either order: the later receipt stands, and within a boot the later clock.
_IS_NEWER = and_(
    hosts.c.id == bindparam("b_id"),
    hosts.c.life != Life.RETIRED.value,
    or_(
        hosts.c.last_report_at_ms.is_(None),
        hosts.c.last_report_at_ms <= bindparam("b_received"),
        and_(hosts.c.boot_id == bindparam("b_boot"), hosts.c.mono_ms <= bindparam("b_mono")),
    ),
)
_NEWEST = update(hosts).where(_IS_NEWER).values(**_REPORTED, **_life_after(Sign.REPORT))
_GOODBYE = update(hosts).where(_IS_NEWER).values(**_REPORTED, **_life_after(Sign.GOODBYE))
_LACKS = (
    update(hosts)
    .where(hosts.c.id == bindparam("b_id"))
    .values(lacks=bindparam("lacks", type_=hosts.c.lacks.type))
)
_FOUND = (
    update(hosts)
    .where(hosts.c.id == bindparam("b_id"))
    .values(found=bindparam("found", type_=hosts.c.found.type))
)
_CLONE = (
    update(hosts)
    .where(hosts.c.id == bindparam("b_id"), hosts.c.life != Life.RETIRED.value)
    .values(
        silent_after_ms=bindparam("silent_after_ms"),
        last_report_at_ms=bindparam("last_report_at_ms"),
        clone_seen_at_ms=bindparam("clone_seen_at_ms"),
        **_life_after(Sign.REPORT),
    )
)
_STREAMS = select(streams.c.host_id, streams.c.stream, streams.c.next_n, streams.c.is_current).where(
    streams.c.host_id.in_(bindparam("b_hosts", expanding=True))
)
_STREAMS_LOCKED = _STREAMS.order_by(streams.c.host_id, streams.c.stream).with_for_update()
_MOVE = (
    update(streams)
    .where(streams.c.host_id == bindparam("b_host"), streams.c.stream == bindparam("b_stream"))
    .values(next_n=bindparam("b_n"))
)
_OPEN = (
    select(
        open_findings.c.host_id,
        open_findings.c.stream,
        open_findings.c.rule,
        open_findings.c.subject,
        open_findings.c.at_ms,
    )
    .where(
        open_findings.c.host_id.in_(bindparam("b_hosts", expanding=True)),
        open_findings.c.stream.not_like("collector:%"),
    )
    .order_by(open_findings.c.host_id, open_findings.c.rule, open_findings.c.subject)
)
_APPEND = insert(findings)
