"""Parts of a ticket's page that come from other tickets and from what happened around it, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.web import changes
from collector.web.changes import Changed
from collector.web.durations import short
from collector.web.tones import CALM, INFO, WARN
from ticketing import filing
from ticketing.knowledge import Similar
from ticketing.model import Reason, TicketState
from ticketing.queries import TicketView
from ticketing.texts import Texts

CHANGE_TONES = {
    changes.ACT: WARN,
    changes.PACKAGE: WARN,
    changes.PROVIDER: INFO,
    changes.TICKET: INFO,
}


def similar(words: Texts, one: Similar, names: Mapping[str, str]) -> dict[str, Any]:
    """What solved an earlier ticket, and why it is shown here."""
    told = one.lesson
    return {
        "id": told.ticket_id,
        "at_ms": told.at_ms,
        "cause": told.cause,
        "remedy": told.remedy,
        "who": names.get(told.by, ""),
        "common": [
            words.get(f"web.similar.common.{name}", host=told.host_id, application=told.application)
            for name in one.common
        ],
        "refuted_at_ms": told.refuted_at_ms,
    }


def change(words: Texts, one: Changed, began_at_ms: int) -> dict[str, Any]:
    """One thing that changed, with how long before the fault began."""
    gap_ms = began_at_ms - one.at_ms
    side = "before" if gap_ms >= 0 else "after"
    return {
        "at_ms": one.at_ms,
        "kind_text": words.get(f"web.changed.{one.kind}"),
        "tone": CHANGE_TONES.get(one.kind, CALM),
        "where": one.where,
        "text": changes.in_words(words, one) or "–",
        "before": words.get(f"web.changed.{side}", passed=short(words, gap_ms)),
        "ticket_id": one.ticket_id,
    }


def question(ticket: TicketView) -> dict[str, Any] | None:
    """The question that the client was asked and has not answered; None where nobody waits for the client."""
    if ticket.state != TicketState.WAITING_CLIENT.value:
        return None
    asked = next((event for event in reversed(ticket.events) if event.kind == "ask_client"), None)
    return None if asked is None else {"at_ms": asked.at_ms, "words": str(asked.body.get("text") or "")}


def proposed(words: Texts, ticket: TicketView) -> dict[str, Any] | None:
    """Class and line that line 1 has still to confirm, with the reasons."""
    told = filing.unconfirmed(ticket.origin, ticket.events)
    if told is None:
        return None
    return {
        "class_": told["class"],
        "line": told["line"],
        "reasons": [words.reason(Reason.from_dict(raw)) for raw in told["reasons"]],
        "may": "qualify" in ticket.acts,
    }
