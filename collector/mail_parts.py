"""Blocks of a mail that come from around its ticket: what changed just before the fault, and what helped with one like it.

The same that the ticket's page shows, a few lines of it, as of when the mail is made. Our own people read what concerns
them; a contract's channel reads what the client may, since nobody knows who stands behind its address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from collector.web import changes, render, ticket_content
from ticketing import knowledge, queries
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.messages import Part
from ticketing.queries import Viewer
from ticketing.texts import Texts, register, texts

EVENTS = ("opened", "reopened", "requalified", "escalated", "consulted", "assigned")
"""Messages after which somebody begins to work."""
MAX_CHANGES = 5
MAX_LESSONS = 3


def around(conn: Connection, book: Book, payload: Mapping[str, Any]) -> Sequence[Part]:
    """The blocks of a stored message; none where it is about something else, or there is nothing to say."""
    ticket_id = payload["ticket"]["id"]
    if payload["event"] not in EVENTS or not ticket_id:
        return ()
    contract_id = payload["contract"]["id"]
    viewer = Viewer(MACHINE, "engineer") if "person" in payload else Viewer(MACHINE, "client", contract_id)
    view = queries.ticket(conn, viewer, ticket_id, events=1)
    if view is None:
        return ()
    register(render.TEXTS_FOLDER)
    words = texts(payload["language"]).at(payload["contract"]["zone"])
    row = {
        name: getattr(view, name)
        for name in ("id", "contract_id", "root_cause", "affected", "scope", "title")
    }
    before = changes.just_before(conn, book, viewer, view)[:MAX_CHANGES]
    lessons = knowledge.similar(conn, book, viewer, knowledge.about(book, row), MAX_LESSONS)
    found = (
        Part(words.get("mail.before"), tuple(_change(words, one, view.began_at_ms) for one in before)),
        Part(words.get("mail.similar"), tuple(_lesson(words, one) for one in lessons)),
    )
    return tuple(part for part in found if part.lines)


def _change(words: Texts, one: changes.Changed, began_at_ms: int) -> str:
    said = ticket_content.change(words, one, began_at_ms)
    return words.get(
        "mail.before.line", **{name: said[name] for name in ("before", "where", "kind_text", "text")}
    )


def _lesson(words: Texts, one: knowledge.Similar) -> str:
    told = one.lesson
    key = "mail.similar.line" if told.refuted_at_ms is None else "mail.similar.refuted"
    return words.get(key, ticket=told.ticket_id, cause=told.cause, remedy=told.remedy)
