"""A small world for ticks: an in-memory store, contracts, hosts, a fake network that answers as told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from collector import asks
from collector import probes as probing
from collector.fleet import silent_after_ms
from collector.store.engine import Store
from collector.tables import findings, hosts, open_findings, probes
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import remember
from collector.tick.run import run_tick
from collector.tick.silence import LAST_TICK
from collector.trace import HopOwners
from tests.tools.tables import make_tables
from ticketing.contracts import Loaded, apply, current
from ticketing.tables import metadata, tickets
from ticketing.terms import Contract, HostTerms, ServiceTerms, Topology

T0 = 1_767_225_600_000


@dataclasses.dataclass
class FakeNetwork:
    """Answers by (kind, address); unanswered kinds time out."""

    states: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def answer(self, kind: str, target: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        address = str(target.get("address", ""))
        self.asked.append((kind, address))
        default = "dead" if kind == "icmp" else "timeout"
        return {
            "state": self.states.get((kind, address), default),
            "detail": "",
            "ms": 1.0,
            "facts": self.facts,
        }


class World:
    """One collector without threads: the test turns the tick and the probes by hand."""

    def __init__(self, *, anchors: tuple[str, ...] = ()) -> None:
        self.store = Store.open("sqlite://")
        self.store.write(lambda tx: make_tables(tx, metadata))
        self.now_ms = T0
        self.network = FakeNetwork()
        # A tick ran a moment ago: what the first tick of a process does is a test of its own.
        self.ctx = TickContext(anchors=anchors, is_first=False)
        self.store.write(lambda tx: remember(tx, LAST_TICK, str(T0)))
        self.seen_from: dict[str, dict[tuple[str, str], str]] = {}
        """Vantages on their poll -> what they see by (kind, address); what is not named there times out."""
        self.contracts: dict[str, Contract] = {}
        self.next_n: dict[str, int] = {}

    def add_host(
        self,
        host_id: str,
        contract: str = "acme",
        interval_s: float = 10.0,
        services: list[ServiceTerms] | None = None,
        **topology: str,
    ) -> None:
        """Enrol a host under a contract (class 2 eligible), alive as of now."""
        terms = HostTerms(
            id=host_id,
            addresses=[f"addr-{host_id}"],
            kind="dedicated",
            web_environment=True,
            exclusive_access=True,
            topology=Topology(**topology),
            interval=interval_s,
            services=services or [],
        )
        known = self.contracts.get(contract) or Contract(id=contract, title=contract)
        self.contracts[contract] = dataclasses.replace(known, hosts=[*known.hosts, terms])
        loaded = Loaded(tuple(self.contracts.values()), ())
        self.store.write(lambda tx: apply(tx, loaded, self.now_ms, "test"))
        row = {
            "id": host_id,
            "contract_id": contract,
            "addresses": [f"addr-{host_id}"],
            "topology": {k: v for k, v in topology.items() if v},
            "token_hash": host_id,
            "enrolled_at_ms": self.now_ms,
            "life": "alive",
            "life_since_ms": self.now_ms,
            "silent_after_ms": silent_after_ms(self.now_ms, interval_s),
            "last_report_at_ms": self.now_ms,
            "interval_s": interval_s,
            "vitals": {},
        }
        self.store.write(lambda tx: tx.execute(insert(hosts).values(**row)))

    def replace_contract(self, contract: Contract) -> None:
        self.contracts[contract.id] = contract
        loaded = Loaded(tuple(self.contracts.values()), ())
        self.store.write(lambda tx: apply(tx, loaded, self.now_ms, "test"))

    def heartbeat(self, *host_ids: str, vitals: dict[str, float] | None = None) -> None:
        for host_id in host_ids:
            values: dict[str, Any] = {
                "life": "alive",
                "last_report_at_ms": self.now_ms,
                "silent_after_ms": silent_after_ms(self.now_ms, self.host(host_id)["interval_s"]),
                "goodbye": "",
            }
            if vitals is not None:
                values["vitals"] = vitals
            self.store.write(
                lambda tx, v=values, h=host_id: tx.execute(update(hosts).where(hosts.c.id == h).values(**v))
            )

    def goodbye(self, host_id: str, word: str, back_in_s: float) -> None:
        values = {
            "life": "stopped",
            "goodbye": word,
            "silent_after_ms": self.now_ms + round(back_in_s * 1000),
        }
        self.store.write(lambda tx: tx.execute(update(hosts).where(hosts.c.id == host_id).values(**values)))

    def find(
        self,
        host_id: str,
        rule: str,
        family: str,
        kind: str = "opened",
        *,
        subject: str = "",
        severity: str = "high",
        at_ms: int | None = None,
        facts: dict[str, Any] | None = None,
        evidence: dict[str, Any] | None = None,
        stream: str = "s1",
    ) -> None:
        """Append one row of an agent's finding stream."""
        n = self.next_n.get(host_id, 1)
        self.next_n[host_id] = n + 1
        row = {
            "host_id": host_id,
            "stream": stream,
            "n": n,
            "kind": kind,
            "opening_n": n,
            "rule": rule,
            "subject": subject,
            "family": family,
            "severity": severity,
            "at_ms": at_ms if at_ms is not None else self.now_ms,
            "received_at_ms": self.now_ms,
            "body": {"facts": facts or {}, "evidence": evidence, "reason": ""},
        }
        self.store.write(lambda tx: tx.execute(insert(findings).values(**row)))

    def tick(self) -> TickReport:
        return self.store.write(lambda tx: run_tick(tx, self.now_ms, self.ctx))

    def probe(self) -> int:
        """Answer every waiting question, as the workers would."""
        rows = self.store.write(lambda tx: probing.claim(tx, "w", self.now_ms, 10_000))
        for row in rows:
            answer = self.network.answer(row.kind, row.target, 1.0)
            self.store.write(lambda tx, r=row, a=answer: probing.settle(tx, "w", r.id, a, self.now_ms))
        return len(rows) + sum(self.poll(vantage) for vantage in self.seen_from)

    def poll(self, vantage: str) -> int:
        """One poll of a vantage, with all that it was asked answered at once."""
        states = self.seen_from[vantage]

        def turn(tx: Any) -> int:
            asks.heard(tx, vantage, self.now_ms)
            answers = []
            for ask in asks.hand_out(tx, vantage, self.now_ms, lambda _: 1.0):
                default = "dead" if ask["kind"] == "icmp" else "timeout"
                state = states.get((ask["kind"], str(ask["target"].get("address", ""))), default)
                answers.append({"id": ask["id"], "state": state, "detail": "", "ms": 1.0, "facts": {}})
            return asks.take_answers(tx, vantage, answers, self.now_ms, HopOwners(), 2)

        return self.store.write(turn)

    def run(self, seconds: float, *, beating: tuple[str, ...] = ()) -> None:
        """Turn the tick every second, probes answered at once, the named hosts beating every second."""
        begun, end = self.now_ms, self.now_ms + round(seconds * 1000)
        while self.now_ms < end:
            # After a while in strides: long enough to save time, short enough not to look like a gap of our own.
            stride = 1000 if self.now_ms - begun < 36_000 else 4000
            self.now_ms = min(end, self.now_ms + stride)
            if beating:
                self.heartbeat(*beating)
            self.tick()
            if self.probe():
                self.tick()

    def host(self, host_id: str) -> Any:
        with self.store.read() as conn:
            return conn.execute(select(hosts).where(hosts.c.id == host_id)).mappings().one()

    def tickets(self, *, is_open: bool | None = None) -> list[Any]:
        with self.store.read() as conn:
            rows = conn.execute(select(tickets).order_by(tickets.c.id)).mappings().all()
        return [r for r in rows if is_open is None or (r["open_mark"] == 1) == is_open]

    def findings(self) -> list[Any]:
        with self.store.read() as conn:
            return list(conn.execute(select(findings).order_by(findings.c.id)).mappings())

    def open_findings(self) -> list[Any]:
        with self.store.read() as conn:
            return list(conn.execute(select(open_findings)).mappings())

    def probes(self) -> list[Any]:
        with self.store.read() as conn:
            return list(conn.execute(select(probes)).mappings())

    def book(self) -> Any:
        with self.store.read() as conn:
            return current(conn)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> type[World]:
    return World
