"""What the collector itself finds is written once, however long it waits behind others' findings to be judged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from sqlalchemy import func, select

from collector.observed import observe
from collector.tables import findings
from tests.unit.collector.tick.conftest import World

pytestmark = pytest.mark.collector

FLEET = ("a1", "a2", "a3", "a4", "a5")


@pytest.fixture
def crowded(world: World) -> World:
    """A fleet on one node, and beside it a host whose findings keep a tick that judges two at a time busy."""
    for host_id in FLEET:
        world.add_host(host_id, provider="alfa", node="n7", virt="kvm")
    world.add_host("c1", provider="gamma")
    world.tick()
    return world


def flood(world: World, count: int) -> None:
    for n in range(count):
        world.find("c1", "unit_failed", "unit", kind="closed", subject=f"u{n}.service")


def few(world: World, most: int) -> None:
    world.ctx.limits = dataclasses.replace(world.ctx.limits, findings=most)


def told(world: World, stream: str) -> dict[tuple[str, str], int]:
    """(host, kind) -> rows of the stream."""
    wanted = (
        select(findings.c.host_id, findings.c.kind, func.count())
        .where(findings.c.stream == stream)
        .group_by(findings.c.host_id, findings.c.kind)
    )
    return world.store.write(lambda tx: {(host, kind): n for host, kind, n in tx.execute(wanted)})


def test_hosts_that_return_into_a_flood_are_told_once_and_their_ticket_resolves(crowded: World) -> None:
    crowded.run(20, beating=("c1",))
    assert {ticket["root_cause"] for ticket in crowded.tickets(is_open=True)} == {"virt.node_failure"}
    flood(crowded, 60)
    few(crowded, 2)
    crowded.run(20, beating=(*FLEET, "c1"))
    assert [row["host_id"] for row in crowded.open_findings()] == [], "they waited behind the flood"
    crowded.run(120, beating=(*FLEET, "c1"))
    once = dict.fromkeys([(h, k) for h in FLEET for k in ("opened", "closed")], 1)
    assert told(crowded, "collector:silence") == once
    assert crowded.tickets(is_open=True) == []


def test_hosts_that_fall_together_are_judged_together_before_the_flood(crowded: World) -> None:
    flood(crowded, 200)
    few(crowded, 2)
    crowded.run(20, beating=("c1",))
    (ticket,) = crowded.tickets(is_open=True)
    assert (ticket["root_cause"], ticket["scope"]) == ("virt.node_failure", "node:alfa/n7")
    assert sorted(ticket["affected"]) == sorted(FLEET)
    assert len(crowded.tickets()) == 1, "none that was folded into it"
    assert {row["family"] for row in crowded.open_findings()} == {"silence"}


def test_a_host_that_falls_again_behind_the_flood_is_told_again(crowded: World) -> None:
    crowded.run(20, beating=("c1", *FLEET[1:]))
    flood(crowded, 400)
    few(crowded, 2)
    crowded.run(20, beating=(*FLEET, "c1"))
    crowded.run(60, beating=("c1", *FLEET[1:]))
    few(crowded, 5000)
    crowded.run(8, beating=("c1", *FLEET[1:]))
    assert told(crowded, "collector:silence") == {("a1", "opened"): 2, ("a1", "closed"): 1}
    assert [row["host_id"] for row in crowded.open_findings()] == ["a1"]


def test_a_stop_seen_on_the_clock_is_told_once(crowded: World) -> None:
    flood(crowded, 60)
    few(crowded, 1)

    def stopped(tx: Any) -> None:
        observe(tx, "a1", "clk.offset_step_s", 20.0, crowded.now_ms, "clocks", received_at_ms=crowded.now_ms)

    crowded.store.write(stopped)
    crowded.run(30, beating=(*FLEET, "c1"))
    assert told(crowded, "collector:seen") == {("a1", "opened"): 1}
