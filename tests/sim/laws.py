"""What must hold after every event (design, section 6), looked at from outside: in the store and in the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Connection, and_, bindparam, exists, func, select

from collector.fleet import Life, grace_s
from collector.tables import findings, hosts
from collector.tick.rows import SILENCE_STREAM
from ticketing.tables import clocks, tickets

if TYPE_CHECKING:
    from tests.sim.world import World

Law = Callable[[Connection], "str | None"]

DEAD_IS_SEEN_WITHIN_MS = 120_000
OUTCOMES = ("opened", "joined", "resolved", "recorded", "reopened")


class Laws:
    """Watches one world; each law returns words when it is broken."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._seen_commits = -1
        self._spent: dict[tuple[int, str], int] = {}
        self._last_finding = 0
        self._clocks_were: tuple[object, ...] = ()
        self._collector_well_since_ms = 0
        self.silences = 0

    def check(self) -> str | None:
        """After every event. What lives in the store can only be broken by a commit."""
        collector = self.world.collector
        if not collector.is_up or collector.is_paused:
            self._collector_well_since_ms = self.world.now_ms
        if self.world.forked:
            return f"every finding is accounted for: {self.world.forked}"
        if collector.commits == self._seen_commits:
            return None
        self._seen_commits = collector.commits
        with collector.store.read() as conn:
            looked = conn.execute(_LOOK, {"b_overdue": self._overdue_before_ms()}).one()
            laws: list[Law] = [self._the_dead_are_noticed]
            # Looked at closely only where the quick look says that there may be something.
            if looked.doubled:
                laws.append(self._one_open_ticket)
            if looked.lacking:
                laws.append(self._every_ticket_has_its_clocks)
            if looked.overdue:
                laws.append(self._deadlines_are_seen)
            if self._clocks_were != (looked.clocks, looked.spent, looked.running):
                self._clocks_were = (looked.clocks, looked.spent, looked.running)
                laws.append(self._clocks_run_forward)
            if (looked.last_finding or 0) > self._last_finding:
                laws.append(self._no_false_silence)
            broken = _first_broken(laws, conn)
            self._last_finding = looked.last_finding or 0
            return broken

    def _overdue_before_ms(self) -> int:
        """Deadlines before then must have been seen: with some slack, and only while the collector is well."""
        slack_ms = 2 * self.world.tick_ms + 1000
        is_well = self.world.now_ms - self._collector_well_since_ms >= slack_ms
        return self.world.now_ms - slack_ms if is_well else 0

    def check_end(self) -> str | None:
        """Once everything is healed and settled."""
        with self.world.collector.store.read() as conn:
            laws: list[Law] = [
                self._clocks_run_forward,
                self._every_finding_is_accounted_for,
                self._nothing_was_made_up,
                self._tickets_resolved,
            ]
            return _first_broken(laws, conn)

    def _one_open_ticket(self, conn: Connection) -> str | None:
        twice = conn.execute(_DOUBLED).first()
        return f"{twice[2]} open tickets for {twice[1]} of {twice[0]}" if twice else None

    def _every_ticket_has_its_clocks(self, conn: Connection) -> str | None:
        lacking = conn.execute(_LACKING).first()
        return f"ticket {lacking.id} has no clock or no next step" if lacking else None

    def _clocks_run_forward(self, conn: Connection) -> str | None:
        for row in conn.execute(
            select(clocks.c.ticket_id, clocks.c.kind, clocks.c.spent_ms, clocks.c.running_since_ms)
        ):
            running = (
                max(0, self.world.now_ms - row.running_since_ms) if row.running_since_ms is not None else 0
            )
            spent, key = row.spent_ms + running, (row.ticket_id, row.kind)
            before = self._spent.get(key, 0)
            if spent < before:
                return f"{row.kind} clock of ticket {row.ticket_id} went from {before} to {spent} ms"
            self._spent[key] = spent
        return None

    def _no_false_silence(self, conn: Connection) -> str | None:
        """A silence is opened only of a host that the truth says could not be heard: never for our own outage."""
        rows = conn.execute(
            select(findings.c.id, findings.c.host_id, findings.c.at_ms)
            .where(
                findings.c.id > self._last_finding,
                findings.c.stream == SILENCE_STREAM,
                findings.c.kind == "opened",
            )
            .order_by(findings.c.id)
        ).all()
        allowed_ms = round((self.world.interval_s + 2 * grace_s(self.world.interval_s)) * 1000)
        for row in rows:
            self.silences += 1
            server = self.world.server(row.host_id)
            if not server.is_troubled() and server.troubled_at_ms < row.at_ms - allowed_ms:
                ago = (self.world.now_ms - server.troubled_at_ms) / 1000
                return f"{row.host_id} was well (last trouble {ago:.0f} s ago), and is called silent"
        return None

    def _deadlines_are_seen(self, conn: Connection) -> str | None:
        overdue = conn.execute(_OVERDUE, {"b_overdue": self._overdue_before_ms()}).first()
        return (
            f"{overdue.id} is overdue since {overdue.silent_after_ms} and not suspected" if overdue else None
        )

    def _the_dead_are_noticed(self, conn: Connection) -> str | None:
        """A machine that is off while the collector is well becomes silent in good time, unless it never reported."""
        world = self.world
        limit_ms = DEAD_IS_SEEN_WITHIN_MS + round(2 * world.interval_s * 1000)
        if world.now_ms - self._collector_well_since_ms < limit_ms:
            return None
        dead = [s for s in world.servers if s.off_since_ms and world.now_ms - s.off_since_ms > limit_ms]
        if not dead or len(dead) > len(world.servers) // 2:
            return None
        missed = conn.execute(
            select(hosts.c.id, hosts.c.life).where(
                hosts.c.id.in_([s.id for s in dead]),
                hosts.c.life.not_in((Life.SILENT.value, Life.AWAITED.value)),
            )
        ).first()
        return f"{missed.id} is off and still {missed.life}" if missed else None

    def _every_finding_is_accounted_for(self, conn: Connection) -> str | None:
        """What a spool ever took stands in the store once, handled, with a ticket or a reason."""
        columns = (findings.c.host_id, findings.c.stream, findings.c.n, findings.c.kind, findings.c.outcome,
                   findings.c.handled_at_ms, findings.c.ticket_id, findings.c.why)  # fmt: skip
        rows: dict[tuple[str, str, int], list[object]] = {}
        for row in conn.execute(select(*columns)):
            rows.setdefault((row.host_id, row.stream, row.n), []).append(row)
        for server in self.world.servers:
            for said in server.said:
                found = rows.get((said.host, said.stream, said.n), [])
                if len(found) != 1:
                    return f"{said} stands {len(found)} times in the store"
                fault = _account_fault(found[0])
                if fault:
                    return f"{said} {fault}"
        return None

    def _nothing_was_made_up(self, conn: Connection) -> str | None:
        said = {(s.host, s.stream, s.n) for server in self.world.servers for s in server.said}
        for row in conn.execute(
            select(findings.c.host_id, findings.c.stream, findings.c.n).where(
                findings.c.stream.not_like("collector:%")
            )
        ):
            if tuple(row) not in said:
                return f"{tuple(row)} was never said by its host"
        return None

    def _tickets_resolved(self, conn: Connection) -> str | None:
        """Every fault is over and proved to be: what the machine opened, it has resolved."""
        left = conn.execute(
            select(tickets.c.id, tickets.c.problem, tickets.c.state).where(
                and_(tickets.c.open_mark == 1, tickets.c.origin == "machine")
            )
        ).all()
        return f"still open: {[(row.id, row.problem, row.state) for row in left[:5]]}" if left else None


