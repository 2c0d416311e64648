"""A second pair of eyes: who looks at whom, what silence is confirmed by, and that an old word never passes for a new one."""

from __future__ import annotations

import dataclasses
import json

import pytest
from sqlalchemy import select, update

from collector import asks
from collector.observed import newest
from collector.qualify.silence import Asked, outcome, witness
from collector.tables import probes, vantages
from collector.tick.asks import LOST_MS, vantages_of
from collector.trace import HopOwners
from collector.vantage import Vantage, agreed, choose
from ticketing.terms import ServiceTerms

pytestmark = pytest.mark.collector

WEB = ServiceTerms(name="web", check={"type": "tcp", "port": 80})
DB = ServiceTerms(name="db", check={"type": "tcp", "port": 5432})
V1 = Vantage("v1", "beta", "b1")
V2 = Vantage("v2", "gamma", "g1")
NEAR = Vantage("near", "alfa", "a2")
SAME = Vantage("same", "alfa", "a1")
UNKNOWN = Vantage("somewhere")


def ids(chosen: list[Vantage]) -> list[str]:
    return [vantage.id for vantage in chosen]


def test_who_looks_stands_at_another_provider_or_else_at_another_site() -> None:
    place = {"provider": "alfa", "site": "a1"}
    assert set(ids(choose("h", place, [SAME, NEAR, UNKNOWN, V1, V2]))) == {"v1", "v2"}
    assert ids(choose("h", place, [SAME, NEAR, UNKNOWN, V1])) == ["v1", "near"]
    assert ids(choose("h", place, [SAME, UNKNOWN])) == []
    assert ids(choose("h", {}, [V1, V2])) == [], "a host of which nobody knows where it stands"
    assert ids(choose("v1", {"provider": "x"}, [V1])) == [], "nobody looks at himself"


def test_each_host_keeps_its_vantage_when_another_one_comes() -> None:
    place = {"provider": "alfa"}
    fleet = [f"h{n}" for n in range(200)]
    before = {h: ids(choose(h, place, [V1, V2], 1))[0] for h in fleet}
    after = {h: ids(choose(h, place, [V1, V2, Vantage("v3", "delta")], 1))[0] for h in fleet}
    moved = [h for h in fleet if before[h] != after[h]]
    assert {after[h] for h in moved} == {"v3"} and 30 < len(moved) < 110
    assert {"v1", "v2"} == set(before.values())


def test_peers_are_asked_only_where_none_of_ours_can_look_and_one_of_each_contract() -> None:
    peers = [Vantage(f"p{n}", "beta", peer_of=c) for n, c in enumerate(("acme", "acme", "bolt", "crow"))]
    chosen = choose("h", {"provider": "alfa"}, peers)
    assert sorted(v.peer_of for v in chosen) == ["acme", "bolt", "crow"]
    assert ids(choose("h", {"provider": "alfa"}, [*peers, V1])) == ["v1"]
    assert choose("h", {"provider": "alfa"}, peers, with_peers=False) == []


def test_one_peer_or_many_of_one_contract_say_nothing() -> None:
    assert agreed([("acme", "dead")], 2) == ""
    assert agreed([("acme", "dead"), ("acme", "dead")], 2) == ""
    assert agreed([("acme", "dead"), ("bolt", "dead"), ("crow", "ok")], 2) == "dead"
    assert agreed([("a", "dead"), ("b", "dead"), ("c", "ok"), ("d", "ok")], 2) == ""
    assert agreed([("acme", "unknown"), ("bolt", "unknown")], 2) == ""


DEAD_TO_US = (Asked("icmp", "dead"), Asked("ssh", "timeout"))


@pytest.mark.parametrize(
    ("others", "word", "facts"),
    [
        ((), "down", {}),
        ((Asked("icmp", "dead", "", "v1"),), "down", {"silence.dead_to": {"now": ["v1"]}}),
        ((Asked("icmp", "ok", "", "v1"),), "path", {"silence.alive_to": {"now": ["v1"]}}),
        ((Asked("icmp", "unknown", "", "v1"),), "down", {}),
        ((Asked("icmp", "ok", "", "p1", "acme"),), "down", {}),
        (
            (Asked("icmp", "ok", "", "p1", "acme"), Asked("ssh", "ok", "", "p2", "bolt")),
            "path",
            {"silence.alive_to": {"now": ["peers"]}},
        ),
        ((Asked("icmp", "ok", "", "p1", "acme"), Asked("icmp", "dead", "", "p2", "bolt")), "down", {}),
    ],
)
def test_dead_to_us_is_weighed_against_what_others_see(others, word, facts) -> None:
    asked = (*DEAD_TO_US, *others)
    heard = witness(asked, 2)
    assert outcome(asked, heard).word == word
    assert heard.facts() == facts


def test_where_we_may_not_ask_the_vantage_is_asked_for_its_word() -> None:
    asked = (
        Asked("icmp", "unknown"),
        Asked("ssh", "banner_timeout", "", "v1"),
        Asked("icmp", "ok", "", "v1"),
    )
    assert outcome(asked, witness(asked)).word == "hung"


