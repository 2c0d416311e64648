"""The forms of a ticket's acts: which fields each act shows, what a person typed, what was wrong with it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from collector.api.shapes import MAX_ID
from collector.web.paging import number
from ticketing import filing
from ticketing.causes import CAUSES
from ticketing.model import CLASSES, LINES
from ticketing.people import Person
from ticketing.queries import TicketView, Viewer
from ticketing.terms import Contract
from ticketing.texts import Texts

Options = Sequence[tuple[Any, str]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """One field of an act."""

    name: str
    kind: str = "text"
    is_required: bool = False
    label: str = ""
    """Text key under ``web.field.``; empty = the field's name."""


TEXT = Spec("text", "textarea")
MUST_TEXT = Spec("text", "textarea", True)

FIELDS: Mapping[str, tuple[Spec, ...]] = {
    "take": (),
    "note": (MUST_TEXT, Spec("is_public", "checkbox")),
    "ask_client": (Spec("text", "textarea", True, "question"),),
    "client_answered": (Spec("text", "textarea", True, "answer"),),
    "ask_provider": (
        Spec("text", "textarea", True, "question"),
        Spec("provider_ref"),
        Spec("send", "checkbox"),
    ),
    "provider_answered": (Spec("text", "textarea", True, "answer"),),
    "escalate": (Spec("line", "select", True), TEXT),
    "consult": (
        Spec("text", "textarea", True, "to_colleague"),
        Spec("line", "select", True),
    ),
    "advise": (Spec("text", "textarea", True, "advice"),),
    "assign": (Spec("assignee", "select", True), TEXT),
    "qualify": (Spec("class_", "select", True, "class"), Spec("line", "select", True), TEXT),
    "requalify": (Spec("class_", "select", True, "class"), Spec("root_cause", "select", True), MUST_TEXT),
    "resolve": (Spec("cause", "text", True), Spec("remedy", "text", True), TEXT),
    "merge": (Spec("into", "number", True), TEXT),
    "reopen": (MUST_TEXT,),
    "close": (),
}
"""Every act that a person has; a test compares it with ticketing.transitions."""

STAFF_ONLY_FIELDS = frozenset({"is_public"})
"""A client's word is always seen by the client."""

