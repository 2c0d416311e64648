"""The search box and the page marks of ticket lists: from what a person types to a bounded filter. Pure."""

from __future__ import annotations

import dataclasses

from ticketing.causes import CAUSES
from ticketing.contracts import Book
from ticketing.queries import TicketFilter
from ticketing.texts import Texts

MAX_QUERY = 200


def clean(text: str) -> str:
    """What a person typed, without characters that no database text may hold."""
    return text.replace("\x00", "").strip()[:MAX_QUERY]


def with_text(wanted: TicketFilter, text: str, words: Texts, book: Book) -> TicketFilter:
    """The filter with the words: a host's exact name finds its tickets, other words look into titles and causes."""
    if not text:
        return wanted
    if text in book.hosts:
        return dataclasses.replace(wanted, host_id=text)
    sought = text.casefold()
    # A machine's summary is rendered when it is read, so its words are looked for in the names of causes.
    causes = tuple(key for key in CAUSES if sought in words.get(f"cause.{key}").casefold())
    return dataclasses.replace(wanted, text=text, causes=causes)


def mark(text: str | None) -> tuple[int, int] | None:
    """(updated_at_ms, id) of the row before the page; a mark that is none begins at the first page."""
    left, _, right = (text or "").partition(".")
    if (
        left.isascii()
        and right.isascii()
        and left.isdigit()
        and right.isdigit()
        and len(left) <= 15
        and len(right) <= 16
    ):
        return int(left), int(right)
    return None


def mark_text(after: tuple[int, int]) -> str:
    return f"{after[0]}.{after[1]}"