def test_an_answer_without_a_banner_is_a_caches_where_another_is_not_served() -> None:
    asked = (Asked("ssh", "banner_timeout"), Asked("service", "ok"), Asked("service", "timeout", "", "v1"))
    assert outcome(asked[:2], witness(asked[:2])).word == "agent_gone"
    assert outcome(asked, witness(asked)).word == "hung"


def test_an_ssh_that_never_let_this_vantage_in_is_no_news_when_it_is_shut(world) -> None:
    def told(state: str, vantage: str = "v1") -> bool:
        return world.store.write(
            lambda tx: asks.write_seen(tx, "a1", "ssh", {"state": state}, world.now_ms, vantage)
        )

    assert [told(s) for s in ("timeout", "refused", "ok", "timeout")] == [False, False, True, True]
    assert told("timeout", ""), "our own word stands in any case"


def test_a_program_that_speaks_to_another_is_not_hung() -> None:
    asked = (Asked("icmp", "ok"), Asked("service", "timeout"), Asked("service", "ok", "", "v1"))
    assert outcome(asked, witness(asked)).word == "agent_gone"


@pytest.fixture
def watched(world):
    """a1 at alfa, looked at by v1 at beta; c1 only beats, so that we are not alone in silence."""
    world.add_host("a1", provider="alfa", services=[WEB])
    world.add_host("v1", "internal", provider="beta")
    world.ctx.own_vantages = ("v1",)
    world.network.states[("service", "addr-a1")] = "ok"
    world.seen_from["v1"] = {
        ("service", "addr-a1"): "ok",
        ("icmp", "addr-a1"): "ok",
        ("ssh", "addr-a1"): "ok",
    }
    world.poll("v1")
    world.run(2, beating=("a1", "v1"))
    return world


def held(world, host: str = "a1") -> dict[tuple[str, str], str]:
    with world.store.read() as conn:
        found = {}
        for signal in ("ext.icmp", "ext.tcp22", "ext.svc", "ext.last_hop"):
            found |= {
                (signal, vantage): seen.value for (_, vantage), seen in newest(conn, [host], signal).items()
            }
        return found


def silence(world) -> dict:
    (row,) = [f for f in world.findings() if f["rule"] == "silence" and f["kind"] == "opened"]
    body = row["body"]
    return (json.loads(body) if isinstance(body, str) else body)["facts"]


def test_a_contracted_service_is_looked_at_from_elsewhere_all_along(watched):
    watched.run(70, beating=("a1", "v1"))
    assert held(watched)[("ext.svc", "v1")] == "ok"
    assert held(watched)[("ext.svc", "")] == "ok"
    watched.seen_from["v1"][("service", "addr-a1")] = "timeout"
    watched.run(40, beating=("a1", "v1"))
    assert held(watched)[("ext.svc", "v1")] == "dead"
    assert watched.tickets() == [], "what one vantage alone cannot reach is no outage"


def test_silence_that_two_vantages_see_is_down_and_says_so(watched):
    watched.network.states.clear()
    watched.seen_from["v1"].clear()
    watched.run(17, beating=("v1",))
    facts = silence(watched)
    assert facts["silence.outcome"]["now"] == "down"
    assert facts["silence.dead_to"]["now"] == ["v1"]
    assert held(watched)[("ext.icmp", "v1")] == held(watched)[("ext.icmp", "")] == "dead"


def test_a_host_that_another_vantage_reaches_is_not_down(watched):
    watched.network.states.clear()
    watched.run(17, beating=("v1",))
    facts = silence(watched)
    assert facts["silence.outcome"]["now"] == "path"
    assert [t["root_cause"] for t in watched.tickets(is_open=True)] == ["net.transit_path"]


def test_a_host_that_another_reaches_is_well_while_anchors_of_ours_are_away(watched):
    watched.ctx.anchors = ("198.51.100.1:443", "198.51.100.2:443")
    watched.network.states = {("tcp", "198.51.100.2"): "ok"}
    watched.run(40, beating=("v1",))
    assert watched.tickets() == []
    watched.network.states[("tcp", "198.51.100.1")] = "ok"
    watched.run(90, beating=("v1",))
    assert [t["root_cause"] for t in watched.tickets(is_open=True)] == ["net.transit_path"]


def test_an_ask_that_nobody_answers_is_no_evidence_and_holds_up_nobody_for_long(watched):
    """The vantage saw it well a moment ago, and is then on its poll no more: that old word must not count."""
    watched.run(40, beating=("a1", "v1"))
    watched.network.states.clear()
    del watched.seen_from["v1"]
    watched.run(27, beating=("v1",))
    facts = silence(watched)
    assert facts["silence.outcome"]["now"] == "down"
    assert "silence.dead_to" not in facts and "silence.alive_to" not in facts
    assert set(held(watched).values()) <= {"dead", "timeout", "unknown"}, held(watched)
    (opened,) = [f for f in watched.findings() if f["rule"] == "silence"]
    assert opened["received_at_ms"] - opened["at_ms"] <= 11_000


