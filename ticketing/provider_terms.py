"""What a contract says of a provider's own desk: how it is written to, in which language, and when it is reminded."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Optional

from config.loader import Duration, setting

Faults = list[tuple[str, str]]

SLOTS = ("subject", "text", "client_number", "ticket", "key")
"""What a template may name in braces."""

_SLOT = re.compile(r"\{([^{}]*)\}")
_ADDRESS = re.compile(r"[^\s@<>\",;]{1,64}@[A-Za-z0-9.-]{1,253}")


@dataclasses.dataclass(frozen=True)
class SecretFile:
    """A header's value that lies in a file, so that it stands in no contract and no log."""

    file: str = setting(help="file that holds the secret, readable by the collector only")
    prefix: str = setting("", help="what stands before it", example="Bearer ", max=64)


@dataclasses.dataclass(frozen=True)
class ProviderApi:
    """A provider's ticket API: one request, described by a template instead of by code."""

    url: str = setting(help="where a ticket is opened", pattern=r"https?://.{1,400}")
    body: Any = setting(
        help="the JSON that is sent; texts may hold {subject}, {text}, {client_number}, {ticket}, {key}"
    )
    method: str = setting("POST", help="HTTP method", choices=("POST", "PUT"))
    headers: dict[str, str] = setting({}, help="headers without secrets", max=20)
    secret_headers: dict[str, SecretFile] = setting({}, help="headers whose value lies in a file", max=10)
    key_header: str = setting(
        "Idempotency-Key", help="header that carries our key, the same over retries; empty: none", max=64
    )
    number: str = setting("", help="where their number stands in the answer", example="ticket.id", max=200)
    timeout: Duration = setting(Duration(15.0), help="time-out of the request", min=1, max=30)

    def faults(self) -> Faults:
        found = [
            ("body", f"{{{slot}}} is none of {', '.join(SLOTS)}")
            for text in texts_in(self.body)
            for slot in _SLOT.findall(text)
            if slot not in SLOTS
        ]
        if not isinstance(self.body, dict):
            found.append(("body", "is no mapping"))
        elif not any("{text}" in text for text in texts_in(self.body)):
            found.append(("body", "names {text} nowhere: the dossier would be lost"))
        return found


@dataclasses.dataclass(frozen=True)
class ProviderDesk:
    """Where line 4 turns to."""

    provider: str = setting(
        "", help="hoster as in the hosts' topology; empty: whoever has no desk of its own here"
    )
    to: list[str] = setting([], help="mail addresses of its support", max=8)
    api: Optional[ProviderApi] = setting(None, help="its ticket API, instead of mail")
    client_number: str = setting("", help="the client's number at the provider", max=100)
    language: str = setting("en", help="language of the dossier", choices=("uk", "en"))
    send: str = setting(
        "after_yes",
        help="after_yes: a person sends the dossier; by_itself: the desk does, once the ticket stood for `after`",
        choices=("after_yes", "by_itself"),
    )
    after: Duration = setting(
        Duration(300.0), help="by_itself: how long a ticket of class 1 stands before", min=0, max=86_400
    )
    remind_after: Duration = setting(
        Duration(4 * 3600.0), help="unanswered so long: a reminder", min=300, max=30 * 86_400
    )
    reminders: int = setting(3, help="most reminders", min=0, max=20)
    number_pattern: str = setting(
        "",
        help="how its number looks in a subject; the first group counts. Empty: [ABC-123], #123, ticket 123",
        max=200,
        example=r"ALFA-(\d+)",
    )

    def faults(self) -> Faults:
        found: Faults = [("to", f"{a!r} is not a mail address") for a in self.to if not _ADDRESS.fullmatch(a)]
        if bool(self.to) == (self.api is not None):
            found.append(("to", "name either addresses (to) or an api"))
        try:
            re.compile(self.number_pattern)
        except re.error as error:
            found.append(("number_pattern", f"is no regular expression: {error}"))
        return found

    @property
    def name(self) -> str:
        """How the desk is called in rows and logs."""
        return (self.provider or "provider")[:64]


_NUMBERS = (
    r"\[#?([A-Z]{1,10}-?\d{2,12})\]",
    r"\[[^\]]{0,40}#(\d{2,12})\]",
    r"(?:ticket|case|request|incident|заявк\w*|звернення|запит\w*)\s*(?:id|no\.?|number|номер)?\s*[:#№]?\s*([A-Z]{0,10}-?\d{2,12})",
    r"#(\d{3,12})",
)


def number_in(text: str, pattern: str = "", ours: int = 0) -> str:
    """The provider's number in a subject or a first line; "" where none is sure. Our own number is none of theirs."""
    text = re.sub(r"\[[tp]\d+-[a-z2-7]{16}\]", "", text[:500])
    for one in (pattern,) if pattern else _NUMBERS:
        for found in re.finditer(one, text, re.IGNORECASE):
            number = (found.group(1) if found.re.groups else found.group(0)) or ""
            if number and number != str(ours):
                return number[:100]
    return ""


def texts_in(value: Any, depth: int = 0) -> list[str]:
    """All texts of a template."""
    if isinstance(value, str):
        return [value]
    if depth > 8:
        return []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in texts_in(item, depth + 1)]


def filled(value: Any, slots: dict[str, str], depth: int = 0) -> Any:
    """The template with its slots filled in; what is filled in is not searched for slots again."""
    if isinstance(value, str):
        return _SLOT.sub(lambda slot: slots.get(slot.group(1), slot.group(0)), value)
    if isinstance(value, dict) and depth <= 8:
        return {key: filled(item, slots, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and depth <= 8:
        return [filled(item, slots, depth + 1) for item in value]
    return value
