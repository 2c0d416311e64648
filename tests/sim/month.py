"""A month of a fleet: a quiet one opens no ticket, a loud one opens exactly those that its faults ask for.

Quiet is what happens on every fleet and is nobody's problem: noise, nightly jobs, backups in their windows, live
migrations, planned reboots, kernel updates, announced roll-outs of agents, the collector's own restarts and pauses. Loud is
that and a number of faults whose cause is known; each must give one ticket (or one parent with a child a contract), of the
right class and cause, resolved after the recovery. Agents' core, rules, spool, wire, intake, store and tick are the real ones.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from collector import roll_outs
from tests.sim.faults import FAULTS, Fault, Injected
from tests.sim.servers import Server
from tests.sim.verdict import Verdict, compare
from tests.sim.world import HOUR_MS, MINUTE_MS, START_MS, Size, World
from ticketing.terms import Contract, HostTerms, Window

DAY_MS = 24 * HOUR_MS
SIZE = Size(hosts=20, interval_s=10.0, sweep_ms=20_000, tick_ms=5_000, service_s=60.0)
HOSTS_A_NODE = 4
NODES_A_SITE = 4
BACKUPS_EACH = 10
"""One host of so many has a nightly backup, which loads its disks and has a window."""
LEAD_MS = 4 * MINUTE_MS
"""So long before a fault its host is chosen: what lies just before it is part of the evidence."""


class Life(World):
    """The world of a month: ordinary days, and ``faults`` of known cause where a number is asked for."""

    def __init__(self, seed: int, folder: Path, days: int, faults: int, size: Size = SIZE) -> None:
        self.days = days
        self.wanted = faults
        self.injected: list[Injected] = []
        self.told: Callable[[int], None] = _nobody
        super().__init__(seed, folder, size)

    def contracts(self) -> list[Contract]:
        """Those of the world, where a node stands at one site, with the nightly windows of the backups."""
        nights = []
        for day in range(self.days + 1):
            begin = dt.datetime.fromtimestamp((START_MS + day * DAY_MS) / 1000, dt.timezone.utc)
            begin = begin.replace(hour=3, minute=0)
            last = begin + dt.timedelta(hours=1)
            nights.append(Window(f"{begin:%Y-%m-%dT%H:%M}+00:00", f"{last:%Y-%m-%dT%H:%M}+00:00", "backup"))
        found = []
        for contract in super().contracts():
            mine = [host.id for host in contract.hosts if _number(host.id) % BACKUPS_EACH == 1]
            windows = [dataclasses.replace(night, hosts=mine) for night in nights] if mine else []
            hosts = [_placed(host) for host in contract.hosts]
            found.append(dataclasses.replace(contract, windows=windows, hosts=hosts))
        return found

    def on(self, server: Server, at: int, act: Callable[[], None], word: str) -> None:
        """Plan something that happens to a server."""
        self.later(at, act, word)

    def _begin(self) -> None:
        self.collector.start()
        for server in self.servers:
            server.work.update(IDLE)
            self.later(self.random.randrange(8_000), server.start_agent, f"{server.id}.start")
        for day in range(self.days):
            self._plan_day(day)
        if self.wanted:
            self._plan_faults()

    def _heal_all(self) -> None:
        """A month ends as it went: nothing is helped along."""

    def _fault_at_end(self) -> str | None:
        """What is left open is told in the table, with all the rest."""
        return None

    # what is ordinary

    def _plan_day(self, day: int) -> None:
        at, random = day * DAY_MS, self.random
        self.later(at, lambda: self.told(day), "day")
        for server in self.servers:
            # At round minutes, as cron does.
            starts = at + 2 * HOUR_MS + random.randrange(10) * 5 * MINUTE_MS
            self._for_a_while(starts, 20, server, "nightly_job", NIGHTLY)
            if _number(server.id) % BACKUPS_EACH == 1:
                self._for_a_while(at + 3 * HOUR_MS + 5 * MINUTE_MS, 35, server, "backup", BACKUP)
        for _ in range(3):
            self.later(at + random.randrange(DAY_MS), self._pause_collector, "collector_paused_")
        for moved in random.sample(self.servers, max(3, len(self.servers) // 10)):
            self.on(moved, at + random.randrange(DAY_MS), lambda s=moved: self._migrate(s), "live_migration")
        for updated in self.servers[(day + 3) % 7 :: 7]:
            hour = at + 6 * HOUR_MS + random.randrange(HOUR_MS)
            self.on(updated, hour, lambda s=updated: self._update(s), "packages_updated")
        self.later(at + random.randrange(DAY_MS), self._restart_collector, "collector_restarted")
        # Each host is rebooted once a week, every other time for a new kernel, which takes longer.
        for server in self.servers[day % 7 :: 7]:
            name, seconds = ("kernel_update", (120, 280)) if day % 2 else ("planned_reboot", (40, 120))
            away_ms = random.randint(*seconds) * 1000
            hour = at + 5 * HOUR_MS + random.randrange(HOUR_MS)
            self.on(server, hour, lambda s=server, ms=away_ms: self._reboot(s, ms), name)
        if day % 7 == 0:
            self.later(at + 10 * HOUR_MS, self._roll_out, "roll_out")

    def _for_a_while(
        self, at: int, minutes: int, server: Server, name: str, work: dict[tuple[str, str], float]
    ) -> None:
        self.on(server, at, lambda: server.work.update(work), name)
        # Of what is done nothing is left but what is usual; a job that still runs beside it keeps its own.
        usual = {key: IDLE[key] for key in work if key in IDLE}

        def end() -> None:
            for key in work:
                server.work.pop(key, None)
            server.work.update(usual)

        self.later(at + minutes * MINUTE_MS, end, "done")

    def _migrate(self, server: Server) -> None:
        """The guest stands still for 300 ms, and its clock is right again once NTP has looked."""
        server.stand_still(300)
        self.later(5 * MINUTE_MS, lambda: setattr(server, "skew_ms", 0), "ntp")

    def _update(self, server: Server) -> None:
        """Packages are updated: the service is started anew and is away for some seconds, as an act on record says."""
        server.act("dnf upgrade -y")
        server.faults.add("site")
        self.later(self.random.randint(2_000, 9_000), lambda: server.faults.discard("site"), "restarted")

    def _pause_collector(self) -> None:
        self.collector.pause()
        self.later(self.random.randint(500, 60_000), self.collector.resume, "resumed")

    def _restart_collector(self) -> None:
        self.collector.kill()
        self.later(self.random.randint(2_000, 90_000), self.collector.start, "started")

    def _reboot(self, server: Server, away_ms: int) -> None:
        if server.is_up and server.core is not None:
            server.say_goodbye("host_shutdown")
            server.power_off()
            server.off_since_ms = 0  # it said when it would be back: nobody need notice before
            self.later(away_ms, server.power_on, "booted")

    def _roll_out(self) -> None:
        """Announced for an hour; every agent ends in order and is back after seconds, a few after minutes."""
        collector = self.collector
        if collector.is_up and not collector.is_paused:
            until_ms = self.now_ms + HOUR_MS
            collector.write(
                lambda tx: roll_outs.announce(
                    tx, collector.book, ["all"], self.now_ms, until_ms, "admin", "0.2"
                )
            )
        for server in self.servers:
            at = LEAD_MS + self.random.randrange(40 * MINUTE_MS)
            self.on(server, at, lambda s=server: s.say_goodbye("roll_out"), "agent_upgraded")
            self.later(at + self.random.choice((4_000, 8_000, 240_000)), server.start_agent, "agent_back")

    # what is not

    def _plan_faults(self) -> None:
        """One after another over the whole month, each healed and resolved before the next begins."""
        slot_ms = (self.days * DAY_MS - 2 * HOUR_MS) // self.wanted
        for n in range(self.wanted):
            fault = FAULTS[n % len(FAULTS)]
            lasts_ms = self.random.randint(*fault.lasts_min) * MINUTE_MS
            room_ms = max(1, slot_ms - lasts_ms - SETTLES_MS)
            at = HOUR_MS + n * slot_ms + self.random.randrange(room_ms)
            self.later(at, lambda f=fault, ms=lasts_ms: self._choose(f, ms), "fault_chosen")

    def _choose(self, fault: Fault, lasts_ms: int) -> None:
        """A server that goes about its usual work, with everybody on its node where the fault is the node's."""
        fit = [group for s in self.servers if all(map(self.is_usual, group := self._hit_with(fault, s)))]
        if not fit:
            self.later(10 * MINUTE_MS, lambda: self._choose(fault, lasts_ms), "fault_chosen")
            return
        hit = self.random.choice(fit)
        self.on(hit[0], LEAD_MS, lambda: self._strike(fault, hit, lasts_ms), f"fault_{fault.name}")
        for other in hit[1:]:
            self.on(other, LEAD_MS, lambda: None, "fault_near")

    def _strike(self, fault: Fault, hit: list[Server], lasts_ms: int) -> None:
        if not all(map(self.is_usual, hit)):  # a reboot has come between: another one then
            self._choose(fault, lasts_ms)
            return
        is_owed = fault.class_ == 1 or any(self.is_eligible(s) for s in hit)
        ids = tuple(server.id for server in hit)
        self.injected.append(Injected(fault, ids, self.now_ms, self.now_ms + lasts_ms, is_owed))
        for one in hit:
            fault.begin(one)
            self.later(lasts_ms, lambda o=one: fault.end(o), "fault_ended")

    def _hit_with(self, fault: Fault, server: Server) -> list[Server]:
        if fault.scope == "host":
            return [server]
        node = self.servers.index(server) // HOSTS_A_NODE
        return self.servers[node * HOSTS_A_NODE : (node + 1) * HOSTS_A_NODE]

    def is_usual(self, server: Server) -> bool:
        """Whether nothing out of the ordinary is done on the server, and nothing is wrong with it."""
        return server.is_up and server.core is not None and not server.faults and server.work == IDLE

    def is_eligible(self, server: Server) -> bool:
        """Whether class 2 is worked on there."""
        contract = self.collector.book.contract_of(server.id)
        terms = contract.host(server.id) if contract is not None else None
        return terms is not None and terms.is_class2_eligible


