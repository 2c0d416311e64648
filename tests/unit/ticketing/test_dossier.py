"""Line 4 outward: what the provider reads, when it goes out, who reminds, and that nothing goes out twice."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import select

from config import loader
from config.loader import ConfigError
from tests.unit.ticketing.conftest import make_verdict
from ticketing import acts, contracts, dossier, intake, ledger, line4, provider_cases, tables, texts
from ticketing.model import Confidence, Reason
from ticketing.provider_terms import ProviderDesk, filled, number_in
from ticketing.queries import Viewer
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
HOUR = 3_600_000
OLENA = Viewer("olena", "engineer")

ACME = """
id: acme
title: Акме
language: uk
lines: {lines}
calendar: {{zone: Europe/Kyiv}}
hosts:
  - {{id: a1, addresses: [192.0.2.1], topology: {{provider: alfa, node: n7, plan: VDS-4}}}}
  - {{id: a2, addresses: [192.0.2.2], topology: {{provider: beta}}}}
provider_desks:
  - {{provider: alfa, to: [support@alfa.example, noc@alfa.example], client_number: K-77, language: {language}, send: {send},
      after: 5 min, remind_after: 4 h, reminders: 2}}
"""


@pytest.fixture(autouse=True)
def strict():
    texts.set_strict(True)
    yield
    texts.set_strict(False)


def make_book(tx, lines=4, language="en", send="after_yes"):
    contract = loader.parse(ACME.format(lines=lines, language=language, send=send), Contract)
    people = (loader.parse("{id: olena, role: engineer}", contracts.Person),)
    contracts.apply(tx, contracts.Loaded((contract,), people), NOW_MS, "test")
    return contracts.current(tx)


def open_ticket(tx, book, host="a1", **changes):
    verdict = make_verdict(
        class_=1,
        root_cause="virt.cpu_contention",
        scope=f"host:{host}",
        subject=f"host:{host}",
        family="cpu",
        affected=(host,),
        began_at_ms=NOW_MS - 25 * 60_000,
        reasons=(
            Reason("reason.letter.provider", {"sender": "a reason for the provider's side"}, 2.0, "inside"),
            Reason("reason.letter.bounce", {}, -1.0, "inside"),
        ),
        summary=Reason("cause.virt.cpu_contention"),
        confidence=Confidence.HIGH,
    )
    done = intake.open_or_join(tx, book, dataclasses.replace(verdict, **changes), "acme", NOW_MS)
    intake.add_evidence(tx, done.ticket_id, EVIDENCE, NOW_MS)
    return done.ticket_id


EVIDENCE = {
    "host": "a1",
    "facts": {
        "cpu.steal_pct": {"now": 63.2, "before": 2.1, "usual": 2.4, "unit": "%"},
        "cpu.user_pct": {"now": 12.0, "usual": 13.0, "unit": "%"},
        "fs.used_pct": {"now": 97.0, "unit": "%"},
        "disk.iops": {"now": 80.0, "usual": 95.0, "unit": "1/s"},
        "net.in_mbps": {"now": 900.0, "usual": 10.0, "unit": "Mbit/s"},
        "fs.ro": {"now": False, "unit": "bool"},
    },
    "log": [
        {"at_ms": NOW_MS - 60_000, "source": "kernel", "text": "watchdog: BUG: soft lockup"},
        {"at_ms": NOW_MS, "source": "nginx.service", "text": "client 203.0.113.5 secret order 17"},
    ],
    "series": {"cpu.steal_pct": [[NOW_MS - 60_000, 2.0], [NOW_MS, 63.2]]},
}


def row_of(tx, ticket_id):
    return ledger.ticket_row(tx, ticket_id)


def ask(tx, book, ticket_id, now_ms=NOW_MS, **fields):
    row = row_of(tx, ticket_id)
    return acts.perform(
        tx,
        book,
        "ask_provider",
        ticket_id,
        OLENA,
        row["version"],
        now_ms,
        **({"text": "Look at n7.", "send": True} | fields),
    )


def outbox(tx, channel="mail"):
    wanted = select(tables.outbox).filter_by(channel=channel).order_by(tables.outbox.c.id)
    return list(tx.execute(wanted).mappings())


def words_of(told):
    return "\n".join(
        line
        for part in told.parts
        for line in [
            part["title"],
            *part.get("paragraphs", ()),
            *part.get("lines", ()),
            *(f"{a}: {b}" for a, b in part.get("table", ())),
        ]
    )


@pytest.mark.parametrize("language", ["uk", "en"])
def test_the_dossier_says_what_since_when_whose_and_what_it_is_not(tx, language):
    book = make_book(tx, language=language)
    ticket_id = open_ticket(tx, book)
    proposed = provider_cases.propose(tx, book, row_of(tx, ticket_id), NOW_MS)
    said = words_of(proposed.dossier)
    for piece in (
        "K-77",
        "192.0.2.1",
        "n7",
        "VDS-4",
        "63",
        "soft lockup",
        "a reason for the provider's side",
    ):
        assert piece in said, piece
    instants = {"uk": ("05.01.2026 07:35:00 UTC", "05.01.2026 09:35:00 EET")}
    utc, local = instants.get(language, ("2026-01-05 07:35:00 UTC", "2026-01-05 09:35:00 EET"))
    assert utc in said and local in said
    assert "secret order" not in said, "only the kernel's lines go out"
    assert "K-77" in proposed.dossier.subject


def test_only_what_the_facts_show_is_ruled_out(tx):
    book = make_book(tx)
    told = provider_cases.propose(tx, book, row_of(tx, open_ticket(tx, book)), NOW_MS).dossier
    (lines,) = [part["lines"] for part in told.parts if part["title"] == "What we have ruled out"]
    # The unit is said in words where the pages' words are loaded.
    assert [line.partition(":")[0] for line in lines] == [
        "Our own processor load",
        "More disk operations of our own",
    ]
    assert "12" in lines[0] and "80" in lines[1] and "95" in lines[1]


def test_a_persons_yes_sends_it_to_each_receiver_once_and_starts_the_providers_clock(tx):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    assert not isinstance(ask(tx, book, ticket_id), acts.Refusal)
    assert [row["destination"] for row in outbox(tx)] == ["support@alfa.example", "noc@alfa.example"]
    assert len({row["message_id"] for row in outbox(tx)}) == 2
    assert outbox(tx)[0]["payload"]["letter"]["paragraphs"] == ["Look at n7."]
    clocks = {
        c["kind"]: c["state"]
        for c in tx.execute(select(tables.clocks).filter_by(ticket_id=ticket_id)).mappings()
    }
    assert clocks == {"reaction": "stopped", "resolution": "running", "provider": "running"}
    case = provider_cases.case(tx, ticket_id)
    assert case["remind_at_ms"] == NOW_MS + 4 * HOUR and case["receivers"] == [
        "support@alfa.example",
        "noc@alfa.example",
    ]
    kinds = [
        e["kind"] for e in tx.execute(select(tables.ticket_events).filter_by(ticket_id=ticket_id)).mappings()
    ]
    assert kinds[-2:] == ["ask_provider", "dossier"]


def test_without_a_yes_nothing_goes_out(tx):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    provider_cases.draft(tx, book, ticket_id, "", NOW_MS)
    ask(tx, book, ticket_id, send=False)
    line4.run(tx, book, NOW_MS + 100 * HOUR, 100)
    assert outbox(tx) == [] and provider_cases.case(tx, ticket_id) is None


def test_a_server_of_a_provider_without_a_desk_is_refused_with_the_reason_and_nothing_changes(tx):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book, host="a2")
    refusal = ask(tx, book, ticket_id)
    assert isinstance(refusal, acts.Refusal) and "provider_desks" in texts.texts("uk").reason(refusal.reason)
    assert row_of(tx, ticket_id)["state"] == "new"


@pytest.mark.parametrize("lines", [4, 2, 1])
def test_where_the_contract_says_so_it_goes_by_itself_once_whatever_lines_there_are(tx, lines):
    book = make_book(tx, lines=lines, send="by_itself")
    ticket_id = open_ticket(tx, book)
    assert line4.run(tx, book, NOW_MS + 299_000, 100)["dossiers"] == 0
    assert line4.run(tx, book, NOW_MS + 300_000, 100)["dossiers"] == 1
    assert line4.run(tx, book, NOW_MS + 301_000, 100)["dossiers"] == 0
    assert len(outbox(tx)) == 2 and outbox(tx)[0]["payload"]["letter"]["paragraphs"] == []
    row = row_of(tx, ticket_id)
    assert row["state"] == "waiting_provider" and row["assignee"] is None
    assert row["reacted_at_ms"] is None, "the machine's act is no reaction of a person"


@pytest.mark.parametrize(
    "changes", [{"provisional": True}, {"class_": 2, "root_cause": "os.cpu_demand"}, {"host": "a2"}]
)
def test_what_is_not_sure_to_be_the_providers_does_not_go_by_itself(tx, changes):
    book = make_book(tx, send="by_itself")
    if changes.get("class_") == 2:
        done = intake.open_or_join(tx, book, make_verdict(**changes), "acme", NOW_MS)
        assert done.ticket_id is None or done.ticket_id
    else:
        open_ticket(tx, book, **changes)
    assert line4.run(tx, book, NOW_MS + HOUR, 100)["dossiers"] == 0 and outbox(tx) == []


def test_an_unanswered_provider_is_reminded_so_often_and_no_more(tx):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    ask(tx, book, ticket_id)
    sent = [line4.remind_due(tx, book, NOW_MS + hours * HOUR, 100) for hours in (3, 4, 4, 7, 8, 12, 100)]
    assert sent == [0, 1, 0, 0, 1, 0, 0]
    rows = outbox(tx)
    assert len(rows) == 6 and len({row["message_id"] for row in rows}) == 6
    assert "reminder 1" in str(rows[2]["payload"]["letter"]) and "reminder 2" in str(
        rows[4]["payload"]["letter"]
    )
    assert rows[2]["payload"]["in_reply_to"] == rows[0]["message_id"]


@pytest.mark.parametrize("ended_by", ["answer", "resolve"])
def test_nobody_is_reminded_of_what_nobody_waits_for(tx, ended_by):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    ask(tx, book, ticket_id)
    row = row_of(tx, ticket_id)
    if ended_by == "answer":
        acts.perform(
            tx,
            book,
            "provider_answered",
            ticket_id,
            OLENA,
            row["version"],
            NOW_MS,
            text="fixed",
            provider_ref="ALFA-9",
        )
        assert provider_cases.case(tx, ticket_id)["number"] == "ALFA-9"
    else:
        acts.perform(tx, book, "resolve", ticket_id, OLENA, row["version"], NOW_MS, cause="x", remedy="y")
    assert line4.remind_due(tx, book, NOW_MS + 5 * HOUR, 100) == 0
    assert provider_cases.due(tx, NOW_MS + 1000 * HOUR, 10) == []


def test_a_provider_may_answer_when_the_ticket_waits_for_the_client_meanwhile(tx):
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    ask(tx, book, ticket_id)
    row = row_of(tx, ticket_id)
    acts.perform(tx, book, "ask_client", ticket_id, OLENA, row["version"], NOW_MS, text="?")
    assert line4.remind_due(tx, book, NOW_MS + 4 * HOUR, 100) == 1, "it still owes"
    source = {"from": "mike@alfa.example", "attachments": []}
    row = row_of(tx, ticket_id)
    line4.answered(
        tx, book, row, NOW_MS + 5 * HOUR, text="done", subject="[ALFA-1]", is_receipt=False, source=source
    )
    assert row_of(tx, ticket_id)["state"] == "waiting_client"
    clock = tx.execute(select(tables.clocks).filter_by(ticket_id=ticket_id, kind="provider")).mappings().one()
    assert clock["state"] == "paused" and provider_cases.case(tx, ticket_id)["remind_at_ms"] is None


NUMBERS = {
    "Re: [ALFA-5521] received": "ALFA-5521",
    "[alfa.example #88123] Ticket created": "88123",
    "Заявка № 4711 прийнята": "4711",
    "Your ticket 99182 has been opened": "99182",
    "Re: The node failed (client K-77)": "",
    "Re: the price is 300": "",
    "Re: x [t12-abcdefghijklmnop] #12": "",
}


@pytest.mark.parametrize("subject", NUMBERS)
def test_their_number_is_read_from_a_subject_and_ours_is_not_theirs(subject):
    assert number_in(subject, ours=12) == NUMBERS[subject]


def test_their_own_pattern_stands_above_the_usual_ones():
    assert number_in("case CS0012345 / #77", r"CS(\d+)") == "0012345" and number_in("#77", r"CS(\d+)") == ""


def test_what_is_filled_in_is_not_searched_for_slots_again():
    assert filled({"a": ["{text}", 1, "{subject}"]}, {"text": "{key}", "subject": "s", "key": "secret"}) == {
        "a": ["{key}", 1, "s"]
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{provider: alfa}", "name either addresses (to) or an api"),
        ("{to: [nobody]}", "is not a mail address"),
        ("{to: [a@b.example], number_pattern: '('}", "no regular expression"),
        ("{api: {url: 'https://x.example', body: {s: '{subject}'}}}", "names {text} nowhere"),
        ("{api: {url: 'https://x.example', body: {s: '{text} {what}'}}}", "{what} is none of"),
        ("{to: [a@b.example], send: now}", "send"),
    ],
)
def test_a_desk_that_makes_no_sense_is_told_what_does(text, word):
    with pytest.raises(
        ConfigError,
        match=word.replace("(", r"\(").replace(")", r"\)").replace("{", r"\{").replace("}", r"\}"),
    ):
        loader.parse(text, ProviderDesk)


def test_another_clients_server_is_not_told(tx):
    """A node's ticket may hold servers of two clients: each provider letter names its own client's only."""
    book = make_book(tx)
    ticket_id = open_ticket(tx, book)
    row = dict(row_of(tx, ticket_id)) | {"affected": ["a1", "foreign-9"]}
    told = dossier.compose(row, book.contract("acme"), book.contract("acme").provider_desks[0], [], NOW_MS)
    assert "foreign-9" not in words_of(told)
