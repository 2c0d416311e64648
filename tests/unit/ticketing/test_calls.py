"""Who is called and reminded, when, in which way, and what ends it: over the real store, at chosen instants."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from config import loader
from ticketing import acts, calls, clock_step, contracts, intake, messages, outbox, tables
from ticketing.duty import Person, Quiet, Roster, Rota, Way
from ticketing.model import Reason
from ticketing.queries import Viewer
from ticketing.terms import Contract
from ticketing.texts import texts

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NOW_MS = 1_767_600_000_000  # 2026-01-05 08:00 UTC, Monday 10:00 in Kyiv
OLENA = Viewer("olena", "engineer")
IRYNA = Viewer("iryna", "engineer")
PEOPLE = (
    "{id: olena, name: Олена, role: engineer, line: 2, profiles: [linux], email: olena@s.example}",
    "{id: iryna, name: Ірина, role: engineer, line: 3, email: iryna@s.example, language: en}",
    "{id: petro, name: Петро, role: lead, line: 2, email: petro@s.example}",
    "{id: client-a, role: client, contract: acme, email: boss@acme.example}",
)


def _at(text):
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Kyiv")).timestamp() * 1000)


def _desk(tx, book, people=PEOPLE, at_ms=NOW_MS, **changes):
    """acme's lines 2 and 3 have a rota of one each; further keys change acme's terms."""
    acme = contracts.document(book.contract("acme")) | changes
    staff = tuple(loader.parse(text, Person) for text in people)
    roster = Roster([Rota(2, ["olena"]), Rota(3, ["iryna"])], [])
    loaded = contracts.Loaded((contracts.from_document(Contract, acme), book.contract("beta")), staff, roster)
    contracts.apply(tx, loaded, at_ms, "test")
    return contracts.current(tx)


@pytest.fixture
def desk(tx, book):
    return _desk(tx, book)


def _open(tx, desk, make, n=1, at_ms=NOW_MS, **more):
    one = make(subject=f"host:a1/fs:/{n}", **more)
    return intake.open_or_join(tx, desk, one, "acme", at_ms).ticket_id


def _told(tx, ticket_id=None):
    """(whom, what, reasons) of every message to people of ours, oldest first."""
    table = tables.outbox
    rows = tx.execute(select(table).order_by(table.c.id)).mappings()
    return [
        (row["payload"]["person"], row["payload"]["event"], [r["key"] for r in row["payload"]["reasons"]])
        for row in rows
        if "person" in row["payload"] and ticket_id in (None, row["ticket_id"])
    ]


def _whom(tx, ticket_id=None):
    return [(who, what) for who, what, _ in _told(tx, ticket_id)]


def _call(tx, ticket_id):
    table = tables.calls
    return tx.execute(select(table).where(table.c.ticket_id == ticket_id)).mappings().all()


def test_an_opened_ticket_calls_who_is_on_call_on_its_line_and_stays_the_line_s(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    assert _told(tx) == [("olena", "opened", ["reason.duty.on_call"])]
    row = tx.execute(select(tables.tickets)).mappings().one()
    assert (row["line"], row["assignee"], row["reacted_at_ms"]) == (2, None, None)
    assert len(_call(tx, ticket_id)) == 1
    calls.run(tx, desk, NOW_MS + MINUTE_MS, 100)
    assert len(_told(tx)) == 1, "said once"


def test_a_filed_ticket_calls_too_and_one_whose_line_has_no_rota_calls_nobody(tx, desk):
    filed = acts.file(tx, desk, OLENA, "acme", 4, "Каса не працює", "", NOW_MS, line=3)
    assert _whom(tx, filed) == [("iryna", "opened")]
    first = acts.file(tx, desk, OLENA, "acme", 6, "Питання", "", NOW_MS)
    assert _whom(tx, first) == [] and _call(tx, first) == []


def test_a_child_calls_nobody_but_the_people_of_its_own_contract(tx, book, make):
    desk = _desk(tx, book)
    parent = _open(tx, desk, make)
    child = make(subject="host:a2/x", affected=("a2",), scope="host:a2")
    child_id = intake.open_or_join(tx, desk, child, "acme", NOW_MS, parent_id=parent).ticket_id
    assert _whom(tx, child_id) == []
    own = _desk(tx, book, rota=[contracts.document(Rota(2, ["iryna"]))], at_ms=NOW_MS + 1)
    other = make(subject="host:a2/y", affected=("a2",), scope="host:a2")
    other_id = intake.open_or_join(tx, own, other, "acme", NOW_MS + 1, parent_id=parent).ticket_id
    assert _whom(tx, other_id) == [("iryna", "opened")]


def test_outside_the_contract_s_hours_a_new_ticket_s_call_waits_for_them(tx, book, make):
    office = {"zone": "Europe/Kyiv", "hours": {"mon": ["09:00-18:00"], "tue": ["09:00-18:00"]}}
    desk = _desk(tx, book, calendar=office)
    night = _at("2026-01-05 22:00")
    kept, gone = (_open(tx, desk, make, n, night) for n in (1, 2))
    assert _whom(tx) == []
    morning = _at("2026-01-06 09:00")
    intake.resolve(tx, desk, gone, Reason("reason.resolved.clear"), night + HOUR_MS)
    calls.run(tx, desk, morning - 1, 100)
    assert _whom(tx) == []
    calls.run(tx, desk, morning, 100)
    assert _whom(tx) == [("olena", "opened")] and _whom(tx, kept), "nothing of what is over meanwhile"
    assert _call(tx, gone)[0]["outcome"] == "over"


def test_a_call_without_an_answer_is_repeated_before_the_promise_breaks_then_the_lead_is_told(tx, desk, make):
    ticket_id = _open(tx, desk, make)  # class 2: 30 minutes to react
    for minute in range(1, 30):
        calls.run(tx, desk, NOW_MS + minute * MINUTE_MS, 100)
    assert _whom(tx) == [("olena", "opened"), ("olena", "opened"), ("petro", "opened")]
    assert _told(tx)[1][2][0] == "reason.duty.again" and _told(tx)[2][2][0] == "reason.duty.unanswered"
    events = tables.ticket_events
    kinds = tx.execute(select(events.c.kind, events.c.at_ms).where(events.c.kind == "call")).all()
    assert [at - NOW_MS for _, at in kinds] == [10 * MINUTE_MS, 20 * MINUTE_MS]
    calls.run(tx, desk, NOW_MS + 20 * HOUR_MS, 100)
    assert len(_told(tx, ticket_id)) == 3, "then escalation and reminders go on as ever"


def test_the_contract_may_say_when_a_call_is_repeated(tx, book, make):
    escalation = {"call_again": 120.0, "at_reaction_breach": False}
    desk = _desk(tx, book, escalation=escalation)
    _open(tx, desk, make)
    calls.run(tx, desk, NOW_MS + 119_000, 100)
    assert len(_told(tx)) == 1
    calls.run(tx, desk, NOW_MS + 120_000, 100)
    assert len(_told(tx)) == 2


@pytest.mark.parametrize(
    ("who", "act", "fields", "is_answer"),
    [
        (OLENA, "take", {}, True),
        (OLENA, "note", {"text": "looking"}, True),
        (IRYNA, "note", {"text": "seen, not mine"}, False),
        (IRYNA, "note", {"text": "We look at it.", "is_public": True}, True),
        (Viewer("client-a", "client", "acme"), "note", {"text": "?"}, False),
    ],
)
def test_what_is_an_answer_to_a_call_and_what_is_not(tx, desk, make, who, act, fields, is_answer):
    ticket_id = _open(tx, desk, make)
    acts.perform(tx, desk, act, ticket_id, who, 1, NOW_MS + MINUTE_MS, **fields)
    calls.run(tx, desk, NOW_MS + 15 * MINUTE_MS, 100)
    assert (_call(tx, ticket_id)[0]["outcome"] == "answered") == is_answer
    assert len(_told(tx)) == (1 if is_answer else 2)


def test_an_escalation_ends_the_earlier_call_and_calls_the_next(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    clock_step.run(tx, desk, NOW_MS + 30 * MINUTE_MS)
    assert _whom(tx) == [("olena", "opened"), ("iryna", "escalated")]
    assert [row["outcome"] for row in _call(tx, ticket_id)] == ["passed_on", ""]
    calls.run(tx, desk, NOW_MS + 41 * MINUTE_MS, 100)
    assert _whom(tx)[-1] == ("iryna", "escalated"), "olena hears nothing more of it"


def test_a_consultation_that_nobody_answers_is_asked_again_and_advice_ends_it(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, NOW_MS)
    acts.perform(tx, desk, "consult", ticket_id, OLENA, 2, NOW_MS, text="inode table?")
    acts.perform(tx, desk, "note", ticket_id, OLENA, 3, NOW_MS + 1, text="still stuck", is_public=True)
    calls.run(tx, desk, NOW_MS + 10 * MINUTE_MS, 100)
    assert _whom(tx)[1:] == [("iryna", "consulted")] * 2
    acts.perform(tx, desk, "advise", ticket_id, IRYNA, 4, NOW_MS + 11 * MINUTE_MS, text="xfs_repair -n")
    calls.run(tx, desk, NOW_MS + 5 * HOUR_MS, 100)
    assert _whom(tx)[3:] == [("olena", "advised")]


def test_somebody_who_is_given_a_ticket_hears_of_it_and_who_takes_it_does_not(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    acts.perform(tx, desk, "assign", ticket_id, OLENA, 1, NOW_MS, assignee="iryna")
    acts.perform(tx, desk, "assign", ticket_id, OLENA, 2, NOW_MS, assignee="olena")
    assert _whom(tx)[1:] == [("iryna", "assigned")]


def test_a_client_who_comes_back_calls_whoever_had_the_ticket(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, NOW_MS)
    acts.perform(tx, desk, "resolve", ticket_id, OLENA, 2, NOW_MS, cause="logs", remedy="rotated")
    client = Viewer("client-a", "client", "acme")
    acts.perform(tx, desk, "reopen", ticket_id, client, 3, NOW_MS + HOUR_MS, text="again")
    assert _whom(tx)[1:] == [("olena", "reopened")]


def test_a_reminder_goes_to_who_has_the_ticket_else_to_who_is_on_call(tx, desk, make):
    mine, nobodys = (_open(tx, desk, make, n) for n in (1, 2))
    acts.perform(tx, desk, "take", mine, IRYNA, 1, NOW_MS)
    reason = Reason("reason.clock.remind", {"state": "in_work", "line": 2})
    for ticket_id in (mine, nobodys):
        row = tx.execute(select(tables.tickets).where(tables.tickets.c.id == ticket_id)).mappings().one()
        calls.remind(tx, desk.contract("acme"), row, reason, 1, NOW_MS)
    assert _whom(tx)[2:] == [("iryna", "reminded"), ("olena", "reminded")]


def test_the_step_of_the_tick_reminds_in_the_commit_of_its_event(tx, book, make):
    desk = _desk(tx, book, lines=2, escalation={"remind": 3600.0})
    ticket_id = _open(tx, desk, make)
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, NOW_MS)
    clock_step.run(tx, desk, NOW_MS + HOUR_MS)
    assert _whom(tx)[1:] == [("olena", "reminded")]


QUIET = (
    "{id: olena, name: Олена, role: engineer, line: 2, email: olena@s.example, quiet: {hours: ['22:00-07:00']}}",
    *PEOPLE[1:],
)


def test_quiet_hours_hold_reminders_back_and_no_call_of_who_is_on_call(tx, book, make):
    desk = _desk(tx, book, QUIET)
    night = _at("2026-01-06 03:00")
    ticket_id = _open(tx, desk, make, at_ms=night)
    assert _whom(tx) == [("olena", "opened")]
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, night)
    row = tx.execute(select(tables.tickets)).mappings().one()
    reason = Reason("reason.clock.remind", {"state": "in_work", "line": 2})
    for minute in (10, 20):
        calls.remind(tx, desk.contract("acme"), row, reason, 1, night + minute * MINUTE_MS)
    calls.run(tx, desk, _at("2026-01-06 06:59"), 100)
    assert len(_told(tx)) == 1
    calls.run(tx, desk, _at("2026-01-06 07:00"), 100)
    assert _whom(tx)[1:] == [("olena", "reminded")], "two reminders of one night are one in the morning"


def test_who_is_asked_by_name_sleeps_until_the_morning(tx, book, make):
    desk = _desk(tx, book, QUIET)
    night = _at("2026-01-06 03:00")
    ticket_id = _open(tx, desk, make, at_ms=night, root_cause="unknown", class_=1)
    acts.perform(tx, desk, "consult", ticket_id, IRYNA, 1, night, text="?", assignee="olena")
    assert ("olena", "consulted") not in _whom(tx)
    calls.run(tx, desk, _at("2026-01-06 07:00"), 100)
    assert ("olena", "consulted") in _whom(tx)


def test_a_storm_of_calls_ends_in_one_message_that_names_the_rest(tx, desk, make):
    ids = [_open(tx, desk, make, n, NOW_MS + n) for n in range(30)]
    assert len(_told(tx)) == calls.MOST_CALLS
    for second in range(0, 660, 10):
        calls.run(tx, desk, NOW_MS + second * 1000, 200)
    assert len(_told(tx)) <= calls.MOST_CALLS + 2, "the other twenty, and ten repeats, came together"
    table = tables.outbox
    said = [p for p in tx.execute(select(table.c.payload)).scalars() if "person" in p]
    named = {f"#{p['ticket']['id']}" for p in said}
    for raw in (r for p in said for r in p["reasons"] if r["key"] == "reason.duty.more"):
        named.update(raw["params"]["tickets"].split(", "))
    assert named == {f"#{one}" for one in ids}
    assert all(_call(tx, one)[0]["times"] >= 1 for one in ids), "nobody was left out"


def test_each_way_of_a_person_gets_its_own_row_for_what_it_is_there_for(tx, book, make):
    ways = (
        "ways: [{type: chat, url_file: /etc/v/olena, on: [call]},"
        " {type: webhook, url: 'https://pager.example/x', secret_file: /etc/v/key}]"
    )
    olena = PEOPLE[0].replace("email: olena@s.example", f"email: olena@s.example, {ways}")
    desk = _desk(tx, book, (olena, *PEOPLE[1:]))
    ticket_id = _open(tx, desk, make)
    table = tables.outbox
    rows = [r for r in tx.execute(select(table)).mappings() if "person" in r["payload"]]
    assert [(r["channel"], r["destination"]) for r in rows] == [
        ("chat", "/etc/v/olena"),
        ("webhook", "https://pager.example/x"),
    ]
    assert rows[0]["payload"]["channel"]["url_file"] == "/etc/v/olena"
    assert len({r["message_id"] for r in rows}) == 2
    acts.perform(tx, desk, "take", ticket_id, OLENA, 1, NOW_MS)
    row = tx.execute(select(tables.tickets)).mappings().one()
    calls.remind(
        tx, desk.contract("acme"), row, Reason("reason.clock.remind", {"state": "new", "line": 2}), 1, NOW_MS
    )
    assert [who[0] for who in _whom(tx)] == ["olena"] * 3


def test_a_person_s_ways_come_back_from_the_store_as_they_were_written(tx, book):
    text = "{id: o, role: engineer, ways: [{type: mail, to: a@b.example}], quiet: {hours: ['22:00-07:00'], zone: UTC}}"
    one = loader.parse(text, Person)
    assert (one.ways, one.quiet) == ([Way("mail", "a@b.example")], Quiet(["22:00-07:00"], "UTC"))
    loaded = contracts.Loaded((book.contract("acme"),), (one,))
    assert contracts.apply(tx, loaded, NOW_MS, "t").people == ("o",)
    assert contracts.apply(tx, loaded, NOW_MS, "t").people == (), "the same file changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "{id: o, role: engineer, ways: [{type: mail}]}",
        "{id: o, role: engineer, ways: [{type: chat}]}",
        "{id: o, role: engineer, ways: [{type: webhook, url: 'https://x.example'}]}",
        "{id: o, role: engineer, ways: [{type: mail, to: nobody}]}",
        "{id: o, role: engineer, quiet: {hours: ['25:00-07:00']}}",
        "{id: o, role: engineer, quiet: {hours: ['22:00-07:00'], zone: Mars/Base}}",
    ],
)
def test_a_way_or_quiet_hours_that_cannot_work_are_told_when_the_file_is_read(text):
    with pytest.raises(loader.ConfigError):
        loader.parse(text, Person)


def test_who_cannot_be_called_at_all_is_said_and_the_lead_hears_instead(tx, book, make):
    silent = "{id: olena, role: engineer, line: 2, profiles: [linux]}"
    desk = _desk(tx, book, (silent, *PEOPLE[1:]))
    ticket_id = _open(tx, desk, make)
    assert _told(tx) == [("petro", "opened", ["reason.duty.no_way_lead"])]
    desk = _desk(tx, book, (silent,), at_ms=NOW_MS + 1)
    tx.execute(tables.people.update().where(tables.people.c.id == "petro").values(is_disabled=True))
    other = _open(tx, desk, make, 2)
    events = tables.ticket_events
    said = tx.execute(select(events.c.ticket_id, events.c.body).where(events.c.kind == "call")).all()
    assert [(row.ticket_id, row.body["reason"]["key"]) for row in said] == [
        (ticket_id, "reason.duty.no_way_lead"),
        (other, "reason.duty.no_way"),
    ]


def test_who_reads_the_contract_s_own_mail_is_not_told_twice(tx, book, make):
    shared = PEOPLE[0].replace("olena@s.example", "oncall@acme.example")
    desk = _desk(tx, book, (shared, *PEOPLE[1:]))
    ticket_id = _open(tx, desk, make)
    assert _whom(tx) == []
    calls.run(tx, desk, NOW_MS + 10 * MINUTE_MS, 100)
    assert _whom(tx, ticket_id) == [("olena", "opened")], "but called once more like everybody"


def test_what_a_transaction_does_not_keep_was_never_said(engine, book, make, tx):
    desk = _desk(tx, book)
    nested = tx.begin_nested()
    _open(tx, desk, make)
    nested.rollback()
    assert _told(tx) == [] and tx.execute(select(tables.calls)).first() is None


def test_a_message_says_what_changed_since_the_last_one_to_the_same_receiver(tx, desk, make):
    ticket_id = _open(tx, desk, make)
    acts.perform(
        tx,
        desk,
        "requalify",
        ticket_id,
        OLENA,
        1,
        NOW_MS + MINUTE_MS,
        class_=1,
        root_cause="hw.disk",
        text="SMART",
    )
    table = tables.outbox
    rows = tx.execute(select(table).where(table.c.destination == "oncall@acme.example")).mappings().all()
    assert "since" not in rows[0]["payload"] or not rows[0]["payload"]["since"]
    since = rows[-1]["payload"]["since"]
    assert since["at_ms"] == NOW_MS
    assert {row["field"] for row in since["changes"]} >= {"class", "root_cause", "due"}
    said = messages.compose(rows[-1]["payload"], "").text
    assert "2 – " in said and " → 1 – " in said
    title = texts("uk").at("Europe/Kyiv").get("mail.since", said_at_ms=NOW_MS)
    assert title in said and "05.01.2026 10:00:00" in title


def test_people_are_called_by_their_names_in_what_is_sent(tx, desk, make):
    _open(tx, desk, make)
    row = (
        tx.execute(select(tables.outbox).where(tables.outbox.c.destination == "olena@s.example"))
        .mappings()
        .one()
    )
    said = messages.compose(row["payload"], "https://desk.example")
    assert "Олена" in said.text and "чергує olena" not in said.text
    assert outbox.NOTICE_OF["open"] == row["payload"]["event"]
