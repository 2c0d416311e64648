"""The adapter contract: what an external desk must be able to do, and the few ways in which it may fail.

An adapter speaks one desk's language and decides nothing. Every write of ours carries a marker (the message's id) in its
text, so that whoever does not know the outcome can look; ``Fault`` says whether the desk may have done it all the same.
A new desk is one file with these verbs, and passes ``tests/conformance/mirrors`` against the real thing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

MAX_COMMENT = 30_000
MAX_CHANGES = 500
"""Most changes of one ticket that are read at once; the rest comes with the next look."""

_MARKER = re.compile(r"\[(vt-[0-9]+-[0-9a-z-]{1,60})\]")


class Fault(Exception):
    """The desk did not do what was asked, or we do not know whether it did."""

    def __init__(
        self, why: str, *, is_known: bool = False, retry_after_s: float | None = None, is_down: bool = False
    ) -> None:
        super().__init__(why)
        self.is_known = is_known
        """It certainly did nothing."""
        self.retry_after_s = retry_after_s
        self.is_down = is_down
        """The desk itself is away or overloaded: everything else that waits for it may wait too."""


class Gone(Fault):
    """The ticket is not there any more, or not for us."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Fields as they should be there, in the desk's words; None = leave alone."""

    status: str | None = None
    assignee: str | None = None


@dataclasses.dataclass(frozen=True)
class Draft:
    """A ticket to be made."""

    key: str
    project: str
    title: str
    text: str
    wanted: Wanted
    tracker: str = ""
    priority: str = ""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comment:
    """Something that was written there."""

    id: str
    """The desk's own id of the change; it never changes."""
    author: str
    author_name: str
    text: str
    is_internal: bool
    at_ms: int


@dataclasses.dataclass(frozen=True)
class Remote:
    """A ticket as it stands there."""

    id: str
    status: str
    assignee: str
    """Their user; "" = nobody."""
    assignee_name: str
    project: str
    comments: tuple[Comment, ...]
    """Those that were not known yet, oldest first."""
    last_by: str = ""
    """Who changed it last, as people there call them; "" where the desk does not say."""


@dataclasses.dataclass(frozen=True)
class Changed:
    """Tickets that changed since a cursor: id and a stamp that differs after each change."""

    stamps: Mapping[str, str]
    cursor: str


class Desk(Protocol):
    """One external desk. Every verb raises ``Fault`` when it fails, within the desk's time-out a request."""

    def me(self) -> str:
        """Our own user there: the author of our echoes."""
        ...

    def find(self, key: str) -> list[str]:
        """Ids of all tickets that hold our key, oldest first. Read after write: what was committed is found."""
        ...

    def create(self, draft: Draft) -> str:
        """Make a ticket; its id. Fields that the desk does not take at birth are left to ``write``."""
        ...

    def read(self, remote_id: str, known: Collection[str] = ()) -> Remote:
        """The ticket with the comments whose ids are not known."""
        ...

    def write(self, remote_id: str, text: str, wanted: Wanted) -> None:
        """Add a comment (none where the text is empty) and set fields."""
        ...

    def fold(self, younger: str, older: str, note: str, key: str) -> None:
        """Merge a double into the older ticket, with a note; afterwards ``find`` names the older one only."""
        ...

    def changed(self, cursor: str) -> Changed:
        """What changed since; "" = from now on."""
        ...

    def hook(self, body: Mapping[str, Any]) -> str | None:
        """The id of the ticket that a webhook's body speaks of."""
        ...

    def page_url(self, remote_id: str) -> str:
        """Where a person sees it."""
        ...


def marked(text: str, marker: str) -> str:
    """The text with its marker as last line, within what desks take."""
    return f"{text.rstrip()[:MAX_COMMENT]}\n\n[{marker}]"


def marker_in(text: str) -> str:
    """The marker that is a text's last line, or ""; one that was quoted further up is somebody else's word."""
    found = _MARKER.fullmatch(text.rstrip().rpartition("\n")[2].strip())
    return found.group(1) if found else ""


def marker_of(said: Comment, me: str) -> str:
    """Which message of ours a comment is: known by author and marker together; "" = somebody else's word."""
    return marker_in(said.text) if said.author == me else ""
