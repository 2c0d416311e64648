"""A large fleet driven by events: a server that goes about its usual work costs nothing until something happens to it.

What an event touches is simulated finely: some minutes before it the server wakes, and from then on it sweeps, beats and
is asked from outside through the same agent, wire, intake, store and tick as in the fine simulation. When nothing is
wrong or unusual any more it dozes off: what it would have said until its next event (that all is as ever) is not said,
and the store is told not to wait for it. That shortcut is this file's only one; what can be judged is judged by the real
thing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update

from collector.fleet import Life as HostLife
from collector.store import retention
from collector.tables import hosts, observations, open_findings, services
from tests.sim.laws import Laws
from tests.sim.month import DAY_MS, LEAD_MS, Life
from tests.sim.servers import Server
from tests.sim.world import MINUTE_MS, Size

if TYPE_CHECKING:
    from tests.sim.world import World

FLEET = Size(
    hosts=1000, interval_s=60.0, sweep_ms=60_000, tick_ms=60_000, service_s=300.0, clients=20,
    hosts_a_provider=250,
)  # fmt: skip
AWAKE_MS = 11 * MINUTE_MS
"""So long a server stays awake after an event at least: two rounds of its service's probes."""
FAR_MS = 100 * 365 * DAY_MS
CLOCK_WELL_MS = 100.0
LAWS_EVERY_MS = 10 * MINUTE_MS
SHORT_LIVED = {"vitals": 1800.0, "probes": 86_400.0}
"""Ages in seconds of what would only fill the store of a month."""


class Sleeper(Server):
    """A server that dozes off when nothing is the matter."""

    def __init__(self, world: World, host_id: str, folder: Path) -> None:
        super().__init__(world, host_id, folder)
        assert isinstance(world, Drowsy)
        self.fleet = world
        self.is_awake = False
        self.awake_until_ms = 0

    def wake(self) -> None:
        """From now on it sweeps and beats."""
        self.awake_until_ms = max(self.awake_until_ms, self.world.now_ms + AWAKE_MS)
        if self.is_awake:
            return
        self.is_awake = True
        self.fleet.expect(self)
        if self.core is not None:
            self._plan(0, self._sweep)

    def start_agent(self) -> None:
        """A process that begins is awake; what was planned for one that dozed has come to nothing."""
        self.awake_until_ms = max(self.awake_until_ms, self.world.now_ms + AWAKE_MS)
        if not self.is_awake:
            self.is_awake = True
            self.fleet.expect(self)
        super().start_agent()

    def _sweep(self) -> None:
        if not self.fleet.is_usual(self):
            self.awake_until_ms = self.world.now_ms + AWAKE_MS
        elif self._may_doze() and self.fleet.let_doze(self):
            self.is_awake = False
            self._send_planned_ms = None
            return
        super()._sweep()

    def _consider_sending(self) -> None:
        if self.is_awake:
            super()._consider_sending()

    def _may_doze(self) -> bool:
        core = self.core
        if core is None or self._waiting is not None or self.is_blamed or self.skew_ms:
            return False
        is_time = self.world.now_ms >= self.awake_until_ms
        return is_time and not core.has_news and not core.open_findings()


class SeldomLaws(Laws):
    """The laws, looked at every ten minutes: a look costs as much as a tick of a thousand hosts."""

    _next_ms = 0

    def check(self) -> str | None:
        """As ever, when it is time."""
        if self.world.now_ms < self._next_ms and not self.world.forked:
            return None
        self._next_ms = self.world.now_ms + LAWS_EVERY_MS
        return super().check()


class Drowsy(Life):
    """The month of a fleet most of which dozes."""

    def __init__(self, seed: int, folder: Path, days: int, faults: int, size: Size = FLEET) -> None:
        super().__init__(seed, folder, days, faults, size)
        self.laws = SeldomLaws(self)

    def new_server(self, host_id: str, folder: Path) -> Server:
        """One that may doze."""
        return Sleeper(self, host_id, folder)

    def on(self, server: Server, at: int, act: Callable[[], None], word: str) -> None:
        """The server is awake some minutes before."""
        assert isinstance(server, Sleeper)
        self.later(at - LEAD_MS, server.wake, "wake")
        super().on(server, at, act, word)

    def expect(self, server: Server) -> None:
        """The store waits for the server's next report as before, and asks its service again, in step with the others."""
        every_ms = round(self.size.service_s * 1000)
        self._wait_for(server, (self.now_ms // every_ms + 1) * every_ms)

    def let_doze(self, server: Server) -> bool:
        """Do not wait for the server until it wakes, where the store too knows of nothing that is the matter."""
        collector = self.collector
        if not collector.is_up or collector.is_paused:
            return False
        # What it said last is looked at too: it may be a report that had to wait for us.
        collector.store.write(lambda tx: collector.intake.flush(tx, self.now_ms))
        with collector.store.read() as conn:
            life = conn.execute(select(hosts.c.life).where(hosts.c.id == server.id)).scalar_one()
            is_troubled = conn.execute(
                select(open_findings.c.rule).where(open_findings.c.host_id == server.id).limit(1)
            ).first()
            offset = conn.execute(
                select(observations.c.value)
                .where(observations.c.host_id == server.id, observations.c.signal == "clk.true_offset_ms")
                .order_by(observations.c.id.desc())
                .limit(1)
            ).scalar()
        if life != HostLife.ALIVE.value or is_troubled is not None:
            return False
        # One report that had to wait for us looks like a clock that is late, until the next one has come.
        if abs(float(offset or 0.0)) >= CLOCK_WELL_MS:
            return False
        self._wait_for(server, FAR_MS)
        return True

    def _wait_for(self, server: Server, until_ms: int) -> None:
        def write(tx: Connection) -> None:
            mine: Any = services.c.host_id == server.id
            tx.execute(update(services).where(mine).values(next_due_at_ms=until_ms))
            if until_ms == FAR_MS:
                tx.execute(update(hosts).where(hosts.c.id == server.id).values(silent_after_ms=until_ms))

        self.collector.store.write(write)

    def _plan_day(self, day: int) -> None:
        super()._plan_day(day)
        self.later(day * DAY_MS + 1, self._sweep_store, "retention")

    def _sweep_store(self) -> None:
        while sum(self.collector.store.write(
            lambda tx: retention.sweep(tx, self.now_ms, SHORT_LIVED, 5000)
        ).values()):  # fmt: skip
            pass