def _first_broken(laws: list[Law], conn: Connection) -> str | None:
    for law in laws:
        broken = law(conn)
        if broken:
            return f"{getattr(law, '__name__', '').strip('_').replace('_', ' ')}: {broken}"
    return None


_DOUBLED = (
    select(tickets.c.contract_id, tickets.c.problem, func.count())
    .where(tickets.c.open_mark == 1)
    .group_by(tickets.c.contract_id, tickets.c.problem)
    .having(func.count() > 1)
)
_LACKING = select(tickets.c.id, tickets.c.next_step_at_ms).where(
    tickets.c.open_mark == 1,
    tickets.c.next_step_at_ms.is_(None) | ~exists().where(clocks.c.ticket_id == tickets.c.id),
)
_OVERDUE = select(hosts.c.id, hosts.c.silent_after_ms).where(
    hosts.c.silent_after_ms < bindparam("b_overdue", type_=BigInteger), hosts.c.life == Life.ALIVE.value
)
_LOOK = select(
    _DOUBLED.exists().label("doubled"),
    _LACKING.exists().label("lacking"),
    _OVERDUE.exists().label("overdue"),
    # A row that did not change cannot run backwards: what it says grows with the time.
    select(func.count()).select_from(clocks).scalar_subquery().label("clocks"),
    select(func.sum(clocks.c.spent_ms * clocks.c.ticket_id)).scalar_subquery().label("spent"),
    select(func.sum(clocks.c.running_since_ms * (clocks.c.ticket_id % 97)))
    .scalar_subquery()
    .label("running"),
    select(func.max(findings.c.id)).scalar_subquery().label("last_finding"),
)


def _account_fault(row: object) -> str | None:
    if getattr(row, "handled_at_ms", None) is None:
        return "was never handled"
    outcome = getattr(row, "outcome", "")
    if outcome not in OUTCOMES:
        return f"has the outcome {outcome!r}"
    if getattr(row, "ticket_id", None) is None and getattr(row, "why", None) is None:
        return f"has neither ticket nor reason (outcome {outcome})"
    return None
