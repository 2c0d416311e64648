"""Clocks as the collector sees them: which stops are told, and when the wrong clock is our own."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, update

from collector.observed import observe
from collector.tables import hosts
from collector.tick.seen import OFF_FOR_MS, _without_our_own

pytestmark = pytest.mark.collector

HOSTS = ("h1", "h2", "h3")


@pytest.fixture
def fleet(world: Any) -> Any:
    """Three reporting hosts of three providers."""
    for n, host_id in enumerate(HOSTS):
        world.add_host(host_id, provider=f"p{n}")
    return world


def place(world: Any, host_id: str, provider: str) -> None:
    world.store.write(
        lambda tx: tx.execute(
            update(hosts).where(hosts.c.id == host_id).values(topology={"provider": provider})
        )
    )


def saw(world: Any, host_id: str, signal: str, value: float, ago_s: float = 1.0) -> None:
    at_ms = world.now_ms - round(ago_s * 1000)
    world.store.write(
        lambda tx: observe(tx, host_id, signal, value, at_ms, "clocks", received_at_ms=world.now_ms)
    )


def held(world: Any) -> list[tuple[str, str]]:
    return sorted((row["host_id"], row["rule"]) for row in world.open_findings())


@pytest.mark.parametrize(
    ("stops", "is_told"),
    [
        ((10.0,), True),
        ((9.4,), False),
        ((4.0, 4.2), False),
        ((3.6, 3.3, 4.1), True),
        ((2.0,) * 9, False),
        ((1.2,) * 10, True),
        ((0.7,) * 30, False),
    ],
    ids=str,
)
def test_stops_are_told_when_they_are_long_or_many(fleet, stops, is_told):
    for n, stop in enumerate(stops):
        saw(fleet, "h1", "clk.offset_step_s", stop, ago_s=60.0 * (n + 1))
    fleet.tick()
    assert held(fleet) == ([("h1", "clock.stood_still")] if is_told else [])


def test_a_provider_that_stands_still_with_hundreds_of_hosts_is_not_taken_for_our_own_clock(fleet):
    with fleet.store.read() as conn:
        like = dict(conn.execute(select(hosts).where(hosts.c.id == "h1")).mappings().one())
    many = [f"many-{n:03}" for n in range(700)]
    rows = [{**like, "id": name, "token_hash": name, "topology": {"provider": "p0"}} for name in many]
    fleet.store.write(lambda tx: tx.execute(insert(hosts), rows))

    def wrote(tx: Any) -> None:
        for name in many:
            observe(
                tx,
                name,
                "clk.offset_step_s",
                12.0,
                fleet.now_ms - 1000,
                "clocks",
                received_at_ms=fleet.now_ms,
            )

    fleet.store.write(wrote)
    fleet.tick()
    assert {host for host, rule in held(fleet) if rule == "clock.stood_still"} == set(many)
    saw(fleet, "h2", "clk.offset_step_s", 12.0)  # of another provider, at the same time
    with fleet.store.read() as conn:
        moves = {name: [(fleet.now_ms - 1000, 12.0)] for name in (*many, "h2")}
        assert not any(_without_our_own(conn, moves).values())


def test_a_fleet_that_is_wrong_by_one_figure_at_once_is_right_and_our_clock_is_not(fleet):
    for host_id in HOSTS:
        saw(fleet, host_id, "clk.true_offset_ms", 40_000.0)
    fleet.run(OFF_FOR_MS / 1000 + 20, beating=HOSTS)
    assert held(fleet) == []


def test_one_host_that_is_wrong_among_well_ones_is_told(fleet):
    saw(fleet, "h2", "clk.true_offset_ms", 40_000.0)
    fleet.run(OFF_FOR_MS / 1000 + 20, beating=HOSTS)
    assert held(fleet) == [("h2", "clock.truly_off")]


def test_hosts_of_one_provider_that_are_wrong_alike_are_told(fleet):
    for host_id in HOSTS:
        place(fleet, host_id, "p0")
        saw(fleet, host_id, "clk.true_offset_ms", 900.0)
    fleet.run(OFF_FOR_MS / 1000 + 20, beating=HOSTS)
    assert held(fleet) == [(host_id, "clock.truly_off") for host_id in HOSTS]


def test_hosts_of_two_providers_that_went_wrong_at_different_hours_are_told(fleet):
    saw(fleet, "h1", "clk.true_offset_ms", 900.0, ago_s=1000)
    saw(fleet, "h2", "clk.true_offset_ms", 900.0)
    fleet.run(OFF_FOR_MS / 1000 + 20, beating=HOSTS)
    assert held(fleet) == [("h1", "clock.truly_off"), ("h2", "clock.truly_off")]


def test_our_clock_is_set_right_and_those_that_come_back_last_are_not_told(fleet):
    for host_id in HOSTS:
        saw(fleet, host_id, "clk.true_offset_ms", 40_000.0)
    fleet.run(OFF_FOR_MS / 1000 - 30, beating=HOSTS)
    for host_id in HOSTS[:2]:
        saw(fleet, host_id, "clk.true_offset_ms", 3.0)
    fleet.run(60, beating=HOSTS)
    saw(fleet, HOSTS[2], "clk.true_offset_ms", 3.0)
    fleet.run(OFF_FOR_MS / 1000, beating=HOSTS)
    assert fleet.findings() == []


def test_one_that_stays_wrong_when_the_others_are_back_is_told(fleet):
    for host_id in HOSTS:
        saw(fleet, host_id, "clk.true_offset_ms", 40_000.0)
    fleet.run(60, beating=HOSTS)
    for host_id in HOSTS[:2]:
        saw(fleet, host_id, "clk.true_offset_ms", 3.0)
    fleet.run(OFF_FOR_MS / 1000 + 20, beating=HOSTS)
    assert held(fleet) == [(HOSTS[2], "clock.truly_off")]
