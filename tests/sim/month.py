"""A month of a fleet: a quiet one opens no ticket, a loud one opens exactly those that its faults ask for.

Quiet is what happens on every fleet and is nobody's problem: noise, nightly jobs, backups in their windows, live
migrations, planned reboots, kernel updates, announced roll-outs of agents, the collector's own restarts and pauses. Loud is
that and a number of faults whose cause is known; each must give one ticket (or one parent with a child a contract), of the
right class and cause, resolved after the recovery. Agents' core, rules, spool, wire, intake, store and tick are the real ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from sqlalchemy import select

from collector import roll_outs
from tests.sim.servers import Server
from tests.sim.world import HOUR_MS, MINUTE_MS, START_MS, LawBroken, Size, World
from ticketing.tables import ticket_events, tickets
from ticketing.terms import Contract, Window

DAY_MS = 24 * HOUR_MS
SIZE = Size(hosts=20, interval_s=10.0, sweep_ms=20_000, tick_ms=5_000, service_s=60.0)
HOSTS_A_NODE = 4
BACKUP_HOSTS = ("h01", "h02")
"""Their backups load the disks, and have a window."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault, and what its ticket must say."""

    name: str
    class_: int
    causes: tuple[str, ...]
    """More than one where the outside cannot tell them apart."""
    begin: Callable[[Life, Server], None]
    end: Callable[[Life, Server], None]


@dataclasses.dataclass
class Injected:
    """One fault of a run, and the tickets that opened for it."""

    fault: Fault
    hosts: tuple[str, ...]
    from_ms: int
    to_ms: int
    opened: list[int] = dataclasses.field(default_factory=list)


class Life(World):
    """The world of a month: ordinary days, and ``faults`` of known cause where a number is asked for."""

    def __init__(self, seed: int, folder: Path, days: int, faults: int, size: Size = SIZE) -> None:
        self.days = days
        self.wanted = faults
        self.injected: list[Injected] = []
        self.told: Callable[[int], None] = _nobody
        super().__init__(seed, folder, size)

    def contracts(self) -> list[Contract]:
        """Those of the world, with the nightly windows of the backups."""
        nights = []
        for day in range(self.days + 1):
            begin = dt.datetime.fromtimestamp((START_MS + day * DAY_MS) / 1000, dt.timezone.utc)
            begin = begin.replace(hour=3, minute=0)
            last = begin + dt.timedelta(hours=1)
            nights.append(Window(f"{begin:%Y-%m-%dT%H:%M}+00:00", f"{last:%Y-%m-%dT%H:%M}+00:00", "backup"))
        found = []
        for contract in super().contracts():
            mine = [host.id for host in contract.hosts if host.id in BACKUP_HOSTS]
            windows = [dataclasses.replace(night, hosts=mine) for night in nights] if mine else []
            found.append(dataclasses.replace(contract, windows=windows))
        return found

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
            self._for_a_while(
                at + 2 * HOUR_MS + random.randrange(50 * MINUTE_MS), 20, server, "nightly_job", NIGHTLY
            )
            if server.id in BACKUP_HOSTS:
                self._for_a_while(at + 3 * HOUR_MS + 5 * MINUTE_MS, 35, server, "backup", BACKUP)
        for _ in range(3):
            moved = random.choice(self.servers)
            self.later(at + random.randrange(DAY_MS), lambda s=moved: self._migrate(s), "live_migration")
            self.later(at + random.randrange(DAY_MS), self._pause_collector, "collector_paused_")
        self.later(at + random.randrange(DAY_MS), self._restart_collector, "collector_restarted")
        # Each host is rebooted once a week, every other time for a new kernel, which takes longer.
        for server in self.servers[day % 7 :: 7]:
            name, seconds = ("kernel_update", (120, 280)) if day % 2 else ("planned_reboot", (40, 120))
            away_ms = random.randint(*seconds) * 1000
            self.later(
                at + 5 * HOUR_MS + random.randrange(HOUR_MS),
                lambda s=server, ms=away_ms: self._reboot(s, ms),
                name,
            )
        if day % 7 == 0:
            self.later(at + 10 * HOUR_MS, self._roll_out, "roll_out")

    def _for_a_while(
        self, at: int, minutes: int, server: Server, name: str, work: dict[tuple[str, str], float]
    ) -> None:
        self.later(at, lambda: server.work.update(work), name)
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
            at = self.random.randrange(40 * MINUTE_MS)
            self.later(at, lambda s=server: s.say_goodbye("roll_out"), "agent_upgraded")
            self.later(at + self.random.choice((4_000, 8_000, 240_000)), server.start_agent, "agent_back")

    # what is not

    def _plan_faults(self) -> None:
        """One after another over the whole month, each healed and resolved before the next begins."""
        slot_ms = (self.days * DAY_MS - 2 * HOUR_MS) // self.wanted
        for n in range(self.wanted):
            fault = FAULTS[n % len(FAULTS)]
            lasts_ms = self.random.randint(6, 15) * MINUTE_MS
            room_ms = max(1, slot_ms - lasts_ms - 20 * MINUTE_MS)
            at = HOUR_MS + n * slot_ms + self.random.randrange(room_ms)
            self.later(at, lambda f=fault, ms=lasts_ms: self._strike(f, ms), f"fault_{fault.name}")

    def _strike(self, fault: Fault, lasts_ms: int) -> None:
        server = self.random.choice([s for s in self.servers if s.is_up and s.core is not None])
        hit = self.node_of(server) if fault.name == "node" else [server]
        self.injected.append(Injected(fault, tuple(s.id for s in hit), self.now_ms, self.now_ms + lasts_ms))
        for one in hit:
            fault.begin(self, one)
            self.later(lasts_ms, lambda o=one: fault.end(self, o), "fault_ended")

    def node_of(self, server: Server) -> list[Server]:
        """Everybody on the server's node."""
        node = self.servers.index(server) // HOSTS_A_NODE
        return self.servers[node * HOSTS_A_NODE : (node + 1) * HOSTS_A_NODE]


