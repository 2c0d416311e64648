"""A vantage must prove itself: what it lost of unrelated providers at once is its own way, and no ticket about theirs."""

from __future__ import annotations

import pytest

from collector.observed import observe

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