NUMBERS = {"line": (LINES[0], LINES[-1]), "class_": (CLASSES[0], CLASSES[-1]), "into": (1, MAX_ID)}
MAX_SHORT = 200
MAX_LONG = 20_000


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An act that was not done: what the person typed stays in the form."""

    act: str
    typed: Mapping[str, str]
    fault: str = ""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class FormField:
    name: str
    kind: str
    label: str
    is_required: bool
    value: Any
    options: Options
    fault: str


@dataclasses.dataclass(frozen=True)
class ActForm:
    act: str
    title: str
    fields: Sequence[FormField]
    seen_version: int
    seen_event: int
    is_open: bool = False
    is_held: bool = False
    """Holds words that exist nowhere else: the live script must leave it alone."""
    fault: str = ""


def typed_fields(act: str, form: Mapping[str, Any]) -> dict[str, str]:
    """What came for the fields of this act, bounded."""
    specs = FIELDS.get(act, ())
    return {
        s.name: str(form.get(s.name, ""))[: MAX_LONG if s.kind == "textarea" else MAX_SHORT] for s in specs
    }


def act_fields(act: str, typed: Mapping[str, str]) -> dict[str, Any]:
    """The typed words as ``ticketing.acts.perform`` takes them; a number that is none stays words, and is refused there."""
    fields: dict[str, Any] = {}
    for spec in FIELDS.get(act, ()):
        text = typed.get(spec.name, "").strip()
        if spec.kind == "checkbox":
            fields[spec.name] = bool(text)
        elif spec.name in NUMBERS:
            parsed = number(text, *NUMBERS[spec.name])
            fields[spec.name] = parsed if parsed is not None else (text or None)
        elif text:
            fields[spec.name] = text
    return fields


def act_forms(
    words: Texts,
    ticket: TicketView,
    contract: Contract,
    staff: Sequence[Person],
    viewer: Viewer,
    attempt: Attempt | None = None,
) -> list[ActForm]:
    """The forms for the acts that this person may do now."""
    seen_event = ticket.events[-1].id if ticket.events else 0
    proposed = filing.unconfirmed(ticket.origin, ticket.events)
    forms = []
    for act in ticket.acts:
        if act not in FIELDS or (act in ("escalate", "consult") and ticket.line >= contract.lines):
            continue
        if act == "qualify" and proposed is None:
            continue  # the machine's verdict is changed with a why, and what is confirmed is confirmed
        if act == "take" and ticket.assignee == viewer.person_id:
            continue
        is_answer = viewer.is_client and act == "client_answered"
        mine = attempt if attempt is not None and attempt.act == act else None
        fields = [
            _field(words, act, spec, ticket, contract, staff, mine)
            for spec in FIELDS[act]
            if not (viewer.is_client and spec.name in STAFF_ONLY_FIELDS)
        ]
        forms.append(
            ActForm(
                act=act,
                title=words.get("web.ticket.answer" if is_answer else f"act.{act}"),
                fields=fields,
                seen_version=ticket.version,
                seen_event=seen_event,
                is_open=mine is not None
                or act == "qualify"
                or (viewer.is_client and act == "client_answered"),
                is_held=mine is not None and any(mine.typed.values()),
                fault=mine.fault if mine else "",
            )
        )
    # What waits for this person, or was just tried, stands first.
    return sorted(forms, key=lambda form: not form.is_open)


def _field(
    words: Texts,
    act: str,
    spec: Spec,
    ticket: TicketView,
    contract: Contract,
    staff: Sequence[Person],
    mine: Attempt | None,
) -> FormField:
    value = mine.typed.get(spec.name, "") if mine else _proposed(words, act, spec.name, ticket, contract)
    fault = mine.fields.get(spec.name.rstrip("_"), "") if mine else ""
    label = words.get(f"web.field.{spec.label or spec.name}")
    options = _options(words, act, spec.name, ticket, contract, staff) if spec.kind == "select" else ()
    return FormField(spec.name, spec.kind, label, spec.is_required, value, options, fault)


def _proposed(words: Texts, act: str, name: str, ticket: TicketView, contract: Contract) -> Any:
    """What most people would choose here."""
    if act == "qualify":
        told = filing.unconfirmed(ticket.origin, ticket.events) or {}
        line = min(max(ticket.line, int(told.get("line", ticket.line))), contract.lines)
        return {"class_": ticket.class_, "line": line}.get(name, "")
    if name == "line":
        return ticket.line + 1
    if name == "class_":
        return ticket.class_
    if name == "root_cause":
        return ticket.root_cause
    if name == "cause" and act == "resolve" and ticket.origin == "machine":
        return words.get(f"cause.{ticket.root_cause}")
    return ""


def _options(
    words: Texts, act: str, name: str, ticket: TicketView, contract: Contract, staff: Sequence[Person]
) -> list[tuple[Any, str]]:
    if name == "line":
        lowest = ticket.line if act == "qualify" else ticket.line + 1
        return [
            (line, words.get("web.tickets.line", line=line)) for line in range(lowest, contract.lines + 1)
        ]
    if name == "class_":
        return [(class_, f"{class_} · " + words.get(f"class.{class_}")) for class_ in CLASSES]
    if name == "root_cause":
        return sorted(
            ((key, words.get(f"cause.{key}")) for key in CAUSES), key=lambda option: option[1].casefold()
        )
    # Those whose trade the cause needs come first.
    ranked = sorted(staff, key=lambda p: (ticket.profile not in p.profiles, p.name.casefold()))
    return [(p.id, f"{p.name} · {', '.join(p.profiles)}" if p.profiles else p.name) for p in ranked]
