"""What people do: who may, what it does to clocks, and that nobody acts on a ticket they did not see."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from ticketing import acts, intake, ledger, queries, tables, transitions
from ticketing.acts import Refusal
from ticketing.model import ClockKind, ClockState, Reason, TicketState
from ticketing.queries import TicketFilter, Viewer

NOW_MS = 1_767_600_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000

OLENA = Viewer("olena", "engineer", None, "uk", "192.0.2.7")
CLIENT_A = Viewer("client-a", "client", "acme")
CLIENT_B = Viewer("client-b", "client", "beta")


@pytest.fixture
def ticket_id(tx, book, verdict):
    return intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id


def _do(tx, book, act, ticket_id, *, who=OLENA, version=None, at=NOW_MS + 5 * MINUTE_MS, **fields):
    seen = (
        version
        or tx.execute(select(tables.tickets.c.version).where(tables.tickets.c.id == ticket_id)).scalar_one()
    )
    return acts.perform(tx, book, act, ticket_id, who, seen, at, **fields)


def _clock(tx, ticket_id, kind):
    return ledger.watches(tx, ticket_id)[kind]


def test_taking_a_ticket_stops_the_reaction_clock(tx, book, ticket_id):
    view = _do(tx, book, "take", ticket_id)
    assert (view.state, view.assignee, view.reacted_at_ms) == ("in_work", "olena", NOW_MS + 5 * MINUTE_MS)
    reaction = _clock(tx, ticket_id, ClockKind.REACTION)
    assert (reaction.state, reaction.outcome, reaction.spent_ms) == (
        ClockState.STOPPED,
        "kept",
        5 * MINUTE_MS,
    )


def test_an_internal_note_stops_no_clock_and_a_public_one_does(tx, book, ticket_id):
    _do(tx, book, "note", ticket_id, text="among us")
    assert _clock(tx, ticket_id, ClockKind.REACTION).state is ClockState.RUNNING
    _do(tx, book, "note", ticket_id, text="we look", is_public=True)
    assert _clock(tx, ticket_id, ClockKind.REACTION).state is ClockState.STOPPED


def test_a_client_s_word_stops_no_clock(tx, book, ticket_id):
    view = _do(tx, book, "note", ticket_id, who=CLIENT_A, text="hello?")
    assert view.events[-1].is_public
    assert _clock(tx, ticket_id, ClockKind.REACTION).state is ClockState.RUNNING


def test_an_act_against_a_version_that_is_gone_is_stale(tx, book, ticket_id):
    _do(tx, book, "take", ticket_id)
    refusal = _do(tx, book, "take", ticket_id, version=1)
    assert isinstance(refusal, Refusal) and refusal.code == "stale"


def test_waiting_for_the_client_pauses_resolution_and_the_answer_resumes_it(tx, book, ticket_id):
    _do(tx, book, "ask_client", ticket_id, text="which disk?")
    paused = _clock(tx, ticket_id, ClockKind.RESOLUTION)
    assert (paused.state, paused.pause_reason, paused.spent_ms) == (
        ClockState.PAUSED,
        "waiting_client",
        5 * MINUTE_MS,
    )
    row = tx.execute(select(tables.tickets)).mappings().one()
    assert row["next_step_at_ms"] is not None
    view = _do(tx, book, "note", ticket_id, who=CLIENT_A, text="the second", at=NOW_MS + HOUR_MS)
    assert view.state == "in_work" and view.events[-1].kind == "client_answered"
    resumed = _clock(tx, ticket_id, ClockKind.RESOLUTION)
    assert (resumed.state, resumed.running_since_ms) == (ClockState.RUNNING, NOW_MS + HOUR_MS)


def test_the_provider_has_a_clock_of_its_own_and_the_client_s_runs_on(tx, book, ticket_id):
    _do(tx, book, "ask_provider", ticket_id, text="your node is slow", provider_ref="R-7")
    assert _clock(tx, ticket_id, ClockKind.RESOLUTION).state is ClockState.RUNNING
    assert _clock(tx, ticket_id, ClockKind.PROVIDER).state is ClockState.RUNNING
    _do(tx, book, "provider_answered", ticket_id, text="fixed", at=NOW_MS + HOUR_MS)
    provider = _clock(tx, ticket_id, ClockKind.PROVIDER)
    assert (provider.state, provider.spent_ms) == (ClockState.PAUSED, 55 * MINUTE_MS)


def test_escalating_goes_up_only_and_only_to_lines_of_the_contract(tx, book, ticket_id):
    _do(tx, book, "take", ticket_id)
    view = _do(tx, book, "escalate", ticket_id, line=4)
    assert (view.line, view.assignee) == (4, None)
    refusal = _do(tx, book, "escalate", ticket_id)
    assert isinstance(refusal, Refusal) and refusal.reason.key == "refusal.no_line"


def test_resolving_asks_cause_and_remedy(tx, book, ticket_id):
    refusal = _do(tx, book, "resolve", ticket_id, cause="logs")
    assert isinstance(refusal, Refusal) and list(refusal.fields) == ["remedy"]
    view = _do(tx, book, "resolve", ticket_id, cause="logs", remedy="rotated")
    assert (view.state, view.acts) == ("resolved", ("note", "reopen", "close"))
    assert _clock(tx, ticket_id, ClockKind.REACTION).outcome == "kept"


def test_a_client_reopens_in_the_window_and_not_later(tx, book, ticket_id):
    _do(tx, book, "resolve", ticket_id, cause="logs", remedy="rotated")
    late = _do(tx, book, "reopen", ticket_id, who=CLIENT_A, text="again", at=NOW_MS + 30 * HOUR_MS)
    assert isinstance(late, Refusal) and late.reason.key == "refusal.window_over"
    view = _do(tx, book, "reopen", ticket_id, who=CLIENT_A, text="again", at=NOW_MS + 2 * HOUR_MS)
    assert view.state == "new" and view.recurrences == 1


def test_a_ticket_is_not_reopened_beside_an_open_one_of_the_same_problem(tx, book, ticket_id, verdict):
    _do(tx, book, "resolve", ticket_id, cause="logs", remedy="rotated", at=NOW_MS)
    tx.execute(tables.tickets.update().values(resolved_at_ms=NOW_MS - 48 * HOUR_MS))
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 1)
    tx.execute(tables.tickets.update().where(tables.tickets.c.id == ticket_id).values(resolved_at_ms=NOW_MS))
    refusal = _do(tx, book, "reopen", ticket_id, text="again")
    assert isinstance(refusal, Refusal) and refusal.reason.key == "refusal.other_open"


def test_a_foreign_client_sees_nothing(tx, book, ticket_id):
    assert queries.ticket(tx, CLIENT_B, ticket_id) is None
    refusal = _do(tx, book, "note", ticket_id, who=CLIENT_B, text="hi")
    assert isinstance(refusal, Refusal) and refusal.code == "not_found"
    assert queries.list_tickets(tx, CLIENT_B).tickets == ()
    assert queries.list_tickets(tx, CLIENT_B, TicketFilter(contract_id="acme")).tickets == ()


def test_a_client_sees_no_internal_note(tx, book, ticket_id):
    _do(tx, book, "note", ticket_id, text="the client broke it")
    kinds = [e.kind for e in queries.ticket(tx, CLIENT_A, ticket_id).events]
    assert kinds == ["open"]


def test_every_act_of_a_person_is_an_audit_row_with_the_address(tx, book, ticket_id):
    _do(tx, book, "take", ticket_id)
    row = (
        tx.execute(select(tables.audit).where(tables.audit.c.object == f"ticket:{ticket_id}"))
        .mappings()
        .one()
    )
    assert (row["actor"], row["act"], row["from_address"]) == ("olena", "take", "192.0.2.7")


def test_a_person_may_requalify_to_any_class_and_the_clock_follows(tx, book, ticket_id):
    view = _do(tx, book, "requalify", ticket_id, class_=5, text="malware")
    assert view.class_ == 5
    assert _clock(tx, ticket_id, ClockKind.RESOLUTION).target_ms == 24 * HOUR_MS


def test_filing_checks_contract_class_host_and_eligibility(tx, book):
    filed = acts.file(tx, book, CLIENT_A, "beta", 3, "The shop is down", "500 everywhere", NOW_MS)
    assert isinstance(filed, int)
    assert (
        queries.ticket(tx, CLIENT_A, filed).contract_id == "acme"
    )  # a client files for its own contract only
    refusal = acts.file(tx, book, OLENA, "acme", 2, "Reboot", "", NOW_MS, host_id="a3")
    assert isinstance(refusal, Refusal) and refusal.code == "not_eligible"
    refusal = acts.file(tx, book, OLENA, "nope", 9, " ", "", NOW_MS)
    assert isinstance(refusal, Refusal) and set(refusal.fields) == {"contract_id", "class", "title"}


def test_merging_by_hand_stays_within_one_contract(tx, book, ticket_id):
    other = acts.file(tx, book, OLENA, "beta", 3, "x", "", NOW_MS)
    assert isinstance(_do(tx, book, "merge", other, into=ticket_id), Refusal)
    same = acts.file(tx, book, OLENA, "acme", 3, "x", "", NOW_MS)
    view = _do(tx, book, "merge", same, into=ticket_id)
    assert (view.state, view.merged_into) == ("merged", ticket_id)


def test_lists_page_by_key_and_never_repeat(tx, book):
    ids = [acts.file(tx, book, OLENA, "acme", 6, f"q{n}", "", NOW_MS + n // 3) for n in range(10)]
    seen, after = [], None
    while True:
        page = queries.list_tickets(tx, OLENA, limit=4, after=after)
        seen += [line.id for line in page.tickets]
        after = page.after
        if after is None:
            break
    assert sorted(seen) == ids and len(set(seen)) == 10


def test_every_state_but_merged_has_acts_and_every_row_a_sentence():
    for state in TicketState:
        assert bool(transitions.acts_for(state, "admin")) == (state is not TicketState.MERGED)
    assert all(row.sentence and row.who for row in transitions.TABLE.values())
    assert transitions.mermaid().startswith("stateDiagram-v2")


def test_every_act_of_a_person_has_its_writer():
    assert set(acts._WRITERS) == set(transitions.PERSON_ACTS)


def test_the_reason_of_a_refusal_can_be_shown():
    assert Refusal("stale", Reason("refusal.stale")).fields == {}
