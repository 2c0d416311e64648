"""What settings say of external desks, and what a contract says of its mirror in one. Values and their faults only.

A desk (``collector.yaml``, ``desks``) is where and who: address, token, time-outs, the field that holds our key. A
mirror (``contracts/*.yaml``, ``mirrors``) is what of one contract goes there, and which of our words are which of theirs.
Nothing here asks the network: a name that the desk does not know is told when it is used, on the ticket's page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from config.loader import Duration, setting

DESK_NAME = r"[a-z0-9][a-z0-9_-]{0,30}"

STATES = ("new", "in_work", "waiting_client", "waiting_provider", "resolved", "closed", "merged")
"""Our states, as ``ticketing.model.TicketState`` names them."""

FIELDS = ("number", "class", "root_cause", "severity", "line", "scope", "affected", "began", "url")
"""What of a ticket can be told in fields of the desk's own."""

BACK = ("comments", "status", "assignee")

MIRRORED = (
    "opened",
    "reopened",
    "requalified",
    "widened",
    "merged",
    "escalated",
    "breached",
    "note",
    "ask_client",
    "client_answered",
    "ask_provider",
    "provider_answered",
    "assigned",
    "resolved",
    "closed",
)
"""The moments that a mirror is told of unless it says otherwise."""

Faults = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class DeskTerms:
    """One external service desk."""

    type: str = setting(help="what it is", choices=("redmine", "rt"))
    url: str = setting(
        help="address of the desk, without /issues or /REST", example="https://desk.example.org"
    )
    token_file: Path = setting(help="file that holds the API key or token of our user there")
    key_field: str = setting(
        help="field that holds our key: Redmine the custom field's number (used as a filter), RT its name",
        example="VartovyiKey",
        max=100,
    )
    ca_file: Optional[Path] = setting(None, help="certificate authority of its certificate, PEM")
    timeout: Duration = setting(Duration(20.0), help="time-out of one request", min=1, max=60)
    settle: Duration = setting(
        Duration(60.0),
        help="how long a request of unknown outcome may still be at work there before it is looked up",
        min=0,
        max=600,
    )
    every: Duration = setting(Duration(60.0), help="how often it is asked what changed", min=1, max=3600)
    hook_secret_file: Optional[Path] = setting(
        None, help="file with the secret of its webhook (HMAC-SHA256); none: it is only asked"
    )

    def faults(self) -> Faults:
        found: Faults = []
        if not self.url.startswith(("https://", "http://")):
            found.append(("url", f"{self.url!r} is not an http(s) address"))
        if self.type == "redmine" and not self.key_field.isdigit():
            found.append(("key_field", f"{self.key_field!r} is not the number of a custom field"))
        if self.type == "rt" and not _is_field_name(self.key_field):
            found.append(("key_field", f"{self.key_field!r} is not the name of a custom field"))
        return found

    def missing_files(self) -> list[tuple[str, str]]:
        """Files that are named and not there; asked by check-config, not when the settings are read."""
        named = {
            "token_file": self.token_file,
            "ca_file": self.ca_file,
            "hook_secret_file": self.hook_secret_file,
        }
        return [(key, f"{file} is not there") for key, file in named.items() if file and not file.exists()]


