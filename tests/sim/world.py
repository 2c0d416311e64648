"""A small fleet in one process, from a seed, much faster than real time: ``make sim SEED=7 HOURS=24 HOSTS=20``.

A heap of (time, event) and one ``Random(seed)``; the world jumps to the next event. Clock, machine and network are
replaced; decoding, store, tick, rules and spool are the real ones. The laws (tests/sim/laws.py) are checked after every
event; the first one broken ends the run with the seed and the command that replays it.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import heapq
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from sqlalchemy import func, select

from collector.enrol import enrol
from collector.tables import findings
from config import loader
from tests.sim.collector import Collector, Variant
from tests.sim.laws import Laws
from tests.sim.network import Network
from tests.sim.operators import Operators
from tests.sim.servers import FAULTS, Server
from ticketing import contracts
from ticketing.tables import tickets
from ticketing.terms import Contract

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
CLIENTS = ("acme", "birch")
PROVIDERS = ("alfa", "bravo", "charlie", "delta")
QUIET_END_MS = 60 * MINUTE_MS
"""At the end everything is healed, and this long given to deliver, decide, cease to flap and resolve."""


class LawBroken(AssertionError):
    """A law does not hold; says which, when, and how to see it again."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How large and how fine a run is."""

    hosts: int = 12
    interval_s: float = 10.0
    sweep_ms: int = 10_000
    tick_ms: int = 5_000
    calm: float = 1.0
    """Above 1 less goes wrong in an hour."""
    service_s: float = 120.0
    """How often each host's service is asked from outside."""
    clients: int = 2
    """Every second one may not have class 2 work done."""
    hosts_a_provider: int = 1_000_000


FAST = Size(hosts=6, interval_s=1.0, sweep_ms=5_000, tick_ms=1_000)
"""Heartbeats of a second, where the whole budget from freeze to ticket is three."""

COARSE = Size(hosts=20, interval_s=60.0, sweep_ms=60_000, tick_ms=10_000, calm=8.0, service_s=300.0)
"""For a day of 20 hosts in seconds."""


