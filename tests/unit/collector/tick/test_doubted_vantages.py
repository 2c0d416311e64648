"""A vantage must prove itself: what it lost of unrelated providers at once is its own way, and no ticket about theirs."""

from __future__ import annotations

import pytest

from collector.observed import observe
from collector.qualify.subjects import ELSEWHERE
from config.loader import Duration
from ticketing.terms import ServiceTerms

pytestmark = pytest.mark.collector

BEATING = ("a1", "b1", "b2")


@pytest.fixture
def seen(world):
    """Three hosts of two providers, and a hand that writes what the vantage says of one."""
    world.add_host("a1", provider="alfa")
    world.add_host("b1", provider="beta")
    world.add_host("b2", provider="beta")
    for host_id in BEATING:
        world.network.states[("ssh", f"addr-{host_id}")] = "ok"
    world.tick()

    def say(host_id: str, word: str) -> None:
        world.store.write(
            lambda tx: observe(tx, host_id, "ext.svc", word, world.now_ms, "vantage", vantage="v1")
        )

    for host_id in BEATING:
        say(host_id, "ok")
    return say


def test_a_vantage_that_loses_unrelated_providers_at_once_opens_nothing(world, seen):
    for host_id in BEATING:
        seen(host_id, "dead")
    world.run(120, beating=BEATING)
    assert world.tickets() == []


def test_a_vantage_that_loses_the_hosts_of_one_provider_is_heard(world, seen):
    seen("b1", "dead")
    world.run(120, beating=BEATING)
    assert [t["affected"] for t in world.tickets()] == [["b1"]]


def test_a_host_that_it_lost_long_before_the_others_is_no_part_of_its_own_trouble(world, seen):
    seen("b1", "dead")
    world.run(120, beating=BEATING)
    seen("a1", "dead")
    seen("b2", "dead")
    world.run(120, beating=BEATING)
    assert [t["affected"] for t in world.tickets()] == [["b1"]]


def test_a_service_that_fails_again_soon_resumes_its_ticket_whoever_looked_first(world):
    web = ServiceTerms(name="web", check={"type": "tcp", "port": 80}, interval=Duration(300.0))
    world.add_host("a1", provider="alfa", services=[web])
    world.network.states[("service", "addr-a1")] = "ok"
    world.run(5, beating=("a1",))

    def turn(word, own):
        world.network.states[("service", "addr-a1")] = own
        world.store.write(
            lambda tx: observe(tx, "a1", "ext.svc", word, world.now_ms, "vantage", vantage="v1")
        )

    turn("dead", "ok")  # our round comes only in five minutes
    world.run(120, beating=("a1",))
    turn("dead", "refused")
    world.run(300, beating=("a1",))
    turn("ok", "ok")
    world.run(400, beating=("a1",))
    turn("ok", "refused")
    world.run(330, beating=("a1",))
    (ticket,) = world.tickets()
    assert ticket["problem"].endswith(ELSEWHERE)
    assert (ticket["recurrences"], ticket["open_mark"]) == (1, 1)
