"""Stopwatches: what acts do to them, thresholds each once, and rows that equal a replay of the events."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from config import loader
from tests.tools.examples import examples
from ticketing import acts, clock_proof, clock_step, clocks, contracts, intake, ledger, tables
from ticketing.calendar import Calendar
from ticketing.clocks import Change
from ticketing.model import ClockKind, ClockState, Reason
from ticketing.queries import Viewer
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
ALWAYS = Calendar("Europe/Kyiv")
OLENA = Viewer("olena", "engineer")


def _watch(target_ms=HOUR_MS):
    return clocks.apply(None, Change(ClockKind.RESOLUTION, "start", NOW_MS, target_ms), ALWAYS)


def _open(tx, book, verdict):
    return intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id


def _clock_row(tx, ticket_id, kind):
    table = tables.clocks
    return (
        tx.execute(select(table).where(table.c.ticket_id == ticket_id, table.c.kind == kind)).mappings().one()
    )


def test_a_pause_does_not_count_and_a_resume_goes_on():
    watch = clocks.apply(
        _watch(), Change(ClockKind.RESOLUTION, "pause", NOW_MS + 10 * MINUTE_MS, why="waiting_client"), ALWAYS
    )
    assert watch.spent_at(ALWAYS, NOW_MS + 5 * HOUR_MS) == 10 * MINUTE_MS
    assert watch.next_threshold(ALWAYS) is None
    watch = clocks.apply(watch, Change(ClockKind.RESOLUTION, "resume", NOW_MS + 5 * HOUR_MS), ALWAYS)
    assert watch.reaches(ALWAYS, 100) == NOW_MS + 5 * HOUR_MS + 50 * MINUTE_MS


def test_a_stop_at_the_last_millisecond_is_kept_and_one_later_is_breached():
    for over, outcome in ((0, "kept"), (1, "breached")):
        stopped = clocks.apply(
            _watch(), Change(ClockKind.RESOLUTION, "stop", NOW_MS + HOUR_MS + over), ALWAYS
        )
        assert stopped.outcome == outcome


def test_a_breach_is_not_taken_back_by_a_longer_target():
    breached = dataclasses.replace(_watch(), outcome="breached", warned_pct=100)
    later = clocks.apply(
        breached, Change(ClockKind.RESOLUTION, "retarget", NOW_MS + 2 * HOUR_MS, 10 * HOUR_MS), ALWAYS
    )
    assert (later.outcome, later.warned_pct) == ("breached", 100)


def test_a_longer_target_is_warned_about_anew():
    warned = dataclasses.replace(_watch(), warned_pct=50)
    later = clocks.apply(
        warned, Change(ClockKind.RESOLUTION, "retarget", NOW_MS + 31 * MINUTE_MS, 4 * HOUR_MS), ALWAYS
    )
    assert later.next_threshold(ALWAYS) == (50, NOW_MS + 2 * HOUR_MS)


def test_a_stopped_clock_keeps_what_it_was_judged_by():
    stopped = clocks.apply(_watch(), Change(ClockKind.RESOLUTION, "stop", NOW_MS + 1), ALWAYS)
    assert clocks.apply(stopped, Change(ClockKind.RESOLUTION, "retarget", NOW_MS + 2, 1), ALWAYS) == stopped


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["pause", "resume", "stop", "start"]), st.integers(1, 3 * 86_400_000)),
        max_size=12,
    )
)
def test_a_clock_never_runs_backwards(steps):
    calendar = Calendar("America/New_York", [[(540, 1080)]] * 7)
    watch, at, last = _watch(HOUR_MS), NOW_MS, 0
    for act, wait in steps:
        at += wait
        before = watch.spent_at(calendar, at)
        watch = clocks.apply(watch, Change(ClockKind.RESOLUTION, act, at), calendar)
        assert watch.spent_at(calendar, at) == before >= last
        last = before


def test_warnings_and_breach_come_each_once_dated_by_their_own_instant(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    told = []
    for minute in range(9 * 60):
        told += clock_step.run(tx, book, NOW_MS + minute * MINUTE_MS)
    resolution = [e for e in told if e.kind in ("warn", "breach")]
    wanted = sorted(
        [NOW_MS + HOUR_MS // 2 * p // 100 for p in (50, 75, 90, 100)]
        + [NOW_MS + 8 * HOUR_MS * p // 100 for p in (50, 75, 90, 100)]
    )
    assert sorted(e.due_at_ms for e in resolution) == wanted
    assert not any(e.is_late for e in resolution)
    row = _clock_row(tx, ticket_id, "resolution")
    assert (row["warned_pct"], row["outcome"], row["next_event_at_ms"]) == (100, "breached", None)


def test_after_our_own_downtime_nothing_is_skipped_and_all_is_marked_late(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    told = clock_step.run(tx, book, NOW_MS + 20 * HOUR_MS)
    assert [e.kind for e in told if e.kind in ("warn", "breach")] == ["warn"] * 3 + ["breach"] + [
        "warn"
    ] * 3 + ["breach"]
    assert all(e.is_late for e in told)
    events = tables.ticket_events
    bodies = tx.execute(
        select(events.c.body).where(events.c.ticket_id == ticket_id, events.c.kind == "breach")
    ).scalars()
    assert all(body["late"] for body in bodies)
    assert [e for e in clock_step.run(tx, book, NOW_MS + 20 * HOUR_MS) if e.kind in ("warn", "breach")] == []


def test_a_ticket_that_nobody_takes_climbs_to_the_next_line(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    clock_step.run(tx, book, NOW_MS + 31 * MINUTE_MS)
    row = tx.execute(select(tables.tickets)).mappings().one()
    assert (row["line"], row["version"]) == (3, 2)
    clock_step.run(tx, book, NOW_MS + 6 * HOUR_MS)  # 75 % of eight hours
    row = tx.execute(select(tables.tickets)).mappings().one()
    assert row["line"] == 4
    assert row["next_step_at_ms"] == NOW_MS + 10 * HOUR_MS  # no line above: a reminder
    told = clock_step.run(tx, book, NOW_MS + 10 * HOUR_MS)
    assert "remind" in [e.kind for e in told]
    assert ledger.watches(tx, ticket_id)[ClockKind.RESOLUTION].escalated_pct == 75


def test_an_open_ticket_always_has_a_next_step(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    version = iter(range(1, 100))
    for act, fields in [
        ("take", {}),
        ("ask_client", {"text": "?"}),
        ("client_answered", {"text": "!"}),
        ("ask_provider", {"text": "?"}),
        ("escalate", {}),
    ]:
        view = acts.perform(tx, book, act, ticket_id, OLENA, next(version), NOW_MS + MINUTE_MS, **fields)
        assert view.next_step_at_ms is not None and view.next_step_at_ms > NOW_MS, act


def test_a_resolved_ticket_closes_when_its_window_ends(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    intake.resolve(tx, book, ticket_id, Reason("reason.x"), NOW_MS)
    assert clock_step.run(tx, book, NOW_MS + 24 * HOUR_MS - 1) == []
    assert [e.kind for e in clock_step.run(tx, book, NOW_MS + 24 * HOUR_MS)] == ["close"]
    row = tx.execute(select(tables.tickets)).mappings().one()
    assert (row["state"], row["next_step_at_ms"]) == ("closed", None)
    assert clock_step.next_due_ms(tx) is None


def test_rows_equal_a_replay_of_the_events(tx, book, verdict, make):
    ticket_id = _open(tx, book, verdict)
    steps = [
        ("take", {}),
        ("ask_client", {"text": "?"}),
        ("client_answered", {"text": "!"}),
        ("ask_provider", {"text": "?"}),
        ("provider_answered", {"text": "!"}),
    ]
    for number, (act, fields) in enumerate(steps, 1):
        acts.perform(tx, book, act, ticket_id, OLENA, number, NOW_MS + number * HOUR_MS, **fields)
    intake.requalify(tx, book, ticket_id, make(class_=1, root_cause="hw.disk"), NOW_MS + 7 * HOUR_MS)
    intake.resolve(tx, book, ticket_id, Reason("reason.x"), NOW_MS + 8 * HOUR_MS)
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS + 9 * HOUR_MS)
    assert clock_proof.disagreements(tx, book, ticket_id) == []
    tx.execute(update(tables.clocks).where(tables.clocks.c.kind == "resolution").values(spent_ms=1))
    assert clock_proof.disagreements(tx, book, ticket_id) == [ClockKind.RESOLUTION]


def test_a_changed_contract_re_judges_open_tickets_from_their_start(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    text = contracts.document(book.contract("acme"))
    text["sla"]["2"]["resolution"] = 2 * 3600
    changed = contracts.from_document(Contract, text)
    contracts.apply(tx, contracts.Loaded((changed, book.contract("beta")), ()), NOW_MS + HOUR_MS, "test")
    new_book = contracts.current(tx, book)
    told = clock_step.run(tx, new_book, NOW_MS + HOUR_MS)
    assert "rejudge" in [e.kind for e in told]
    row = _clock_row(tx, ticket_id, "resolution")
    assert (row["started_at_ms"], row["due_at_ms"], row["calendar"]) == (
        NOW_MS,
        NOW_MS + 2 * HOUR_MS,
        "acme@2",
    )
    assert tx.execute(select(tables.tickets.c.contract_version)).scalar() == 2
    assert clock_proof.disagreements(tx, new_book, ticket_id) == []


def _reapply(tx, book, change, at_ms):
    """The contract of acme, changed, in force from ``at_ms`` on."""
    text = contracts.document(book.contract("acme"))
    change(text)
    changed = contracts.from_document(Contract, text)
    contracts.apply(tx, contracts.Loaded((changed, book.contract("beta")), ()), at_ms, "test")
    return contracts.current(tx, book)


def _office(text):
    text["calendar"]["hours"] = {"mon": ["09:00-18:00"], "tue": ["09:00-18:00"]}


def test_an_act_between_a_new_contract_and_the_next_tick_counts_by_the_new_one_whole(tx, book, verdict):
    """Kyiv is two hours ahead: the ticket opens on Monday 10:00, work ends at 18:00."""
    ticket_id = _open(tx, book, verdict)
    new_book = _reapply(tx, book, _office, NOW_MS + 9 * HOUR_MS)
    view = acts.perform(
        tx, new_book, "resolve", ticket_id, OLENA, 1, NOW_MS + 10 * HOUR_MS, cause="x", remedy="y"
    )
    clock = next(c for c in view.clocks if c.kind == "resolution")
    assert (clock.spent_ms, clock.outcome) == (8 * HOUR_MS, "kept")
    assert [e.kind for e in view.events].index("rejudge") < [e.kind for e in view.events].index("resolve")
    assert clock_proof.disagreements(tx, new_book, ticket_id) == []


def test_a_warning_that_was_due_under_the_old_terms_is_not_told_under_the_new_ones(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)

    def longer(text):
        text["sla"]["2"] = {"reaction": 20 * 3600, "resolution": 40 * 3600}

    new_book = _reapply(tx, book, longer, NOW_MS + 5 * HOUR_MS)
    told = clock_step.run(tx, new_book, NOW_MS + 5 * HOUR_MS)
    assert [e.kind for e in told] == ["rejudge"]
    row = _clock_row(tx, ticket_id, "resolution")
    assert (row["due_at_ms"], row["next_event_at_ms"]) == (NOW_MS + 40 * HOUR_MS, NOW_MS + 20 * HOUR_MS)
    audited = tx.execute(select(tables.audit).where(tables.audit.c.act == "rejudge")).mappings().one()
    assert audited["object"] == f"ticket:{ticket_id}"
    assert audited["details"]["clocks"]["resolution"]["due_ms"] == NOW_MS + 40 * HOUR_MS


def test_a_ticket_that_returns_after_its_contract_changed_is_judged_from_its_start(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    intake.resolve(
        tx, book, ticket_id, Reason("reason.x"), NOW_MS + 9 * HOUR_MS
    )  # 19:00: an hour after office
    assert _clock_row(tx, ticket_id, "resolution")["spent_ms"] == 9 * HOUR_MS
    new_book = _reapply(tx, book, _office, NOW_MS + 10 * HOUR_MS)
    assert clock_proof.disagreements(tx, new_book, ticket_id) == [], (
        "what stopped is proved by what held then"
    )
    intake.open_or_join(tx, new_book, verdict, "acme", NOW_MS + 11 * HOUR_MS)
    row = _clock_row(tx, ticket_id, "resolution")
    assert (row["state"], row["calendar"]) == ("running", "acme@2")
    assert row["spent_ms"] == 8 * HOUR_MS, "office hours from the start, and not while it was resolved"
    assert row["outcome"] == "breached", "a breach that was judged is not taken back"
    assert clock_proof.disagreements(tx, new_book, ticket_id) == []


def test_the_provider_owes_while_we_wait_for_the_client_and_may_answer_then(tx, book, verdict):
    ticket_id = _open(tx, book, verdict)
    steps = [
        ("ask_provider", "?", 1),
        ("ask_client", "?", 2),
        ("provider_answered", "!", 4),
        ("client_answered", "!", 5),
    ]
    for number, (act, text, hour) in enumerate(steps, 1):
        view = acts.perform(tx, book, act, ticket_id, OLENA, number, NOW_MS + hour * HOUR_MS, text=text)
        assert not isinstance(view, acts.Refusal), (act, view)
    assert _clock_row(tx, ticket_id, "provider")["spent_ms"] == 3 * HOUR_MS
    assert _clock_row(tx, ticket_id, "resolution")["spent_ms"] == 2 * HOUR_MS
    refused = acts.perform(
        tx, book, "provider_answered", ticket_id, OLENA, 5, NOW_MS + 6 * HOUR_MS, text="again"
    )
    assert refused.reason.key == "refusal.provider_not_asked"
    assert "provider_answered" not in view.acts


def test_a_contract_with_office_hours_counts_them_only(tx, make):
    hours = "{mon: ['09:00-18:00'], tue: ['09:00-18:00']}"
    host = "{id: h, kind: vds, web_environment: true, exclusive_access: true}"
    yaml = f"{{id: c, title: C, hosts: [{host}], calendar: {{hours: {hours}}}}}"
    contracts.apply(tx, contracts.Loaded((loader.parse(yaml, Contract),), ()), NOW_MS, "test")
    office = contracts.current(tx)
    late = NOW_MS + 7 * HOUR_MS  # Monday 17:00 in Kyiv
    ticket_id = intake.open_or_join(tx, office, make(affected=("h",)), "c", late).ticket_id
    assert (
        _clock_row(tx, ticket_id, "resolution")["due_at_ms"] == NOW_MS + 26 * HOUR_MS
    )  # four hours: Tuesday 12:00


@pytest.mark.parametrize("kind", list(ClockKind))
def test_a_clock_begins_with_a_start(kind):
    with pytest.raises(AssertionError):
        clocks.apply(None, Change(kind, "stop", NOW_MS), ALWAYS)
    assert clocks.apply(None, Change(kind, "start", NOW_MS, 1), ALWAYS).state is ClockState.RUNNING