@dataclasses.dataclass(frozen=True)
class MirrorTerms:
    """This contract's tickets in an external desk."""

    desk: str = setting(help="which desk, as settings name it", pattern=DESK_NAME, example="office")
    project: str = setting(
        help="Redmine: the project's identifier; RT: the queue", max=200, example="acme-support"
    )
    statuses: dict[str, str] = setting(help="our state -> its status", max=len(STATES))
    tracker: str = setting("", help="Redmine: the tracker's name; empty = the project's first", max=100)
    statuses_back: dict[str, str] = setting({}, help="further statuses of its own -> our state", max=100)
    people: dict[str, str] = setting(
        {}, help="our log-in name -> its user (Redmine: the user's number)", max=1000
    )
    fields: dict[str, str] = setting(
        {}, help="what of ours -> its custom field (Redmine: number, RT: name)", max=len(FIELDS)
    )
    priorities: dict[str, str] = setting(
        {}, help="our severity -> its priority (Redmine: name, RT: number)", max=8
    )
    back: list[str] = setting(list(BACK), help="what comes back from there", choices=BACK, max=len(BACK))
    side: str = setting(
        "staff",
        help="who works in that desk: staff = our people, client = the client's, whose acts are a client's here",
        choices=("staff", "client"),
    )
    on: list[str] = setting(list(MIRRORED), help="which moments are told there", max=32)
    language: str = setting("", help="empty = the contract's", choices=("", "uk", "en"))

    def faults(self) -> Faults:
        found: Faults = [
            ("statuses", f"{state!r} is not a state ({', '.join(STATES)})")
            for state in self.statuses
            if state not in STATES
        ]
        missing = [state for state in ("new", "in_work", "resolved", "closed") if state not in self.statuses]
        if missing:
            found.append(("statuses", f"says nothing of {', '.join(missing)}"))
        found += [
            ("statuses_back", f"{state!r} is not a state that a desk can ask for ({', '.join(STATES[:-1])})")
            for state in self.statuses_back.values()
            if state not in STATES[:-1]
        ]
        found += [
            ("fields", f"{name!r} is none of {', '.join(FIELDS)}")
            for name in self.fields
            if name not in FIELDS
        ]
        theirs = list(self.people.values())
        found += [
            ("people", f"{user!r} is two of our people")
            for user in sorted({u for u in theirs if theirs.count(u) > 1})
        ]
        return found

    def status_of(self, state: str) -> str:
        """Their status for our state; a waiting one without a word of its own is work, a merged one is closed."""
        fallback = "closed" if state == "merged" else "in_work"
        return self.statuses.get(state) or self.statuses[fallback]

    def state_of(self, status: str, ours: str) -> str | None:
        """Our state for their status, None where it has none; where several fit, the one that the ticket has."""
        if self.status_of(ours).casefold() == status.casefold():
            return ours
        for state in STATES[:-1]:
            if self.statuses.get(state, "").casefold() == status.casefold():
                return state
        further = {theirs.casefold(): state for theirs, state in self.statuses_back.items()}
        return further.get(status.casefold())

    def person_of(self, user: str) -> str | None:
        """Our person for their user."""
        return next(
            (ours for ours, theirs in self.people.items() if theirs.casefold() == user.casefold()), None
        )

    def faults_at(self, desk: DeskTerms) -> Faults:
        """What does not fit this kind of desk."""
        if desk.type == "redmine":
            numbers = {**{f"people.{k}": v for k, v in self.people.items()}}
            numbers |= {f"fields.{k}": v for k, v in self.fields.items()}
            return [
                (key, f"{value!r} is not a number, as Redmine wants it")
                for key, value in numbers.items()
                if not value.isdigit()
            ]
        found = [
            (f"priorities.{k}", f"{v!r} is not a number, as RT wants it")
            for k, v in self.priorities.items()
            if not v.isdigit()
        ]
        found += [
            (f"fields.{k}", f"{v!r} is not the name of a custom field")
            for k, v in self.fields.items()
            if not _is_field_name(v)
        ]
        return found + ([("tracker", "is only for Redmine")] if self.tracker else [])


def mirror_faults(mirrors: Iterable[MirrorTerms], notices: Iterable[str]) -> Faults:
    """What a contract's mirrors may not say together: two in one desk, or a moment that nobody knows."""
    found: Faults = []
    seen: set[str] = set()
    known = set(notices)
    for mirror in mirrors:
        if mirror.desk in seen:
            found.append(("mirrors", f"desk {mirror.desk} stands twice"))
        seen.add(mirror.desk)
        found += [("mirrors", f"{name!r} is no moment") for name in mirror.on if name not in known]
    return found


def _is_field_name(text: str) -> bool:
    """What stands inside RT's ``CF.{...}`` without ending it."""
    return bool(text) and not any(c in text for c in "{}'\"\\\n")