def _nobody(day: int) -> None:
    """Nobody listens."""


NIGHTLY = {
    ("cpu.user_pct", ""): 91.0,
    ("load.per_cpu", ""): 2.2,
    ("disk.await_ms", ""): 9.0,
    ("mem.avail_pct", ""): 28.0,
}
BACKUP = {("disk.await_ms", ""): 160.0, ("cpu.iowait_pct", ""): 45.0, ("psi.io_full60", ""): 40.0}


IDLE = {("cpu.iowait_pct", ""): 0.5, ("psi.io_full60", ""): 0.1}
"""What the samplers of a quiet machine bring of these: without a sample no finding could ever clear."""


def _has(name: str) -> tuple[Callable[[Life, Server], None], Callable[[Life, Server], None]]:
    return (lambda life, server: server.faults.add(name)), (lambda life, server: server.faults.discard(name))


FAULTS = (
    Fault("disk", 2, ("os.disk_full",), *_has("disk")),
    Fault("unit", 2, ("os.service_failed",), *_has("unit")),
    Fault("site", 2, ("os.service_failed",), *_has("site")),
    Fault("agent", 2, ("os.agent_down",), lambda life, s: s.kill_agent(), lambda life, s: s.start_agent()),
    Fault("power", 2, ("unknown",), lambda life, s: s.power_off(), lambda life, s: s.power_on()),
    Fault("steal", 1, ("virt.cpu_contention",), *_has("steal")),
    Fault("node", 1, ("virt.node_failure",), lambda life, s: s.power_off(), lambda life, s: s.power_on()),
)


