"""``vartovyi-collector dossier TICKET [--send]``: what a provider would be told, and a person's yes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from collector.commands.desk import Desk, Refused, tell, who
from collector.tick.context import TEXTS_FOLDER
from ticketing import acts, contracts, ledger, provider_cases
from ticketing.acts import Refusal
from ticketing.queries import Viewer
from ticketing.texts import register, texts


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The one verb."""
    one = verb(
        "dossier", _run, "what the provider would be told about a ticket; --send sends it, as ask_provider"
    )
    one.add_argument("ticket", metavar="TICKET", type=int)
    one.add_argument("--send", action="store_true", help="the person's yes; without it nothing is sent")
    one.add_argument("--words", default="", help="a person's own words, before the dossier")


def _run(args: argparse.Namespace) -> int:
    for folder in (TEXTS_FOLDER, TEXTS_FOLDER.parent / "web" / "texts"):  # reasons, and the names of signals
        register(folder)
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        with desk.store.read() as conn:
            told = _told(conn, args.ticket, args.words, now_ms)
        if args.send:
            desk.store.write(lambda tx: _send(tx, args.ticket, args.words, now_ms))
    word = "Sent" if args.send else "Nothing was sent (add --send)"
    tell(
        args,
        told | {"sent": args.send},
        f"To: {', '.join(told['to'])}\nSubject: {told['subject']}\n\n{told['text']}\n{word}.",
    )
    return 0


def _told(conn: Connection, ticket_id: int, words: str, now_ms: int) -> dict[str, Any]:
    found = provider_cases.draft(conn, contracts.current(conn), ticket_id, words, now_ms)
    if found is None:
        raise Refused(
            f"there is no ticket {ticket_id}, or its contract names no desk of the provider (provider_desks)"
        )
    return dataclasses.asdict(found)


def _send(tx: Connection, ticket_id: int, words: str, now_ms: int) -> None:
    row = ledger.ticket_row(tx, ticket_id)
    assert row is not None, "tickets are not deleted while somebody looks"
    actor = Viewer(who(), "admin", from_address="cli")
    text = words or provider_cases.BY_CONTRACT
    book = contracts.current(tx)
    done = acts.perform(
        tx, book, "ask_provider", ticket_id, actor, row["version"], now_ms, text=text, send=True
    )
    if isinstance(done, Refusal):
        raise Refused(texts("en").reason(done.reason))
