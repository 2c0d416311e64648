"""A desk that people write to: two clients, staff, and a house with a key; letters are made as octets."""

from __future__ import annotations

import email.message
import email.policy

import pytest
from sqlalchemy import select

from config import loader
from ticketing import contracts, tables
from ticketing.letters import acting, rows
from ticketing.letters.answers import Bounds
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
KEY = b"k" * 32

ACME = """
id: acme
title: Acme
language: uk
hosts:
  - {id: a1, kind: vds, web_environment: true, exclusive_access: true, addresses: [192.0.2.1],
     topology: {provider: alfa, node: n7, plan: VDS-4}}
channels:
  - {type: mail, to: [oncall@acme.example], on: [opened, note, client_answered, provider_answered]}
provider_desks:
  - {provider: alfa, to: [support@alfa.example], client_number: "K-77", language: en, remind_after: 4 h, reminders: 2}
"""

BETA = """
id: beta
title: Beta
language: en
hosts: [{id: b1, kind: shared}]
"""

PEOPLE = (
    "{id: olena, role: engineer, email: olena@desk.example}",
    "{id: client-a, name: Ірина, role: client, contract: acme, email: Iryna@Acme.example}",
    "{id: client-b, role: client, contract: beta, language: en, email: ben@beta.example}",
    "{id: twin-1, role: client, contract: acme, email: twin@both.example}",
    "{id: twin-2, role: client, contract: beta, email: twin@both.example}",
)


@pytest.fixture
def book(tx):
    loaded = contracts.Loaded(
        (loader.parse(ACME, Contract), loader.parse(BETA, Contract)),
        tuple(loader.parse(text, contracts.Person) for text in PEOPLE),
    )
    contracts.apply(tx, loaded, NOW_MS - 1000, "test")
    return contracts.current(tx)


@pytest.fixture
def house():
    return acting.House(
        KEY, frozenset({"desk@desk.example"}), answers=Bounds(language="en", contact="+380 44 000")
    )


def letter(sender="iryna@acme.example", subject="Сайт", text="Не працює оплата", **headers):
    """Octets of a plain letter; header names with ``_`` for ``-``."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = sender
    message["To"] = headers.pop("To", "desk@desk.example")
    message["Subject"] = subject
    message["Message-ID"] = headers.pop("Message_ID", f"<{abs(hash((sender, subject, text)))}@mua.example>")
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message.as_bytes()


class Mailroom:
    """Takes letters as the mailbox would give them, and acts on them."""

    def __init__(self, tx, book, house):
        self.tx, self.book, self.house, self.uid, self.now_ms = tx, book, house, 0, NOW_MS

    def take(self, raw, **values):
        self.uid += 1
        rows.take(
            self.tx, "box", 7, [rows.Fetched(self.uid, self.now_ms - 60_000, raw, **values)], self.now_ms
        )

    def bring(self, raw, **values):
        self.take(raw, **values)
        return acting.act_on_next(self.tx, self.book, self.house, self.now_ms)

    def ticket(self, ticket_id):
        return self.tx.execute(select(tables.tickets).filter_by(id=ticket_id)).mappings().one()

    def events(self, ticket_id, kind=None):
        wanted = (
            select(tables.ticket_events).filter_by(ticket_id=ticket_id).order_by(tables.ticket_events.c.id)
        )
        found = list(self.tx.execute(wanted).mappings())
        return [e for e in found if kind is None or e["kind"] == kind]

    def outbox(self, **values):
        wanted = select(tables.outbox).filter_by(**values).order_by(tables.outbox.c.id)
        return list(self.tx.execute(wanted).mappings())


@pytest.fixture
def room(tx, book, house):
    return Mailroom(tx, book, house)