def _nobody(day: int) -> None:
    """Nobody listens."""


def _number(host_id: str) -> int:
    return int(host_id[1:])


def _placed(host: HostTerms) -> HostTerms:
    node = _number(host.id) // HOSTS_A_NODE
    topology = dataclasses.replace(host.topology, site=f"s{node // NODES_A_SITE}")
    return dataclasses.replace(host, topology=topology)


SETTLES_MS = 35 * MINUTE_MS
"""From the end of a fault until its findings have cleared, its ticket has resolved and no new one could be taken for it."""


NIGHTLY = {
    ("cpu.user_pct", ""): 91.0,
    ("load.per_cpu", ""): 2.2,
    ("disk.await_ms", ""): 9.0,
    ("mem.avail_pct", ""): 28.0,
}
BACKUP = {("disk.await_ms", ""): 160.0, ("cpu.iowait_pct", ""): 45.0, ("psi.io_full60", ""): 40.0}


IDLE = {("cpu.iowait_pct", ""): 0.5, ("psi.io_full60", ""): 0.1}
"""What the samplers of a quiet machine bring of these: without a sample no finding could ever clear."""


def judged(life: Life) -> Verdict:
    """What opened, held against what was injected; a ticket that was opened again counts as one more."""
    with life.collector.store.read() as conn:
        rows, stray = compare(conn, life.injected, START_MS)
    ordinary = Counter({word: n for word, n in life.counts.items() if word in ORDINARY})
    return Verdict(life.seed, life.days, len(life.servers), ordinary, rows, stray)


ORDINARY = frozenset({
    "nightly_job", "backup", "live_migration", "collector_paused_", "collector_restarted", "planned_reboot",
    "kernel_update", "roll_out", "agent_upgraded", "packages_updated",
})  # fmt: skip
