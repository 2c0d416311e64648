"""Calls and held letters on both databases: said once, done once, whoever else is at it at the same moment."""

from __future__ import annotations

import email.message
import email.policy
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from collector.store.engine import Store
from config import loader
from ticketing import calls, contracts, intake, tables
from ticketing.duty import Person, Roster, Rota
from ticketing.letters import held, rows
from ticketing.letters.decide import Outcome
from ticketing.letters.rows import Fetched
from ticketing.model import Confidence, Reason, Verdict
from ticketing.queries import Viewer
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
MINUTE_MS = 60_000
ACME = "{id: acme, title: Acme, hosts: [{id: a1, kind: vds, web_environment: true, exclusive_access: true}]}"
OLENA = "{id: olena, role: engineer, line: 2, email: olena@s.example, quiet: {hours: ['22:00-07:00']}}"


def _desk(store: Store) -> contracts.Book:
    roster = Roster([Rota(line, ["olena"]) for line in (1, 2, 3)], [])
    loaded = contracts.Loaded((loader.parse(ACME, Contract),), (loader.parse(OLENA, Person),), roster)

    def write(tx: Connection) -> contracts.Book:
        contracts.apply(tx, loaded, NOW_MS, "test")
        return contracts.current(tx)

    return store.write(write)


def _open(store: Store, book: contracts.Book, n: int) -> int:
    verdict = Verdict(
        2, "os.disk_full", "host:a1", f"host:a1/fs:/{n}", "fs_space", ("a1",), NOW_MS, Confidence.HIGH
    )
    done = store.write(lambda tx: intake.open_or_join(tx, book, verdict, "acme", NOW_MS))
    assert done.ticket_id is not None
    return done.ticket_id


def _together(*works: Callable[[], Any]) -> list[Any]:
    """All at once; what each gave."""
    gate, given = threading.Barrier(len(works)), [None] * len(works)

    def run(n: int) -> None:
        gate.wait()
        given[n] = works[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def test_two_that_look_at_once_say_a_call_once(stores: Callable[..., Store]) -> None:
    one, two = stores(), stores()
    book = _desk(one)
    ids = [_open(one, book, n) for n in range(5)]
    again_ms = NOW_MS + 10 * MINUTE_MS
    _together(*(lambda s=s: s.write(lambda tx: calls.run(tx, book, again_ms, 50)) for s in (one, two)))
    one.write(lambda tx: calls.run(tx, book, again_ms, 50))
    with one.read() as conn:
        table = tables.calls
        rung = conn.execute(select(table.c.ticket_id, table.c.times).order_by(table.c.id)).all()
        sent = conn.execute(select(tables.outbox.c.message_id)).scalars().all()
    assert [tuple(row) for row in rung] == [(ticket_id, 2) for ticket_id in ids]
    assert len(sent) == len(set(sent)) and len(sent) in (6, 7), (
        "five openings, and the repeats in a message each pass"
    )


def test_a_letter_that_two_people_deal_with_is_dealt_with_once(stores: Callable[..., Store]) -> None:
    one, two = stores(), stores()
    book = _desk(one)
    ticket_id = _open(one, book, 0)
    letter = email.message.EmailMessage(policy=email.policy.SMTP)
    letter["From"], letter["To"], letter["Subject"] = "who@far.example", "desk@desk.example", "Help"
    letter.set_content("It is down.")

    def arrive(tx: Connection) -> int:
        rows.take(tx, "box", 1, [Fetched(1, NOW_MS, letter.as_bytes())], NOW_MS)
        number = tx.execute(select(tables.mails.c.id)).scalar_one()
        rows.settle(
            tx, number, Outcome.HELD, Reason("reason.letter.stranger", {"sender": "who@far.example"}), NOW_MS
        )
        return number

    mail_id = one.write(arrive)
    olena = Viewer("olena", "engineer")
    done = _together(
        lambda: one.write(lambda tx: held.put(tx, book, mail_id, olena, ticket_id, NOW_MS)),
        lambda: two.write(lambda tx: held.file(tx, book, mail_id, olena, "acme", 4, NOW_MS)),
    )
    assert sum(isinstance(outcome, int) for outcome in done) == 1, done
    with one.read() as conn:
        events = tables.ticket_events
        of_letter = conn.execute(select(events.c.id).where(events.c.kind == "letter")).all()
        filed = conn.execute(select(tables.tickets.c.id).where(tables.tickets.c.origin == "mail")).all()
        acts = conn.execute(
            select(tables.audit.c.act).where(tables.audit.c.object == f"mail:{mail_id}")
        ).all()
    assert len(of_letter) + len(filed) == 1 and len(acts) == 1