@dataclasses.dataclass
class Verdict:
    """What a month came to."""

    seed: int
    days: int
    happened: Counter[str]
    rows: list[tuple[str, int, int, int, int, int]]
    """(kind, injected, with exactly one ticket, right class, right cause, resolved)."""
    stray: list[str]
    """Tickets that no fault asks for, in words."""

    @property
    def is_right(self) -> bool:
        return not self.stray and all(len(set(row[1:])) == 1 for row in self.rows)

    def lines(self) -> list[str]:
        """The table for people."""
        head = f"{'fault':<10}{'injected':>10}{'one ticket':>12}{'class':>8}{'cause':>8}{'resolved':>10}"
        body = [f"{r[0]:<10}{r[1]:>10}{r[2]:>12}{r[3]:>8}{r[4]:>8}{r[5]:>10}" for r in self.rows]
        ordinary = ", ".join(f"{word} {n}" for word, n in sorted(self.happened.items()))
        return [f"seed {self.seed}, {self.days} days; {ordinary}", *([head, *body] if body else []),
                *(f"nobody asked for: {words}" for words in self.stray)]  # fmt: skip


def judged(life: Life) -> Verdict:
    """Compare what opened with what was injected; a ticket that was opened again counts as one more."""
    with life.collector.store.read() as conn:
        rows = {row["id"]: dict(row) for row in conn.execute(select(tickets)).mappings()}
        opened = conn.execute(
            select(ticket_events.c.ticket_id, ticket_events.c.at_ms, ticket_events.c.kind)
            .where(ticket_events.c.kind.in_(("open", "reopen")))
            .order_by(ticket_events.c.id)
        ).all()
    stray: list[str] = []
    for event in opened:
        row = rows[event.ticket_id]
        if row["parent_id"] is not None:
            continue  # a child tells its own contract of the parent's cause
        mine = [
            each for each in life.injected
            if each.from_ms <= event.at_ms <= each.to_ms + 5 * MINUTE_MS and set(row["affected"]) & set(each.hosts)
        ]  # fmt: skip
        if mine:
            mine[0].opened.append(event.ticket_id)
        else:
            at = (event.at_ms - START_MS) / HOUR_MS
            stray.append(f"{event.kind} {row['problem']} as {row['class']}/{row['root_cause']} at {at:.2f} h")
    table = []
    for fault in FAULTS:
        each = [one for one in life.injected if one.fault is fault]
        if not each:
            continue
        alone = [(one, rows[one.opened[0]]) for one in each if len(one.opened) == 1]
        table.append((
            fault.name, len(each), len(alone),
            sum(row["class"] == fault.class_ for _, row in alone),
            sum(row["root_cause"] in fault.causes for _, row in alone),
            sum(row["open_mark"] is None for _, row in alone),
        ))  # fmt: skip
    ordinary = Counter({word: n for word, n in life.counts.items() if word in ORDINARY})
    return Verdict(life.seed, life.days, ordinary, table, stray)


ORDINARY = frozenset({
    "nightly_job", "backup", "live_migration", "collector_paused_", "collector_restarted", "planned_reboot",
    "kernel_update", "roll_out", "agent_upgraded",
})  # fmt: skip


def live(
    seed: int, days: int, faults: int, size: Size = SIZE, told: Callable[[int], None] | None = None
) -> Verdict:
    """One month, or a part of it; raises LawBroken."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="vartovyi-month-", dir=shm if shm.is_dir() else None) as folder:
        life = Life(seed, Path(folder), days, faults, size)
        if told is not None:
            life.told = told
        try:
            life.run(24.0 * days)
            return judged(life)
        finally:
            life.close()


def main() -> int:
    """``make sim-month``."""
    parser = argparse.ArgumentParser(description="A simulated month: quiet, or with faults of known cause.")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--days", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--faults", type=int, default=0, help="0 is a quiet month (default)")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else Random().randrange(1_000_000)
    began = time.monotonic()

    def told(day: int) -> None:
        print(
            f"seed {seed}: day {day + 1} of {given.days}, {time.monotonic() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    try:
        verdict = live(seed, given.days, given.faults, told=told)
    except LawBroken as broken:
        print(f"\nA law does not hold: {broken}", file=sys.stderr)
        return 1
    print("\n".join(verdict.lines()))
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
