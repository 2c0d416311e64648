"""What the collector saw of a host brings no series: its ticket shows the heartbeats before."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select

from collector.fleet_cache import HostEntry
from collector.tables import vitals
from collector.tick.ticket import PLOTTED_MAX
from collector.vitals import FORM, Keeping, write_blocks
from ticketing.tables import ticket_events
from ticketing.terms import ServiceTerms

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000
"""The world's beginning."""


def remember(world: Any, *host_ids: str) -> None:
    """Half an hour of heartbeats whose load rises all the way to now."""
    keeping = Keeping()
    for host_id in host_ids:
        entry = HostEntry(host_id, "acme", "")
        for second in range(-1800, 0, 30):
            keeping.take(entry, {"load.per_cpu": 2000.0 + second, "mem.avail_pct": 40.0}, T0 + second * 1000)
    while blocks := keeping.due(T0):
        world.store.write(lambda tx, b=blocks: write_blocks(tx, b, T0))
    world.heartbeat(*host_ids, vitals={"load.per_cpu": 2000.0, "mem.avail_pct": 40.0})


def evidence(world: Any) -> list[dict]:
    wanted = (
        select(ticket_events.c.body).where(ticket_events.c.kind == "evidence").order_by(ticket_events.c.id)
    )
    with world.store.read() as conn:
        return [dict(body) for body in conn.execute(wanted).scalars()]


def test_a_silent_host_s_ticket_shows_its_last_quarter_of_an_hour(world):
    world.add_host("a1")
    remember(world, "a1")
    world.network.states = {("ssh", "addr-a1"): "ok"}
    world.tick()
    world.run(17)
    (body,) = evidence(world)
    line = body["series"]["load.per_cpu"]
    assert body["is_from_vitals"]
    assert line[-1] == [T0, 2000.0], "up to the last heartbeat"
    assert line[-1][0] < body["at_ms"], "and the moment of silence lies behind it"
    assert T0 + 15_000 - 900_000 <= line[0][0] <= T0 + 15_000 - 870_000
    assert [value for _, value in line] == sorted(value for _, value in line)


def test_a_service_that_fails_from_outside_shows_how_the_host_itself_was(world):
    service = ServiceTerms(name="site", check={"type": "http", "host": "a1", "url": "http://a1/"})
    world.add_host("a1", services=[service])
    remember(world, "a1")
    world.tick()
    world.run(40, beating=("a1",))
    assert any("site" in body["subject"] and body["series"]["mem.avail_pct"] for body in evidence(world))


def test_what_an_agent_sent_is_not_replaced(world):
    world.add_host("a1")
    remember(world, "a1")
    sent = {"series": {"fs.used_pct": [[T0, 1.0], [T0 + 1, 2.0]]}, "notes": {"mount": "/"}}
    world.find("a1", "fs_full", "fs_space", subject="/", facts={"fs.used_pct": {"now": 99}}, evidence=sent)
    world.tick()
    (body,) = evidence(world)
    assert body["series"] == sent["series"]
    assert not body.get("is_from_vitals")


def test_a_host_without_a_past_has_evidence_without_series(world):
    world.add_host("a1")
    world.network.states = {("ssh", "addr-a1"): "ok"}
    world.tick()
    world.run(17)
    (body,) = evidence(world)
    assert body["series"] == {} and not body["is_from_vitals"]
    assert body["notes"], "what the probes found is told all the same"


@pytest.mark.slow
def test_an_outage_of_hundreds_reads_the_vitals_of_a_few(make_world):
    world = make_world()
    names = [f"n{n:03}" for n in range(3 * PLOTTED_MAX)]
    for n, name in enumerate(names):
        world.add_host(name, contract=f"c{n // 2}", provider="alfa", node=f"k{n}")
    world.add_host("witness", provider="beta")
    remember(world, *names)
    world.tick()
    world.run(40, beating=("witness",))
    drawn = [body["host"] for body in evidence(world) if body.get("is_from_vitals")]
    assert 3 <= len(drawn) <= PLOTTED_MAX


def test_rows_of_another_version_break_no_tick(world):
    world.add_host("a1")
    rows = [{"block": n, "at_ms": T0, "form": FORM + "x", "points": b"\xff"} for n in range(64)]
    world.store.write(lambda tx: tx.execute(insert(vitals), rows))
    world.tick()
    world.run(17)
    assert len(world.tickets()) == 1
