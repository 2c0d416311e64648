"""Workers that ask: claims are compare-and-set, a hung probe delays nobody, answers are written once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import insert, select

from agent.checks.asks import check_of
from agent.checks.spec import CheckSettings
from collector.probes import CLAIM_FOR_MS, ProbeWorkers, RealNetwork, claim, settle
from collector.tables import probes
from config.clock import SystemClock

pytestmark = pytest.mark.collector


def ask(store, *kinds: str, why: str = "suspicion", at_ms: int = 0) -> None:
    rows = [
        {
            "host_id": "a1",
            "kind": kind,
            "vantage": "collector",
            "target": {"address": kind},
            "why": why,
            "asked_at_ms": at_ms,
        }
        for kind in kinds
    ]
    store.write(lambda tx: tx.execute(insert(probes), rows))


def answers(store) -> dict[str, Any]:
    with store.read() as conn:
        return {row.kind: row.answer for row in conn.execute(select(probes))}


def test_a_claim_belongs_to_one_worker_until_its_lease_ends(world):
    ask(world.store, "ssh", "icmp")
    first = world.store.write(lambda tx: claim(tx, "one", 0, 10))
    assert [r.kind for r in first] == ["ssh", "icmp"]
    assert world.store.write(lambda tx: claim(tx, "two", CLAIM_FOR_MS - 1, 10)) == []
    assert len(world.store.write(lambda tx: claim(tx, "two", CLAIM_FOR_MS, 10))) == 2


def test_an_answer_of_a_worker_that_lost_its_claim_is_not_written(world):
    ask(world.store, "ssh")
    (row,) = world.store.write(lambda tx: claim(tx, "one", 0, 1))
    world.store.write(lambda tx: claim(tx, "two", CLAIM_FOR_MS, 1))
    assert not world.store.write(lambda tx: settle(tx, "one", row.id, {"state": "ok"}, 1))
    assert world.store.write(lambda tx: settle(tx, "two", row.id, {"state": "dead"}, 1))
    assert not world.store.write(lambda tx: settle(tx, "two", row.id, {"state": "ok"}, 2)), "and only once"


def test_suspicions_go_before_routine(world):
    ask(world.store, "service", why="schedule", at_ms=0)
    ask(world.store, "ssh", why="suspicion", at_ms=5000)
    (row,) = world.store.write(lambda tx: claim(tx, "one", 6000, 1))
    assert row.kind == "ssh"


def test_a_hung_probe_delays_nobody_and_a_broken_one_ends_nothing(world):
    released, answered = threading.Event(), threading.Semaphore(0)

    class Network:
        def answer(self, kind: str, target: dict[str, Any], timeout_s: float) -> dict[str, Any]:
            if kind == "hangs":
                assert released.wait(10)
            if kind == "breaks":
                raise RuntimeError("a bug in a check")
            return {"state": "ok"}

    workers = ProbeWorkers(world.store, Network(), SystemClock(), name="w", workers=2, poke=answered.release)
    ask(world.store, "hangs", "breaks", "ssh", "icmp", "tcp")
    workers.start()
    try:
        for _ in range(3):
            assert answered.acquire(timeout=10)
        assert answers(world.store) == {
            "hangs": None,
            "breaks": None,
            "ssh": {"state": "ok"},
            "icmp": {"state": "ok"},
            "tcp": {"state": "ok"},
        }
        released.set()
        assert answered.acquire(timeout=10)
    finally:
        released.set()
        workers.stop()
    assert workers.busy == 0


def test_a_service_s_check_gets_the_host_s_address_where_it_names_none():
    spec = check_of(
        "service", {"name": "web", "address": "192.0.2.1", "check": {"type": "tcp", "port": 80}}, 3.0
    )
    assert (spec.type, spec.host, spec.port, spec.name) == ("tcp", "192.0.2.1", 80, "web")
    assert isinstance(spec, CheckSettings)


@pytest.mark.parametrize(
    "check",
    [{"type": "unit", "unit": "nginx.service"}, {"type": "process", "process": "x"}, {"type": "dance"}, {}],
)
def test_what_cannot_be_asked_from_outside_answers_unknown(check):
    answer = RealNetwork().answer("service", {"name": "web", "check": check}, 1.0)
    assert answer["state"] == "unknown"
    assert answer["detail"]


def test_a_service_that_accepts_and_says_nothing_is_told_from_a_swallowed_packet():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        check = {"type": "http", "url": f"http://127.0.0.1:{server.getsockname()[1]}/", "timeout_s": 0.1}
        answer = RealNetwork().answer("service", {"name": "web", "check": check}, 1.0)
    assert (answer["state"], answer["facts"]["port"]) == ("timeout", "ok")


def test_the_real_network_tells_a_refusal_from_an_answer():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert RealNetwork().answer("tcp", {"address": "127.0.0.1", "port": port}, 1.0)["state"] == "ok"
    assert RealNetwork().answer("tcp", {"address": "127.0.0.1", "port": port}, 1.0)["state"] == "refused"