def test_a_host_that_is_back_is_looked_at_once_more(watched):
    watched.network.states.clear()
    seen, watched.seen_from["v1"] = watched.seen_from["v1"], {}
    watched.run(17, beating=("v1",))
    assert held(watched)[("ext.icmp", "v1")] == "dead"
    watched.seen_from["v1"] = seen
    watched.network.states |= {
        ("icmp", "addr-a1"): "ok",
        ("ssh", "addr-a1"): "ok",
        ("service", "addr-a1"): "ok",
    }
    watched.run(40, beating=("a1", "v1"))
    assert {held(watched)[(s, v)] for s in ("ext.icmp", "ext.tcp22", "ext.svc") for v in ("", "v1")} == {"ok"}


def test_peers_of_two_contracts_together_are_heard_under_one_name(world):
    world.add_host("a1", provider="alfa")
    for host, contract in (("p1", "bolt"), ("p2", "crow")):
        world.add_host(host, contract, provider="beta")
        world.replace_contract(dataclasses.replace(world.contracts[contract], peers=[host]))
        world.seen_from[host] = {("icmp", "addr-a1"): "ok", ("ssh", "addr-a1"): "ok"}
        world.poll(host)
    world.run(2, beating=("a1", "p1", "p2"))
    world.run(17, beating=("p1", "p2"))
    assert silence(world)["silence.alive_to"]["now"] == ["peers"]
    assert held(world)[("ext.icmp", "peers")] == "ok"
    assert not any(vantage in ("p1", "p2") for _, vantage in held(world)), "no single peer is quoted"


def test_a_vantage_that_is_gone_sees_nothing(watched):
    watched.run(40, beating=("a1", "v1"))
    assert held(watched)[("ext.svc", "v1")] == "ok"
    del watched.seen_from["v1"]
    watched.run(LOST_MS / 1000 + 2, beating=("a1", "v1"))
    assert held(watched)[("ext.svc", "v1")] == "unknown"
    with watched.store.read() as conn:
        told = vantages_of(conn, watched.now_ms, watched.book(), ["v1"])
    assert told["a1"] == {"vantage": "", "seen_from": []}
    assert told["v1"]["vantage"] == "own, silent"
    watched.seen_from["v1"] = {("service", "addr-a1"): "ok"}
    watched.run(40, beating=("a1", "v1"))
    assert held(watched)[("ext.svc", "v1")] == "ok", "back, and heard again"


def test_the_word_on_a_host_is_the_worst_over_its_services(world):
    world.add_host("a1", provider="alfa", services=[WEB, dataclasses.replace(DB)])
    world.add_host("v1", "internal", provider="beta")
    world.ctx.own_vantages = ("v1",)
    world.network.states[("service", "addr-a1")] = "ok"
    world.seen_from["v1"] = {("service", "addr-a1"): "ok"}
    world.poll("v1")
    world.run(3, beating=("a1", "v1"))
    assert held(world)[("ext.svc", "v1")] == "ok"
    row = select(probes.c.id).where(probes.c.vantage == "v1", probes.c.answered_at_ms.is_(None))

    def only_one_fails(tx):
        open_ = tx.execute(row.order_by(probes.c.id)).scalars().all()
        assert len(open_) == 2
        asks.hand_out(tx, "v1", world.now_ms, lambda _: 1.0)
        answers = [{"id": i, "state": s} for i, s in zip(open_, ("timeout", "ok"), strict=True)]
        return asks.take_answers(tx, "v1", answers, world.now_ms, HopOwners(), 2)

    del world.seen_from["v1"]
    world.store.write(lambda tx: asks.heard(tx, "v1", world.now_ms + 60_000))
    world.run(30, beating=("a1", "v1"))
    assert world.store.write(only_one_fails) == 2
    world.tick()
    assert held(world)[("ext.svc", "v1")] == "dead"


def test_answers_that_are_not_its_own_are_not_taken_from_a_vantage(watched):
    watched.network.states.clear()
    watched.run(16, beating=("v1",))

    def answer(tx, who: str, state: str = "ok"):
        rows = tx.execute(select(probes.c.id)).scalars().all()
        told = [{"id": i, "state": state} for i in rows] + [{"id": "1", "state": "ok"}, 7, {"id": 10**9}]
        return asks.take_answers(tx, who, told, watched.now_ms, HopOwners(), 2)

    assert watched.store.write(lambda tx: answer(tx, "a1")) == 0
    assert watched.store.write(lambda tx: answer(tx, "v1")) == 0, "each ask is answered once"


def test_the_line_of_a_vantage_has_a_bound(watched):
    watched.ctx.asks_waiting_max = 2
    watched.network.states.clear()
    del watched.seen_from["v1"]
    watched.store.write(lambda tx: tx.execute(update(vantages).values(polled_at_ms=watched.now_ms + 60_000)))
    watched.run(17, beating=("v1",))
    with watched.store.read() as conn:
        rows = conn.execute(select(probes.c.id).where(probes.c.vantage == "v1")).all()
    assert len(rows) <= 4
