"""What solved earlier tickets: kept when a person resolves one, shown with the next that is like it.

Theory of operation. Resolving asks cause and remedy in a word or two; ``keep`` writes them with what the ticket was about
(root cause, host, application, provider). ``similar`` reads a bounded number of the newest rows that share the root cause
or, for what people filed, the contract, and ``ranked`` (pure) orders them by what they have in common with the ticket: each
common thing has its points, they are added, and the same names stand beside the entry, so that anybody can see why it is
there. When a ticket comes back after its remedy, ``refuted`` marks the row: it sinks and says so.

A client reads its own contract's knowledge only. The machine's own resolutions ("recovered by itself") teach nothing and
are not kept.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from ticketing.contracts import Book
from ticketing.queries import Viewer
from ticketing.tables import RowLike, knowledge

MAX_LOOKED_AT = 100
"""Newest rows that one look reads, of the contract and of the root cause each."""
MAX_SHOWN = 5

POINTS: Mapping[str, int] = {
    "cause": 8,
    "host": 6,
    "application": 5,
    "contract": 2,
    "provider": 2,
    "words": 1,
}
"""What a common thing is worth; ``words`` once for each, up to WORDS_MAX."""
WORDS_MAX = 4
REFUTED_POINTS = -5

_WORD = re.compile(r"[\w'’-]{4,}")
_SCOPE_APPLICATION = "application:"


@dataclasses.dataclass(frozen=True)
class About:
    """What a ticket is about, as far as likeness goes."""

    ticket_id: int
    contract_id: str
    root_cause: str
    hosts: frozenset[str] = frozenset()
    application: str = ""
    providers: frozenset[str] = frozenset()
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What solved one ticket."""

    ticket_id: int
    contract_id: str
    at_ms: int
    root_cause: str
    host_id: str
    application: str
    provider: str
    title: str
    cause: str
    """In the words of who resolved it."""
    remedy: str
    by: str
    refuted_at_ms: int | None = None
    """When the ticket came back all the same."""


@dataclasses.dataclass(frozen=True)
class Similar:
    """A lesson with what it has in common with the ticket."""

    lesson: Lesson
    common: tuple[str, ...]
    """Keys of POINTS, the weightiest first."""
    points: int


def about(book: Book, row: RowLike) -> About:
    """A ticket's row as likeness sees it."""
    hosts = frozenset(row["affected"])
    return About(
        ticket_id=row["id"],
        contract_id=row["contract_id"],
        root_cause=row["root_cause"],
        hosts=hosts,
        application=application_of(row["scope"]),
        providers=_providers(book, hosts),
        title=row["title"],
    )


def application_of(scope: str) -> str:
    """The application that a filed ticket is about; "" where its scope is something else."""
    return scope.removeprefix(_SCOPE_APPLICATION) if scope.startswith(_SCOPE_APPLICATION) else ""


def application_scope(application: str) -> str:
    """The scope of a ticket about an application."""
    return f"{_SCOPE_APPLICATION}{application}"[:300]


def keep(
    tx: Connection,
    book: Book,
    row: RowLike,
    cause: str,
    remedy: str,
    by: str,
    now_ms: int,
    *,
    title: str = "",
) -> None:
    """Write what solved a ticket; a second resolution of the same ticket is a lesson of its own."""
    told = about(book, row)
    host_id = min(told.hosts, default="")
    tx.execute(
        insert(knowledge).values(
            ticket_id=told.ticket_id,
            contract_id=told.contract_id,
            at_ms=now_ms,
            root_cause=told.root_cause,
            host_id=host_id,
            application=told.application[:200],
            provider=min(told.providers, default="")[:100],
            title=(title or told.title)[:300],
            cause=cause,
            remedy=remedy,
            by=by,
            refuted_at_ms=None,
        )
    )


def refuted(tx: Connection, ticket_id: int, now_ms: int) -> None:
    """The ticket came back: its newest remedy did not hold."""
    newest = select(knowledge.c.id).where(knowledge.c.ticket_id == ticket_id)
    last = tx.execute(newest.order_by(knowledge.c.id.desc()).limit(1)).scalar()
    if last is not None:
        tx.execute(update(knowledge).where(knowledge.c.id == last).values(refuted_at_ms=now_ms))


def similar(
    conn: Connection, book: Book, viewer: Viewer, told: About, limit: int = MAX_SHOWN
) -> list[Similar]:
    """The lessons most like the ticket that this person may read, the best first."""
    own = viewer.contract_id or "" if viewer.is_client else told.contract_id
    narrowed = [knowledge.c.contract_id == own]
    if told.root_cause not in UNNAMED and not viewer.is_client:
        narrowed.append(knowledge.c.root_cause == told.root_cause)
    found: dict[int, Lesson] = {}
    for condition in narrowed:
        wanted = select(knowledge).where(condition).order_by(knowledge.c.id.desc()).limit(MAX_LOOKED_AT)
        found |= {row["id"]: _lesson(row) for row in conn.execute(wanted).mappings()}
    return ranked(told, found.values(), limit)


UNNAMED = ("request", "unknown")
"""Root causes that name no cause: having them in common says nothing."""


def ranked(told: About, lessons: Iterable[Lesson], limit: int = MAX_SHOWN) -> list[Similar]:
    """Lessons with anything in common beyond contract and provider, the most alike first, then the newest. Pure."""
    sought = _words(told.title)
    found = [_compared(told, sought, lesson) for lesson in lessons if lesson.ticket_id != told.ticket_id]
    worth = [one for one in found if set(one.common) - {"contract", "provider"}]
    worth.sort(key=lambda one: (-one.points, -one.lesson.at_ms))
    return worth[: max(0, limit)]


def _compared(told: About, sought: frozenset[str], lesson: Lesson) -> Similar:
    # A machine's ticket has no words of its own; a few hundred lessons need not be read for it.
    words = sought & (_words(lesson.title) | _words(lesson.cause)) if sought else sought
    common = {
        "cause": told.root_cause == lesson.root_cause and told.root_cause not in UNNAMED,
        "host": bool(lesson.host_id) and lesson.host_id in told.hosts,
        "application": bool(lesson.application) and lesson.application == told.application,
        "contract": lesson.contract_id == told.contract_id,
        "provider": bool(lesson.provider) and lesson.provider in told.providers,
        "words": bool(words),
    }
    named = tuple(name for name in POINTS if common[name])
    points = sum(POINTS[name] for name in named if name != "words")
    points += POINTS["words"] * min(len(words), WORDS_MAX)
    if lesson.refuted_at_ms is not None:
        points += REFUTED_POINTS
    return Similar(lesson, named, points)


def _words(text: str) -> frozenset[str]:
    """Words of four letters and more by their first five: enough for Ukrainian endings."""
    return frozenset(word.casefold()[:5] for word in _WORD.findall(text))


def _providers(book: Book, hosts: Iterable[str]) -> frozenset[str]:
    known: Sequence[str] = [book.hosts[host].topology.provider for host in hosts if host in book.hosts]
    return frozenset(name for name in known if name)


def _lesson(row: RowLike) -> Lesson:
    return Lesson(**{field.name: row[field.name] for field in dataclasses.fields(Lesson)})
