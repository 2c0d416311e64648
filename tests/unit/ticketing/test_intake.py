"""The machine's verbs: what they open, join and refuse, and that clocks and next steps never lack."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from ticketing import intake, ledger, tables
from ticketing.model import ClockKind, ClockState, Reason

NOW_MS = 1_767_600_000_000
HOUR_MS = 3_600_000


def _tickets(tx):
    return tx.execute(select(tables.tickets).order_by(tables.tickets.c.id)).mappings().all()


def _kinds(tx, ticket_id):
    events = tables.ticket_events
    return (
        tx.execute(select(events.c.kind).where(events.c.ticket_id == ticket_id).order_by(events.c.id))
        .scalars()
        .all()
    )


def test_a_verdict_opens_one_ticket_with_running_clocks_and_a_next_step(tx, book, verdict):
    outcome = intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    assert outcome.verb == "opened"
    row = _tickets(tx)[0]
    assert (row["class"], row["line"], row["state"], row["profile"]) == (2, 2, "new", "linux")
    assert row["began_at_ms"] == NOW_MS - 60_000 and row["created_at_ms"] == NOW_MS
    held = ledger.watches(tx, row["id"])
    assert {k: w.state for k, w in held.items()} == {
        ClockKind.REACTION: ClockState.RUNNING,
        ClockKind.RESOLUTION: ClockState.RUNNING,
    }
    assert row["next_step_at_ms"] == NOW_MS + HOUR_MS // 2  # the reaction's breach


def test_the_same_problem_joins_and_opens_nothing(tx, book, verdict, make):
    first = intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    again = intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 1)
    other = intake.open_or_join(tx, book, make(severity="critical"), "acme", NOW_MS + 2)
    assert [again.verb, other.verb] == ["joined", "joined"]
    assert again.ticket_id == other.ticket_id == first.ticket_id
    assert len(_tickets(tx)) == 1
    assert _kinds(tx, first.ticket_id) == ["open", "join"]


def test_the_loser_of_a_race_joins_the_winner(tx, book, verdict, monkeypatch):
    """The look-up saw nothing, the insert hits the constraint: the savepoint rolls back and the winner is joined."""
    winner = intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    # Only a look-up that comes too early can lose; on PostgreSQL the conformance suite races two real connections.
    monkeypatch.setattr(intake, "_newest", lambda *_: None)
    outcome = intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 5)
    assert (outcome.verb, outcome.ticket_id) == ("joined", winner.ticket_id)
    assert len(_tickets(tx)) == 1
    assert tx.execute(select(func.count()).select_from(tables.outbox)).scalar() == 2  # nothing told twice


@pytest.mark.parametrize("class_", [3, 4, 5, 6])
def test_classes_of_people_are_only_proposed(tx, book, make, class_):
    outcome = intake.open_or_join(tx, book, make(class_=class_), "acme", NOW_MS)
    assert (outcome.verb, outcome.reason.key) == ("recorded", "reason.intake.proposed")
    assert _tickets(tx) == []


def test_class_2_is_recorded_where_the_contract_does_not_hold_it(tx, book, make):
    outcome = intake.open_or_join(
        tx, book, make(affected=("a3",), subject="host:a3", scope="host:a3"), "acme", NOW_MS
    )
    assert (outcome.verb, outcome.reason.key) == ("recorded", "reason.intake.class2_kind")
    assert _tickets(tx) == []


def test_class_1_is_opened_on_any_host(tx, book, make):
    verdict = make(
        class_=1, root_cause="virt.cpu_contention", affected=("a3",), subject="host:a3", family="cpu"
    )
    outcome = intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    assert outcome.verb == "opened"
    assert _tickets(tx)[0]["line"] == 4


def test_a_forecast_is_a_note_or_a_ticket_as_the_contract_says(tx, book, make):
    note = intake.open_or_join(tx, book, make(preventive=True), "acme", NOW_MS)
    ticket = intake.open_or_join(
        tx, book, make(preventive=True, affected=("b1",), subject="host:b1/fs:/"), "beta", NOW_MS
    )
    assert (note.verb, note.reason.key) == ("recorded", "reason.intake.preventive_note")
    assert ticket.verb == "opened"
    payloads = tx.execute(select(tables.outbox.c.payload)).scalars().all()
    assert [p["event"] for p in payloads] == ["preventive"]


def test_several_contracts_get_a_child_each_under_a_parent_of_the_house(tx, book, make):
    verdict = make(
        class_=1,
        root_cause="virt.node_failure",
        scope="node:alfa/n7",
        subject="node:alfa/n7",
        family="silence",
        affected=("a1", "a2", "b1"),
        reasons=(Reason("reason.x", {"hosts": ["a1", "a2", "b1"]}),),
    )
    outcomes = intake.open_by_contract(tx, book, verdict, NOW_MS)
    assert [o.verb for o in outcomes] == ["opened"] * 3
    parent, acme, beta = _tickets(tx)
    assert [parent["contract_id"], acme["contract_id"], beta["contract_id"]] == ["internal", "acme", "beta"]
    assert acme["parent_id"] == beta["parent_id"] == parent["id"]
    assert acme["affected"] == ["a1", "a2"] and beta["affected"] == ["b1"]
    assert beta["verdict"]["reasons"][0]["params"]["hosts"] == ["b1"]  # no other client's names


def test_resolving_needs_a_proof_and_stops_the_clocks(tx, book, verdict):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    with pytest.raises(ValueError):
        intake.resolve(tx, book, ticket_id, Reason(""), NOW_MS)
    intake.resolve(tx, book, ticket_id, Reason("reason.x"), NOW_MS + HOUR_MS)
    row = _tickets(tx)[0]
    assert (row["state"], row["open_mark"]) == ("resolved", None)
    assert row["next_step_at_ms"] == NOW_MS + 25 * HOUR_MS
    held = ledger.watches(tx, ticket_id)
    assert held[ClockKind.RESOLUTION].outcome == "kept"
    assert held[ClockKind.REACTION].outcome == "breached"  # half an hour was promised, nobody came in an hour


def test_a_fault_that_returns_in_the_window_resumes_ticket_and_clock(tx, book, verdict):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    intake.resolve(tx, book, ticket_id, Reason("reason.x"), NOW_MS + HOUR_MS)
    outcome = intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 5 * HOUR_MS)
    assert (outcome.verb, outcome.ticket_id) == ("reopened", ticket_id)
    row = _tickets(tx)[0]
    assert (row["state"], row["open_mark"], row["recurrences"]) == ("new", 1, 1)
    resolution = ledger.watches(tx, ticket_id)[ClockKind.RESOLUTION]
    assert (resolution.state, resolution.spent_ms) == (ClockState.RUNNING, HOUR_MS)
    assert resolution.running_since_ms == NOW_MS + 5 * HOUR_MS


def test_what_comes_back_as_something_else_says_so_in_the_history(tx, book, verdict, make):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    intake.resolve(tx, book, ticket_id, Reason("reason.x"), NOW_MS + HOUR_MS)
    again = make(class_=1, root_cause="virt.storage_backend")
    assert intake.open_or_join(tx, book, again, "acme", NOW_MS + 5 * HOUR_MS).verb == "reopened"
    events = tables.ticket_events
    body = tx.execute(select(events.c.body).where(events.c.kind == "reopen")).scalar_one()
    assert (body["before"]["class"], body["before"]["root_cause"]) == (2, "os.disk_full")
    assert (body["after"]["class"], body["after"]["root_cause"]) == (1, "virt.storage_backend")
    assert body["reasons"][0]["key"] == "reason.intake.requalified"


def test_another_part_of_the_hardware_does_not_resume_the_first_ones_ticket(tx, book, make):
    power = make(class_=1, root_cause="hw.power")
    first = intake.open_or_join(tx, book, power, "acme", NOW_MS)
    intake.resolve(tx, book, first.ticket_id, Reason("reason.x"), NOW_MS + HOUR_MS)
    second = intake.open_or_join(
        tx, book, make(class_=1, root_cause="hw.memory"), "acme", NOW_MS + 3 * HOUR_MS
    )
    assert second.verb == "opened"
    row = _tickets(tx)[1]
    assert (row["previous_id"], row["recurrences"]) == (None, 0)


def test_a_fault_that_returns_later_is_a_new_ticket_linked_to_the_old(tx, book, verdict):
    first = intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    intake.resolve(tx, book, first.ticket_id, Reason("reason.x"), NOW_MS + HOUR_MS)
    second = intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 26 * HOUR_MS)
    assert second.verb == "opened" and second.ticket_id != first.ticket_id
    row = _tickets(tx)[1]
    assert (row["previous_id"], row["recurrences"]) == (first.ticket_id, 1)


def test_requalifying_judges_the_clocks_from_the_original_start(tx, book, verdict, make):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    intake.requalify(tx, book, ticket_id, make(class_=1, root_cause="hw.disk"), NOW_MS + HOUR_MS)
    row = _tickets(tx)[0]
    assert (row["class"], row["root_cause"], row["line"], row["version"]) == (1, "hw.disk", 4, 2)
    resolution = ledger.watches(tx, ticket_id)[ClockKind.RESOLUTION]
    assert (resolution.started_at_ms, resolution.target_ms) == (NOW_MS, 4 * HOUR_MS)
    clock = tx.execute(select(tables.clocks).where(tables.clocks.c.kind == "resolution")).mappings().one()
    assert clock["due_at_ms"] == NOW_MS + 4 * HOUR_MS


def test_another_cause_of_the_same_class_is_told_without_the_class(tx, book, verdict, make):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    was = _tickets(tx)[0]["class"]
    same = intake.requalify(tx, book, ticket_id, make(class_=was, root_cause="os.service_failed"), NOW_MS + 1)
    assert same.reason is not None and same.reason.key == "reason.intake.other_cause"
    other = intake.requalify(tx, book, ticket_id, make(class_=1, root_cause="hw.disk"), NOW_MS + 2)
    assert other.reason is not None and other.reason.key == "reason.intake.requalified"


def test_requalifying_to_a_class_of_people_is_a_proposal_told_once(tx, book, verdict, make):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    for later in (1, 2):
        outcome = intake.requalify(tx, book, ticket_id, make(class_=5), NOW_MS + later)
        assert outcome.verb == "recorded"
    assert _tickets(tx)[0]["class"] == 2
    assert _kinds(tx, ticket_id) == ["open", "propose"]


def test_widening_takes_new_hosts_and_keeps_the_problem(tx, book, verdict, make):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    problem = _tickets(tx)[0]["problem"]
    intake.widen(tx, book, ticket_id, make(scope="node:alfa/n7", affected=("a1", "a2")), NOW_MS + 1)
    row = _tickets(tx)[0]
    assert (row["scope"], row["affected"], row["problem"]) == ("node:alfa/n7", ["a1", "a2"], problem)
    assert [r["id"] for r in intake.open_tickets_of(tx, ["a2"])] == [ticket_id]


def test_a_merged_ticket_leads_to_its_target(tx, book, verdict, make):
    one = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    other = make(subject="host:a2/fs:/var", affected=("a2",), scope="host:a2", began_at_ms=NOW_MS - 90_000)
    two = intake.open_or_join(tx, book, other, "acme", NOW_MS + 1).ticket_id
    intake.merge(tx, book, two, one, Reason("reason.x"), NOW_MS + 2)
    first, second = _tickets(tx)
    assert (second["state"], second["merged_into"], second["next_step_at_ms"]) == ("merged", one, None)
    assert (first["affected"], first["began_at_ms"]) == (["a1", "a2"], NOW_MS - 90_000)
    assert intake.open_or_join(tx, book, other, "acme", NOW_MS + 3).ticket_id == one


def test_splitting_moves_hosts_to_a_ticket_of_their_own(tx, book, make):
    both = make(affected=("a1", "a2"), scope="node:n", subject="node:n", family="silence")
    ticket_id = intake.open_or_join(tx, book, both, "acme", NOW_MS).ticket_id
    own = make(affected=("a2",), scope="host:a2", subject="host:a2", family="silence")
    outcome = intake.split(tx, book, ticket_id, own, NOW_MS + 1)
    assert outcome.verb == "opened"
    assert [r["affected"] for r in _tickets(tx)] == [["a1"], ["a2"]]


def test_evidence_is_appended_without_a_new_version(tx, book, verdict):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    assert intake.add_evidence(tx, ticket_id, {"facts": {}}, NOW_MS + 7)
    row = _tickets(tx)[0]
    assert (row["version"], row["updated_at_ms"]) == (1, NOW_MS + 7)
