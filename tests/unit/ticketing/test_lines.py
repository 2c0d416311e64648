"""Lines 1 to 4: who is on call, whom an escalation calls, and a higher line that helps without taking over."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from config import loader
from tests.tools.examples import examples
from ticketing import acts, clock_step, contracts, intake, lines, queries, rota, tables
from ticketing.duty import Absence, Roster, Rota
from ticketing.model import ClockKind, ClockState
from ticketing.queries import Viewer
from ticketing.rota import Colleague
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000  # 2026-01-05 08:00 UTC, Monday 10:00 in Kyiv
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
OLENA = Viewer("olena", "engineer")
STAFF = {
    name: Colleague(name, role, line, profiles)
    for name, role, line, profiles in (
        ("a", "engineer", 2, ("linux",)),
        ("b", "engineer", 2, ("network",)),
        ("c", "engineer", 2, ("linux", "storage")),
        ("lead2", "lead", 2, ()),
        ("lead3", "lead", 3, ()),
    )
}


def _rota(**fields):
    text = {"line": 2, "people": ["a", "b", "c"], "starts": "2026-01-05 09:00"} | fields
    return contracts.from_document(
        Rota, text | {k: v for k, v in contracts.document(Rota(2, ["a"])).items() if k not in text}
    )


def _at(text, zone="Europe/Kyiv"):
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def _called(rotas, at_ms, profile="linux", absences=(), staff=STAFF, line=2):
    return rota.on_call(rotas, list(absences), staff, line, profile, at_ms)


def _away(person, from_, to, instead=""):
    return Absence(person, from_, to, "Europe/Kyiv", instead)


def test_turns_change_at_their_time_of_day_in_the_order_of_the_list():
    one = _rota()
    for when, who in [
        ("2026-01-05 09:00", "a"), ("2026-01-12 08:59", "a"), ("2026-01-12 09:00", "b"),
        ("2026-01-19 09:00", "c"), ("2026-01-26 09:00", "a"), ("2026-01-05 08:59", "c"),
    ]:  # fmt: skip
        assert _called([one], _at(when), profile="").person == who, when


@settings(max_examples=examples(60), deadline=None)
@given(
    zone=st.sampled_from(("Europe/Kyiv", "America/New_York", "Australia/Lord_Howe")),
    days=st.integers(0, 3650),
)
def test_no_summer_time_moves_a_hand_over(zone, days):
    """A minute before the hand-over and at it, by the wall clock, on any day of ten years."""
    one = _rota(zone=zone, turn_days=1)
    day = dt.datetime(2026, 1, 5, 9, 0) + dt.timedelta(days=days)
    at = int(day.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)
    assert rota.turn_number(one, at) == days and rota.turn_number(one, at - MINUTE_MS) == days - 1


def test_the_profile_that_the_cause_needs_chooses_among_those_on_call():
    both = [_rota(people=["b"]), _rota(people=["c"])]
    assert _called(both, NOW_MS, "storage").person == "c"
    nobody_fits = _called(both, NOW_MS, "hardware")
    assert (nobody_fits.person, nobody_fits.reason.key) == ("b", "reason.duty.no_profile")


def test_who_is_away_gives_the_turn_to_the_stand_in_else_to_the_next_who_is_there():
    week = ("2026-01-05 00:00", "2026-01-10 00:00")
    stood_in = _called([_rota()], NOW_MS, absences=[_away("a", *week, instead="c")])
    assert (stood_in.person, stood_in.reason.key) == ("c", "reason.duty.stand_in")
    assert _called([_rota()], NOW_MS, "network", absences=[_away("a", *week)]).person == "b"
    both_away = [_away("a", *week, instead="b"), _away("b", *week)]
    assert _called([_rota()], NOW_MS, absences=both_away).person == "c"
    assert _called([_rota()], _at("2026-01-10 00:00"), absences=[_away("a", *week)]).person == "a"


def test_somebody_who_left_the_house_has_no_turn():
    gone = {name: who for name, who in STAFF.items() if name != "a"}
    assert _called([_rota()], NOW_MS, "network", staff=gone).person == "b"


@pytest.mark.parametrize(
    ("rotas", "absences", "who", "why"),
    [
        ([], [], "lead2", "no_rota"),
        ([_rota(hours={"sun": ["09:00-18:00"]})], [], "lead2", "outside_hours"),
        ([_rota(hours={"sun": ["09:00-18:00"]}, lead="lead3")], [], "lead3", "outside_hours"),
        ([_rota(people=["a"])], [_away("a", "2026-01-01", "2026-02-01")], "lead2", "all_away"),
        ([], [_away("lead2", "2026-01-01", "2026-02-01")], "lead3", "no_rota"),
    ],
)
def test_where_nobody_is_on_call_the_lead_is_told_and_why(rotas, absences, who, why):
    call = _called(rotas, NOW_MS, absences=absences)
    assert (call.person, call.reason.key, call.reason.params["why"]) == (who, "reason.duty.lead", why)
    assert call.assigns == (why != "no_rota"), "a line without a rota keeps the ticket as a line"


def test_where_no_lead_is_there_either_nobody_is_named_and_that_is_said():
    alone = {"a": STAFF["a"]}
    call = _called([], NOW_MS, staff=alone)
    assert (call.person, call.reason.key) == (None, "reason.duty.nobody")


def test_a_contract_s_own_rota_stands_instead_of_the_house_s_for_its_line():
    contract = loader.parse("{id: c, title: C, rota: [{line: 2, people: [c]}]}", Contract)
    house = [_rota(), _rota(line=3)]
    assert [(r.line, r.people) for r in lines.rotas_for(contract, house)] == [
        (2, ["c"]),
        (3, ["a", "b", "c"]),
    ]


# With the store


@pytest.fixture
def desk(tx, book):
    """olena (linux) and iryna (network, storage) share line 3's rota; petro leads line 3."""
    people = [
        loader.parse(text, contracts.Person)
        for text in (
            "{id: olena, name: Олена, role: engineer, line: 2, profiles: [linux], email: olena@s.example}",
            "{id: iryna, role: engineer, line: 3, profiles: [linux], email: iryna@s.example, language: en}",
            "{id: petro, role: lead, line: 3, email: petro@s.example}",
        )
    ]
    roster = Roster([_rota(line=3, people=["iryna"], zone="Europe/Kyiv")], [])
    loaded = contracts.Loaded((book.contract("acme"), book.contract("beta")), tuple(people), roster)
    contracts.apply(tx, loaded, NOW_MS, "test")
    return contracts.current(tx)


