"""Which neighbours come back before the judge when something new arrives: those whose fate it may change, and no more."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from collector.tables import open_findings
from collector.tick.cases import load_open
from collector.tick.kin import KIN_MAX, call_kin
from collector.tick.problems import Problem, problem_of

pytestmark = pytest.mark.collector


def called(world, host_id: str) -> list[str]:
    """Hosts whose problems are judged again when this host's trouble is news."""

    def ask(tx):
        open_set = load_open(tx, [host_id])
        (news,) = open_set[host_id].values()
        touched = {"news": Problem(host_id, problem_of(news))}
        call_kin(tx, touched, open_set)
        return [p.host_id for p in touched.values() if p.host_id != host_id]

    return world.store.write(ask)


def hold(world, host_id: str, severity: str = "high", *, provider: str = "alfa", family: str = "cpu") -> None:
    world.add_host(host_id, provider=provider, node="n7", virt="kvm")
    world.find(host_id, f"{family}_busy", family, severity=severity)


def test_a_neighbour_that_suffers_is_called(world):
    for host_id in ("a1", "a2"):
        hold(world, host_id)
    world.tick()
    assert called(world, "a1") == ["a2"]


def test_a_neighbour_whose_finding_is_only_noted_is_not_called(world):
    hold(world, "a1")
    hold(world, "a2", "low")
    world.tick()
    with world.store.read() as conn:
        noted = conn.execute(select(open_findings.c.ticket_id).where(open_findings.c.host_id == "a2"))
        assert noted.scalar() is None
    assert called(world, "a1") == []


def test_a_low_finding_beside_one_that_harms_is_called_with_it(world):
    hold(world, "a1")
    hold(world, "a2", "low")
    world.find("a2", "cpu_stolen", "cpu")
    world.tick()
    assert set(called(world, "a1")) == {"a2"}


def test_hosts_of_another_provider_and_other_families_are_not_called(world):
    hold(world, "a1")
    hold(world, "b1", provider="beta")
    hold(world, "a2", family="io")
    world.tick()
    assert called(world, "a1") == []


def test_a_full_house_of_strangers_leaves_room_for_the_neighbour(world):
    hold(world, "z1")
    hold(world, "z2")
    world.tick()

    def crowd(tx):
        row = dict(tx.execute(select(open_findings).where(open_findings.c.host_id == "z1")).mappings().one())
        rows = [row | {"host_id": f"a{n:04d}", "ticket_id": None} for n in range(KIN_MAX + 50)]
        tx.execute(open_findings.insert(), [r | {"severity": "low"} for r in rows])

    world.store.write(crowd)
    assert called(world, "z1") == ["z2"]
