"""An idle tick costs a handful of statements; and each kind of work is still seen by the very next tick."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from collector.observed import observe
from collector.tables import hosts, probes, services
from collector.tick.run import run_tick
from collector.tick.seen import STEP_LASTS_MS
from config.loader import Duration
from ticketing.contracts import Loaded, apply
from ticketing.tables import clocks
from ticketing.terms import ServiceTerms

pytestmark = pytest.mark.collector

IDLE_STATEMENTS = 9
"""One look at what is due, the tick's own mark, and the questions of the steps that ask for themselves."""


@contextmanager
def statements(world: Any) -> Iterator[list[str]]:
    """What is asked of the store meanwhile."""
    said: list[str] = []

    def hear(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith(("BEGIN", "COMMIT")):
            said.append(statement)

    engine = world.store._readers
    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", hear)


@pytest.fixture
def idle(world: Any) -> Any:
    """Ten hosts that beat, each with a service that is asked now and then; all has settled."""
    for n in range(10):
        service = ServiceTerms(
            name="site", check={"type": "http", "host": "x", "url": "http://x/"}, interval=Duration(300.0)
        )
        world.network.states[("service", f"addr-h{n}")] = "ok"
        world.add_host(f"h{n}", services=[service], provider="alfa")
    beat(world)
    world.run(5, beating=names())
    return world


def names() -> tuple[str, ...]:
    return tuple(f"h{n}" for n in range(10))


def beat(world: Any) -> None:
    world.heartbeat(*names())


def test_an_idle_tick_costs_a_handful_of_statements(idle):
    beat(idle)
    for _ in range(5):
        idle.now_ms += 1000
        with statements(idle) as said:
            report = idle.tick()
        assert report.counts == {}
        assert len(said) <= IDLE_STATEMENTS, said


def test_an_idle_tick_with_an_open_ticket_and_a_held_finding_costs_no_more(idle):
    idle.find("h1", "fs_full", "fs_space", subject="/", facts={"fs.used_pct": {"now": 99}})
    idle.tick()
    assert len(idle.tickets()) == 1
    beat(idle)
    idle.now_ms += 1000
    with statements(idle) as said:
        idle.tick()
    assert len(said) <= IDLE_STATEMENTS, said


def answered_probe(world: Any) -> None:
    row = {
        "host_id": "h2", "kind": "service", "vantage": "collector", "why": "schedule", "asked_at_ms": world.now_ms,
        "target": {"service": "h2/site", "name": "site"}, "answered_at_ms": world.now_ms, "answer": {"state": "timeout"},
    }  # fmt: skip
    world.store.write(lambda tx: tx.execute(insert(probes).values(**row)))


def due_service(world: Any, host_id: str = "h3") -> None:
    due = update(services).where(services.c.id == f"{host_id}/site").values(next_due_at_ms=world.now_ms)
    world.store.write(lambda tx: tx.execute(due))


def stood_still(world: Any) -> None:
    seen = ("h4", "clk.offset_step_s", 12.0, world.now_ms - 500, "clocks")
    world.store.write(lambda tx: observe(tx, *seen, received_at_ms=world.now_ms))


def unhandled_finding(world: Any) -> None:
    world.find("h5", "fs_full", "fs_space", subject="/", facts={"fs.used_pct": {"now": 99}})


def overdue_host(world: Any) -> None:
    overdue = update(hosts).where(hosts.c.id == "h6").values(silent_after_ms=world.now_ms)
    world.store.write(lambda tx: tx.execute(overdue))


@pytest.mark.parametrize(
    ("happens", "word"),
    [
        (due_service, "services_asked"),
        (stood_still, "seen_findings"),
        (unhandled_finding, "findings"),
        (overdue_host, "suspected"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_falls_due_is_done_by_the_next_tick(
    idle: Any, happens: Callable[[Any], None], word: str
) -> None:
    beat(idle)
    idle.now_ms += 1000
    happens(idle)
    assert word in idle.tick().counts


def test_an_answer_of_a_routine_probe_is_folded_by_the_next_tick(idle):
    beat(idle)
    answered_probe(idle)
    idle.tick()
    assert idle.probes(), "a failing service is asked again at once"
    assert all(row["answered_at_ms"] is None for row in idle.probes()), "and the answer is spent"


def test_a_contract_that_moves_is_followed_by_the_next_tick(idle):
    contract = idle.contracts["acme"]
    bare = [dataclasses.replace(host, services=[]) for host in contract.hosts]
    moved = Loaded((dataclasses.replace(contract, hosts=bare),), ())
    idle.store.write(lambda tx: apply(tx, moved, idle.now_ms, "test"))
    idle.tick()
    with idle.store.read() as conn:
        assert conn.execute(services.select()).all() == []


def test_a_clock_that_runs_out_is_told_by_the_next_tick(idle):
    unhandled_finding(idle)
    idle.tick()
    beat(idle)
    passed = update(clocks).where(clocks.c.kind == "reaction").values(next_event_at_ms=idle.now_ms)
    idle.store.write(lambda tx: tx.execute(passed))
    with statements(idle) as said:
        idle.tick()
    assert len(said) > IDLE_STATEMENTS


def test_a_cleared_ticket_resolves_although_every_tick_between_is_idle(idle):
    unhandled_finding(idle)
    idle.tick()
    idle.find("h5", "fs_full", "fs_space", "closed", subject="/")
    idle.run(70, beating=names())
    assert [ticket["state"] for ticket in idle.tickets()] == ["resolved"]


@pytest.mark.slow
def test_a_clock_that_stood_still_is_forgotten_after_its_hour_without_any_news(idle):
    stood_still(idle)
    idle.tick()
    assert len(idle.open_findings()) == 1
    idle.run(STEP_LASTS_MS / 1000 + 10, beating=names())
    assert idle.open_findings() == []


def test_what_an_undone_tick_had_seen_is_seen_again(idle):
    stood_still(idle)

    def undone(tx: Any) -> None:
        run_tick(tx, idle.now_ms, idle.ctx)
        raise RuntimeError("the commit failed")

    with pytest.raises(RuntimeError):
        idle.store.write(undone)
    assert idle.open_findings() == []
    idle.now_ms += 30_000
    beat(idle)
    idle.tick()
    assert [row["rule"] for row in idle.open_findings()] == ["clock.stood_still"]