def _row(tx, ticket_id):
    return tx.execute(select(tables.tickets).where(tables.tickets.c.id == ticket_id)).mappings().one()


def _mails(tx, ticket_id):
    table = tables.outbox
    wanted = select(table).where(table.c.ticket_id == ticket_id, table.c.destination.like("%@s.example"))
    return tx.execute(wanted.order_by(table.c.id)).mappings().all()


def test_an_escalation_by_time_goes_to_whoever_is_on_call_and_they_are_told_in_their_language(
    tx, desk, verdict
):
    ticket_id = intake.open_or_join(tx, desk, verdict, "acme", NOW_MS).ticket_id
    clock_step.run(tx, desk, NOW_MS + 31 * MINUTE_MS)
    assert (_row(tx, ticket_id)["line"], _row(tx, ticket_id)["assignee"]) == (3, "iryna")
    (mail,) = _mails(tx, ticket_id)
    assert (mail["destination"], mail["payload"]["language"], mail["payload"]["event"]) == (
        "iryna@s.example", "en", "escalated",
    )  # fmt: skip
    assert "reason.duty.on_call" in [r["key"] for r in mail["payload"]["reasons"]]
    assert _row(tx, ticket_id)["reacted_at_ms"] is None, "to be called is no reaction"
    clock_step.run(tx, desk, NOW_MS + 6 * HOUR_MS)  # line 4 has no rota and no lead of its own
    events = tables.ticket_events
    bodies = (
        tx.execute(select(events.c.body).where(events.c.kind == "escalate").order_by(events.c.id))
        .scalars()
        .all()
    )
    assert [body["call"]["reason"]["key"] for body in bodies] == ["reason.duty.on_call", "reason.duty.nobody"]
    assert _row(tx, ticket_id)["assignee"] is None


def test_an_escalation_by_hand_calls_too_and_the_client_does_not_read_who_was_away(tx, desk, verdict):
    ticket_id = intake.open_or_join(tx, desk, verdict, "acme", NOW_MS).ticket_id
    view = acts.perform(tx, desk, "escalate", ticket_id, OLENA, 1, NOW_MS + MINUTE_MS)
    assert (view.line, view.assignee) == (3, "iryna")
    assert [m["destination"] for m in _mails(tx, ticket_id)] == ["iryna@s.example"]
    assert view.events[-1].body["call"]["person"] == "iryna"
    seen = queries.ticket(tx, Viewer("client-a", "client", "acme"), ticket_id)
    assert "call" not in seen.events[-1].body


