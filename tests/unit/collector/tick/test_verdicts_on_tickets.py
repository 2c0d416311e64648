"""From verdict to ticket: joining by cause, requalifying, evidence, recorded judgements, the auditor, explanations."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import delete, select, update

from collector.explain import explain
from collector.qualify.judge import qualify
from collector.qualify.recorded import case_of
from collector.tables import judgements
from ticketing import tables
from ticketing.texts import set_strict

pytestmark = pytest.mark.collector

FULL = {"fs.used_pct": {"now": 97.0, "before": 60.0}}
STEAL = {
    "cpu.user_pct": {"now": 20},
    "cpu.sys_pct": {"now": 4},
    "cpu.steal_pct": {"now": 30.0, "before": 0.3},
}


def causes(world) -> list[str]:
    return [t["root_cause"] for t in world.tickets(is_open=True)]


def events(world, kind: str) -> list[dict]:
    table = tables.ticket_events
    with world.store.read() as conn:
        return list(
            conn.execute(select(table.c.body).where(table.c.kind == kind).order_by(table.c.id)).scalars()
        )


def test_load_and_processor_of_one_host_are_one_ticket(world):
    world.add_host("a1")
    world.find("a1", "cpu_busy", "cpu", facts={"cpu.user_pct": {"now": 92}, "cpu.sys_pct": {"now": 6}})
    world.find("a1", "run_queue", "cpu", facts={"load.per_cpu": {"now": 4.0}, "cpu.steal_pct": {"now": 0}})
    world.tick()
    assert causes(world) == ["os.cpu_demand"]


def test_a_service_that_dies_of_a_full_disk_belongs_to_the_disk_s_ticket(world):
    world.add_host("a1")
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "refused"}})
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    assert causes(world) == ["os.disk_full"]
    assert {f["ticket_id"] for f in world.findings()} == {world.tickets()[0]["id"]}
    assert [b["reason"]["key"] for b in events(world, "evidence")] == ["reason.join.consequence"]


def test_two_full_file_systems_are_two_tickets(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.find("a1", "fs_full", "fs_space", subject="/home", facts=FULL)
    world.tick()
    assert causes(world) == ["os.disk_full"] * 2


def test_a_better_verdict_requalifies_the_same_ticket(world):
    world.add_host("a1", provider="alfa", node="n7")
    world.find("a1", "cpu_steal", "cpu", facts=STEAL)
    world.tick()
    assert [(t["class"], t["confidence"]) for t in world.tickets()] == [(2, "low")]
    spin = {"cpu.spin_score": {"now": 0.6}, "sched.runq_per_cpu": {"now": 0.3}}
    world.find("a1", "cpu_steal", "cpu", "changed", facts=STEAL | spin)
    world.tick()
    (ticket,) = world.tickets()
    assert (ticket["class"], ticket["root_cause"]) == (1, "virt.cpu_contention")
    assert len(events(world, "requalify")) == 1


def test_a_busy_processor_is_noted_and_becomes_a_ticket_when_it_gets_worse(world):
    world.add_host("a1")
    busy = {"cpu.user_pct": {"now": 85}, "cpu.sys_pct": {"now": 4}, "load.per_cpu": {"now": 1.1}}
    world.find("a1", "cpu_busy", "cpu", severity="low", facts=busy)
    world.tick()
    assert world.tickets() == []
    assert world.findings()[0]["why"]["key"] == "reason.quiet.too_short_so_far"
    worse = {"cpu.user_pct": {"now": 96}, "cpu.sys_pct": {"now": 4}, "load.per_cpu": {"now": 3.0}}
    world.find("a1", "cpu_busy", "cpu", "changed", severity="medium", facts=worse)
    world.tick()
    assert causes(world) == ["os.cpu_demand"]


def test_evidence_goes_to_the_ticket(world):
    world.add_host("a1")
    evidence = {
        "top": [{"by": "io", "pid": 7, "name": "mysqld"}],
        "log": [{"at_ms": 1, "source": "kernel", "text": "No space left"}],
        "series": {"fs.used_pct": [[world.now_ms - 1000, 96.0], [world.now_ms, 97.0]]},
        "notes": {},
    }
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL, evidence=evidence)
    world.tick()
    (body,) = events(world, "evidence")
    assert body["series"] == evidence["series"]
    assert body["top"][0]["name"] == "mysqld"
    assert body["facts"]["fs.used_pct"]["now"] == 97.0


def test_the_facts_of_a_verdict_are_recorded_and_judge_the_same(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    with world.store.read() as conn:
        row = conn.execute(select(judgements)).one()
    assert qualify(case_of(row.case)).to_dict() == row.verdict


def test_a_host_that_is_not_eligible_for_class_2_is_recorded_with_that_reason(world):
    world.add_host("a1")
    contract = world.contracts["acme"]
    world.replace_contract(dataclasses.replace(contract, class2=False))
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    (row,) = world.findings()
    assert (row["outcome"], row["why"]["key"]) == ("recorded", "reason.intake.class2_not_in_contract")


def test_a_closing_of_what_was_never_open_is_recorded(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", "closed", subject="/var")
    world.tick()
    assert world.findings()[0]["why"]["key"] == "reason.finding.nothing_open"


def test_what_came_and_went_during_a_silence_joins_the_silence_s_ticket(world):
    world.add_host("a1")
    world.add_host("b1")
    world.tick()
    world.run(17, beating=("b1",))
    during = world.now_ms
    world.run(60, beating=("b1",))
    world.heartbeat("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL, at_ms=during)
    world.find("a1", "fs_full", "fs_space", "closed", subject="/var", at_ms=during + 20_000)
    world.tick()
    mine = [f for f in world.findings() if f["rule"] == "fs_full"]
    assert [f["outcome"] for f in mine] == ["joined", "resolved"]
    assert {f["ticket_id"] for f in mine} == {world.tickets()[0]["id"]}


def test_a_fault_that_returns_resumes_the_same_ticket(world):
    world.add_host("a1")
    for _ in range(2):
        world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
        world.run(3, beating=("a1",))
        world.find("a1", "fs_full", "fs_space", "closed", subject="/var")
        world.run(65, beating=("a1",))
    (ticket,) = world.tickets()
    assert (ticket["state"], ticket["recurrences"]) == ("resolved", 1)


def test_the_auditor_opens_a_ticket_about_ourselves_when_a_clock_is_missing(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    world.store.write(lambda tx: tx.execute(delete(tables.clocks)))
    world.run(61, beating=("a1",))
    assert [(t["contract_id"], t["root_cause"]) for t in world.tickets()][1:] == [
        ("internal", "internal.audit")
    ]


class BrokenRows(frozenset):
    """Stands for a bug in one evidence row."""

    def __contains__(self, row_id: object) -> bool:
        if row_id == "fs.ro_alone":
            raise ArithmeticError("a bug of our own")
        return False


def test_a_fault_of_our_own_in_one_problem_stops_no_other_and_gets_its_ticket(world):
    world.ctx.without_rows = BrokenRows()
    world.add_host("a1")
    world.find("a1", "fs_read_only", "fs", subject="/srv", facts={"fs.ro": {"now": True}})
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    assert [(f["outcome"], (f["why"] or {}).get("key")) for f in world.findings()] == [
        ("recorded", "reason.internal.judge_failed"),
        ("opened", None),
    ]
    world.run(61, beating=("a1",))
    assert sorted(causes(world)) == ["internal.judge", "os.disk_full"]


def test_misshapen_evidence_of_a_server_stops_nothing(world):
    world.add_host("a1")
    odd = {"log": [7, {"text": 8}], "notes": [], "series": 3, "top": None}
    facts = {
        "fs.used_pct": {"now": 97.0, "before": "x", "usual": []},
        "hw.smart": {"now": {"5": "a"}, "before": {"5": 1}},
    }
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=facts, evidence=odd)
    world.find("a1", "raid_degraded", "hardware", subject="md0", facts=facts | {"hw.md": 3}, evidence=odd)
    world.tick()
    assert sorted(causes(world)) == ["hw.disk", "os.disk_full"]


def test_the_auditor_is_content_with_ordinary_tickets(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.run(130, beating=("a1",))
    assert len(world.tickets()) == 1


def test_an_explanation_gives_the_evidence_in_its_order_in_both_languages(world):
    world.add_host("a1", provider="alfa", node="n7")
    spin = {"cpu.spin_score": {"now": 0.6}, "sched.runq_per_cpu": {"now": 0.3}}
    world.find("a1", "cpu_steal", "cpu", facts=STEAL | spin)
    world.tick()
    set_strict(True)
    try:
        with world.store.read() as conn:
            uk, en = (explain(conn, 1, language) for language in ("uk", "en"))
            assert explain(conn, 99, "uk") is None
    finally:
        set_strict(False)
    assert uk is not None
    assert en is not None
    assert [r["key"] for r in en.reasons] == ["reason.cpu.steal", "reason.cpu.spin_slow"]
    assert any("Sum: +3.0" in line for line in en.lines)
    assert any("Сума: +3" in line for line in uk.lines)


def test_many_silenced_agents_on_hosts_that_answer_are_no_outage_of_their_provider(world):
    for n in range(4):
        world.add_host(f"a{n}", provider="alfa")
        world.network.states[("ssh", f"addr-a{n}")] = "ok"
    world.add_host("c1", provider="gamma")
    # One of them was not reached by our questions in time: the others speak for it.
    world.network.states[("ssh", "addr-a3")] = world.network.states[("icmp", "addr-a3")] = "unknown"
    world.tick()
    world.run(30, beating=("c1",))
    assert sorted(t["scope"] for t in world.tickets()) == [f"host:a{n}" for n in range(4)]


def test_a_ticket_that_a_person_filed_is_never_resolved_by_the_machine(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    world.store.write(lambda tx: tx.execute(update(tables.tickets).values(origin="person")))
    world.find("a1", "fs_full", "fs_space", "closed", subject="/var")
    world.run(120, beating=("a1",))
    assert world.tickets(is_open=True)