class World:
    """Time, chance, and everybody in it."""

    def __init__(
        self, seed: int, folder: Path, size: Size | None = None, variant: Variant | None = None
    ) -> None:
        size = size or Size()
        self.seed = seed
        self.size = size
        self.random = Random(seed)
        self.now_ms = START_MS
        self.interval_s = size.interval_s
        self.sweep_ms = size.sweep_ms
        self.tick_ms = size.tick_ms
        self.counts: Counter[str] = Counter()
        self.events = 0
        self._heap: list[tuple[int, int, str, Callable[[], None]]] = []
        self._planned = 0
        self._digest = hashlib.sha256()
        self._is_ending = False
        self.hours = 0.0
        self.digest = ""
        self.tally: Counter[str] = Counter()
        self.forked = ""
        """Set when a spool, none of which is ever lost here, had to leave its stream."""
        self.network = Network(self)
        self.collector = Collector(self, variant or Variant())
        self.servers = [self._server(number, folder) for number in range(size.hosts)]
        self._by_address = {_address(number): server for number, server in enumerate(self.servers)}
        self._by_id = {server.id: server for server in self.servers}
        self._enrol_all()
        self.operators = Operators(self)
        self.laws = Laws(self)

    # time

    def later(self, after_ms: int, act: Callable[[], None], word: str) -> None:
        """Plan an event."""
        self._planned += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, after_ms), self._planned, word, act))

    def run(self, hours: float) -> None:
        """Live for so long, then heal everything and settle. ``digest`` is then that of all that happened."""
        self.hours = hours
        self._begin()
        self._run_until(self.now_ms + round(hours * HOUR_MS))
        self._is_ending = True
        self._heal_all()
        self._run_until(self.now_ms + QUIET_END_MS)
        self._hold(self._fault_at_end)
        self.digest = self._digest.hexdigest()

    def _fault_at_end(self) -> str | None:
        return self.laws.check_end()

    def close(self) -> None:
        """Count what was lived through, then release files and store."""
        self.tally["silences"] = self.laws.silences
        self.tally["kills"] = self.collector.deaths
        self.tally["repeats"] = self.collector.repeats
        with self.collector.store.read() as conn:
            for name, table in (("tickets", tickets), ("findings", findings)):
                self.tally[name] = conn.execute(select(func.count()).select_from(table)).scalar_one()
        for server in self.servers:
            server.kill_agent()
        self.collector.store.close()

    def _run_until(self, end_ms: int) -> None:
        while self._heap and self._heap[0][0] <= end_ms:
            at_ms, _, word, act = heapq.heappop(self._heap)
            self.now_ms = max(self.now_ms, at_ms)
            self.events += 1
            self.counts[word.rpartition(".")[2]] += 1
            self._digest.update(f"{self.now_ms} {word}\n".encode())
            try:
                act()
            except Exception as error:
                raise LawBroken(self._told(f"nothing breaks: {type(error).__name__}: {error}")) from error
            self._hold(self.laws.check)
        self.now_ms = end_ms

    def _hold(self, check: Callable[[], str | None]) -> None:
        broken = check()
        if broken:
            raise LawBroken(self._told(broken))

    def _told(self, broken: str) -> str:
        again = f"make sim SEED={self.seed} HOURS={self.hours:g} HOSTS={self.size.hosts}"
        return f"{broken}\n  at {(self.now_ms - START_MS) / 1000:.3f} s, event {self.events}; replay: {again}"

    # what others tell

    def note(self, words: str) -> None:
        """Something worth a place in the digest."""
        self._digest.update(f"{self.now_ms} {words}\n".encode())

    def heard(self, host_id: str) -> None:
        """A report of this host reached a living collector."""
        self._by_id[host_id].heard()

    def delivered(self, message_id: str) -> None:
        """A message left; the same id may leave twice, never a second id for one event."""
        self.counts["delivered"] += 1

    def server(self, host_id: str) -> Server:
        """The server of that id."""
        return self._by_id[host_id]

    def server_at(self, address: str) -> Server | None:
        """The server at that address."""
        return self._by_address.get(address)

    # how it begins

    def _server(self, number: int, folder: Path) -> Server:
        own = folder / f"h{number:02}"
        own.mkdir()
        return self.new_server(f"h{number:02}", own)

    def new_server(self, host_id: str, folder: Path) -> Server:
        """A server of the kind that this world has."""
        return Server(self, host_id, folder)

    def contracts(self) -> list[Contract]:
        """What is agreed on these hosts."""
        return _contracts(self.size)

    def _enrol_all(self) -> None:
        loaded = contracts.Loaded(tuple(self.contracts()), ())
        self.collector.store.write(lambda tx: contracts.apply(tx, loaded, self.now_ms, "sim"))
        for number, server in enumerate(self.servers):
            contract = loaded.contracts[number % self.size.clients]
            terms = contract.host(server.id)
            assert terms is not None
            self.collector.store.write(
                lambda tx, contract=contract, server=server, terms=terms: enrol(
                    tx,
                    server.id,
                    contract.id,
                    self.now_ms,
                    addresses=terms.addresses,
                    topology=dataclasses.asdict(terms.topology),
                    interval_s=self.interval_s,
                    token=server.token,
                )
            )

    def _begin(self) -> None:
        self.collector.start()
        for server in self.servers:
            self.later(self.random.randrange(20_000), server.start_agent, f"{server.id}.start")
        for word, mean_ms, act in (
            ("server_fault", HOUR_MS // (2 * self.size.hosts), self._server_fault),
            ("path_fault", HOUR_MS // (2 * self.size.hosts), self._path_fault),
            ("agent_killed", 2 * HOUR_MS // self.size.hosts, self._agent_killed),
            ("power_off", 3 * HOUR_MS // self.size.hosts, self._power_off),
            ("clock_skew", 4 * HOUR_MS // self.size.hosts, self._clock_skew),
            ("collector_paused", 12 * MINUTE_MS, self._collector_paused),
            ("collector_killed", 8 * MINUTE_MS, self._collector_killed),
            ("operator", 2 * MINUTE_MS, self.operators.act),
            ("second_decider", 3 * MINUTE_MS, self.operators.second_decider),
        ):
            self._again(word, round(mean_ms * self.size.calm), act)

    def _again(self, word: str, mean_ms: int, act: Callable[[], None]) -> None:
        def happen() -> None:
            if not self._is_ending:
                act()
                self._again(word, mean_ms, act)

        self.later(round(self.random.expovariate(1 / mean_ms)), happen, word)

    # what goes wrong

    def _server_fault(self) -> None:
        server, fault = self.random.choice(self.servers), self.random.choice(FAULTS)
        if self.random.random() < 0.6:
            self._break(server, fault, self._minutes(1, 20))
            return
        # One that comes and goes, also while nobody listens: closed and opened again in one delivery.
        if self.random.random() < 0.4:
            server.cut()
            self.later(self._minutes(4, 9), server.mend, f"{server.id}.mended")
        after_ms = 0
        for _ in range(self.random.randint(2, 5)):
            lasts_ms = self._minutes(0.8, 2)
            self.later(
                after_ms, functools.partial(self._break, server, fault, lasts_ms), f"{server.id}.fault_begins"
            )
            after_ms += lasts_ms + self._minutes(0.8, 2)

    def _break(self, server: Server, fault: str, lasts_ms: int) -> None:
        if not self._is_ending:
            server.faults.add(fault)
            self.later(lasts_ms, lambda: server.faults.discard(fault), f"{server.id}.fault_ends")

    def _path_fault(self) -> None:
        server = self.random.choice(self.servers)
        if self.random.random() < 0.3:
            server.cut()
            self.later(round(self.random.uniform(5_000, 8 * MINUTE_MS)), server.mend, f"{server.id}.mended")
            return
        server.path.loss = self.random.choice((0.0, 0.05, 0.3))
        server.path.doubled = self.random.choice((0.0, 0.2, 0.5))
        server.path.late = self.random.choice((0.0, 0.1, 0.3))
        self.later(self._minutes(1, 15), server.mend, f"{server.id}.mended")

    def _agent_killed(self) -> None:
        server = self.random.choice(self.servers)
        server.kill_agent()
        self.later(self.random.randint(200, 40_000), server.start_agent, f"{server.id}.start")

    def _power_off(self) -> None:
        server = self.random.choice(self.servers)
        server.power_off()
        self.later(self._minutes(0.2, 15), server.power_on, f"{server.id}.power_on")

    def _clock_skew(self) -> None:
        self.random.choice(self.servers).skew_ms = self.random.choice(
            (0, 0, -3_600_000, 7_200_000, 1_500, -30_000)
        )

    def _collector_paused(self) -> None:
        longest_ms = self.random.choice((3_000, 12_000, 4 * MINUTE_MS))
        self.collector.pause()
        self.later(round(self.random.uniform(300, longest_ms)), self.collector.resume, "collector.resume")

    def _collector_killed(self) -> None:
        how, is_before = self.random.random(), self.random.random() < 0.5
        if how < 0.2:
            self.collector.kill()
            self.later(self._minutes(0.01, 6), self.collector.start, "collector.start")
        elif how < 0.6:
            self.collector.die_at_report(before=is_before)
        else:
            self.collector.die_at_commit(self.random.randint(1, 12), before=is_before)

    def _heal_all(self) -> None:
        for server in self.servers:
            server.faults.clear()
            server.mend()
            server.skew_ms = 0
            server.power_on()
            server.start_agent()
        self.collector.resume()
        self.collector.spare()
        self.collector.start()

    def _minutes(self, low: float, high: float) -> int:
        return round(self.random.uniform(low, high) * MINUTE_MS)


def _address(number: int) -> str:
    return f"192.0.2.{number + 1}" if number < 250 else f"198.18.{number // 250}.{number % 250 + 1}"


def _provider(number: int, size: Size) -> str:
    which = number // size.hosts_a_provider
    return PROVIDERS[which] if which < len(PROVIDERS) else f"provider{which}"


@functools.cache
def _contracts(size: Size) -> list[Contract]:
    """Clients, their hosts mixed over the providers' nodes; of two the second may not have class 2 work done."""
    texts = []
    names = [*CLIENTS, *(f"client{n}" for n in range(len(CLIENTS), size.clients))]
    for which, name in enumerate(names[: size.clients]):
        hosts = "\n".join(
            f"""
  - id: h{n:02}
    addresses: ["{_address(n)}"]
    kind: {"vds" if which % 2 == 0 else "shared"}
    web_environment: true
    exclusive_access: true
    interval: {size.interval_s} s
    topology: {{provider: {_provider(n, size)}, site: s{n % 2}, node: n{n // 4}, virt: kvm}}
    services:
      - name: site
        check: {{type: http, host: "{_address(n)}", url: "http://{_address(n)}/"}}
        interval: {size.service_s} s"""
            for n in range(size.hosts)
            if n % size.clients == which
        )
        texts.append(
            f"id: {name}\ntitle: {name}\nlines: {3 + which % 2}\nhosts:{hosts}\n"
            "channels: [{type: mail, to: [desk@example.net]}]\n"
        )
    return [loader.parse(text, Contract) for text in texts]


def simulate(seed: int, hours: float, size: Size | None = None, variant: Variant | None = None) -> World:
    """One run; raises LawBroken. The spools live in memory where the machine has such a folder."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="vartovyi-sim-", dir=shm if shm.is_dir() else None) as folder:
        world = World(seed, Path(folder), size, variant)
        try:
            world.run(hours)
        finally:
            world.close()
        return world


def main() -> int:
    """``make sim``."""
    parser = argparse.ArgumentParser(description="Run the simulated fleet.")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--hours", type=float, default=2.0, help="simulated hours (default: %(default)s)")
    parser.add_argument(
        "--hosts", type=int, default=None, help="default: 12; with more than 6 hours 20, coarser"
    )
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else Random().randrange(1_000_000)
    size = COARSE if given.hours > 6 else Size()
    if given.hosts:
        size = dataclasses.replace(size, hosts=given.hosts)
    print(f"seed {seed}, {size.hosts} hosts, {given.hours:g} h")
    began = time.monotonic()
    try:
        world = simulate(seed, given.hours, size)
    except LawBroken as broken:
        print(f"\nA law does not hold: {broken}", file=sys.stderr)
        return 1
    print(
        f"all laws hold over {world.events} events in {time.monotonic() - began:.1f} s; digest {world.digest[:16]}"
    )
    print(", ".join(f"{what} {n}" for what, n in world.tally.items()))
    print(", ".join(f"{word} {n}" for word, n in sorted(world.counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