def test_a_higher_line_helps_and_ticket_line_assignee_and_clocks_stay(tx, desk, verdict):
    ticket_id = intake.open_or_join(tx, desk, verdict, "acme", NOW_MS).ticket_id
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, NOW_MS + MINUTE_MS)
    clocks_before = tx.execute(select(tables.clocks).order_by(tables.clocks.c.kind)).mappings().all()
    view = acts.perform(tx, desk, "consult", ticket_id, OLENA, 2, NOW_MS + 2 * MINUTE_MS, text="inode table?")
    assert (view.line, view.assignee, view.state) == (2, "olena", "in_work")
    assert tx.execute(select(tables.clocks).order_by(tables.clocks.c.kind)).mappings().all() == clocks_before
    assert view.events[-1].body["asked"] == "iryna" and not view.events[-1].is_public
    assert [m["destination"] for m in _mails(tx, ticket_id)] == ["iryna@s.example"]
    iryna = Viewer("iryna", "engineer")
    view = acts.perform(
        tx, desk, "advise", ticket_id, iryna, 3, NOW_MS + 9 * MINUTE_MS, text="xfs_repair -n first"
    )
    assert (view.line, view.assignee) == (2, "olena")
    assert [m["destination"] for m in _mails(tx, ticket_id)][-1] == "olena@s.example"
    client = queries.ticket(tx, Viewer("client-a", "client", "acme"), ticket_id)
    assert not {"consult", "advise"} & {event.kind for event in client.events}
    assert "consult" not in client.acts


def test_asking_for_help_is_no_reaction(tx, desk, verdict):
    ticket_id = intake.open_or_join(tx, desk, verdict, "acme", NOW_MS).ticket_id
    view = acts.perform(
        tx, desk, "consult", ticket_id, OLENA, 1, NOW_MS + MINUTE_MS, text="?", assignee="petro"
    )
    reaction = next(clock for clock in view.clocks if clock.kind == ClockKind.REACTION.value)
    assert (reaction.state, view.assignee) == (ClockState.RUNNING.value, None)
    assert view.events[-1].body["asked"] == "petro"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"line": 2}, "line"),
        ({"line": 5}, "line"),
        ({"assignee": "client-a"}, "assignee"),
        ({"assignee": "olena"}, "assignee"),
    ],
)
def test_help_is_asked_of_a_higher_line_or_of_a_colleague(tx, desk, verdict, fields, field):
    ticket_id = intake.open_or_join(tx, desk, verdict, "acme", NOW_MS).ticket_id
    refused = acts.perform(tx, desk, "consult", ticket_id, OLENA, 1, NOW_MS, text="?", **fields)
    assert refused.code == "invalid" and list(refused.fields) == [field]


def test_a_class_that_begins_higher_is_opened_there_and_lifts_the_ticket_that_becomes_it(
    tx, desk, verdict, make
):
    text = contracts.document(desk.contract("acme"))
    text["escalation"]["by_class"] = {"1": {"first_line": 3}}
    changed = contracts.from_document(Contract, text)
    people = contracts.Loaded((changed, desk.contract("beta")), (), contracts.roster(tx))
    contracts.apply(tx, people, NOW_MS, "t")
    book = contracts.current(tx)
    one = make(class_=1, root_cause="unknown", subject="host:a1/x", family="io")
    opened = intake.open_or_join(tx, book, one, "acme", NOW_MS).ticket_id
    assert _row(tx, opened)["line"] == 3
    two = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    assert _row(tx, two)["line"] == 2
    view = acts.perform(tx, book, "requalify", two, OLENA, 1, NOW_MS, class_=1, text="the node")
    assert (view.line, view.assignee) == (3, "iryna")
    three = intake.open_or_join(tx, book, make(subject="host:a1/y"), "acme", NOW_MS).ticket_id
    acts.perform(tx, book, "take", three, OLENA, 1, NOW_MS)
    intake.requalify(tx, book, three, make(subject="host:a1/y", class_=1, root_cause="unknown"), NOW_MS + 1)
    assert (_row(tx, three)["line"], _row(tx, three)["assignee"]) == (3, "iryna")
