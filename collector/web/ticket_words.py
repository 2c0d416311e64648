"""A ticket in words: summary, cause, people and states in the viewer's language. Shared by pages and API. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from collector.web.clock_lines import ClockLine, clock_lines
from collector.web.tones import SEVERITY_TONES, STATE_TONES
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import Reason
from ticketing.queries import EventView, TicketLine
from ticketing.texts import Texts

MAX_NAMED_HOSTS = 3


@dataclasses.dataclass(frozen=True)
class Row:
    """A ticket as a list shows it."""

    id: int
    summary: str
    severity: str
    severity_text: str
    severity_tone: str
    class_: int
    class_text: str
    state: str
    state_text: str
    state_tone: str
    line: int
    assignee_name: str
    contract_title: str
    hosts: str
    children: int
    updated_at_ms: int
    clocks: Sequence[ClockLine]


def summary(words: Texts, ticket: TicketLine) -> str:
    """The ticket's one line: what a person wrote, else the verdict's summary, else the cause's name."""
    if ticket.title:
        return ticket.title
    if ticket.summary is not None:
        return words.reason(ticket.summary)
    return cause(words, ticket.root_cause)


def cause(words: Texts, key: str) -> str:
    return words.get(f"cause.{key}") if key else ""


def clocks(words: Texts, ticket: TicketLine, book: Book, now_ms: int) -> list[ClockLine]:
    contract = book.contract(ticket.contract_id)
    return clock_lines(words, ticket.clocks, contract.calendar.calendar, now_ms)


def contract_title(book: Book, contract_id: str) -> str:
    """A retired contract is called by its id."""
    contract = book.contracts.get(contract_id)
    return contract.title if contract is not None else contract_id


def row(words: Texts, ticket: TicketLine, book: Book, names: Mapping[str, str], now_ms: int) -> Row:
    """One line of the list; of a ticket that is over only the broken promises are worth a look."""
    named = ", ".join(ticket.affected[:MAX_NAMED_HOSTS])
    if len(ticket.affected) > MAX_NAMED_HOSTS:
        named += " " + words.get("web.ticket.more_hosts", n=len(ticket.affected) - MAX_NAMED_HOSTS)
    shown = [
        c for c in clocks(words, ticket, book, now_ms) if c.state != "stopped" or c.outcome == "breached"
    ]
    return Row(
        id=ticket.id,
        summary=summary(words, ticket),
        severity=ticket.severity,
        severity_text=words.get(f"severity.{ticket.severity}"),
        severity_tone=SEVERITY_TONES.get(ticket.severity, ""),
        class_=ticket.class_,
        class_text=words.get(f"class.{ticket.class_}"),
        state=ticket.state,
        state_text=words.get(f"state.{ticket.state}"),
        state_tone=STATE_TONES.get(ticket.state, ""),
        line=ticket.line,
        assignee_name=names.get(ticket.assignee or "", ticket.assignee or ""),
        contract_title=contract_title(book, ticket.contract_id),
        hosts=named,
        children=0,
        updated_at_ms=ticket.updated_at_ms,
        clocks=shown,
    )


def who(words: Texts, actor: str, names: Mapping[str, str]) -> str:
    return words.get("web.who.machine") if actor == MACHINE else names.get(actor, actor)


def event_text(words: Texts, event: EventView, names: Mapping[str, str]) -> str:
    """What happened, in one sentence."""
    reason = event.reason
    if reason is None:
        return words.get(f"did.{event.kind}", who=who(words, event.actor, names))
    params = dict(reason.params)
    for name in ("who", "assignee"):
        if name in params:
            params[name] = names.get(str(params[name]), params[name])
    text = words.get(reason.key, **params)
    called = event.body.get("call")
    if called:
        why = Reason.from_dict(called["reason"])
        said = {name: names.get(str(value), value) for name, value in why.params.items()}
        text = f"{text} {words.get(why.key, **said)}"
    files = event.body.get("attachments")
    if files:
        named = [f"{file['name']} ({file['bytes']} B)" for file in files]
        text = f"{text} {words.get('web.event.files', files=named, mail=event.body['mail'])}"
    reference = event.body.get("provider_ref")
    return f"{text} {words.get('web.event.provider_ref', number=reference)}" if reference else text


def event_words(event: EventView) -> str:
    """What a person wrote."""
    return str(event.body.get("text") or "")
