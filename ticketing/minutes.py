"""Every minute of a client's clock explained: who had it, and whether it counted. Pure.

A ticket's changes give stretches of time, one after the other without a hole, from the start of the clock to its end (or
to ``now``): ours while it runs, the provider's where beside it the provider owes an answer, the client's while we wait
for the client, nobody's while the ticket was resolved and came back. Each stretch says how much of it lay in the
contract's hours; what counted adds up to what the clock shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ticketing.calendar import Calendar
from ticketing.clocks import Change
from ticketing.model import ClockKind

OURS = "ours"
CLIENT = "client"
PROVIDER = "provider"
NOBODY = "nobody"
"""It was resolved, and came back later."""


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Time in which nothing changed."""

    from_ms: int
    to_ms: int
    whose: str
    """ours, client, provider or nobody."""
    why: str
    """The reason of a pause; "" otherwise."""
    working_ms: int
    """What of it lay in the contract's hours."""

    @property
    def counted_ms(self) -> int:
        """What the client's clock counted."""
        return self.working_ms if self.whose in (OURS, PROVIDER) else 0


def stretches(changes: Iterable[Change], calendar: Calendar, now_ms: int) -> tuple[Stretch, ...]:
    """The resolution clock's time, explained; () where it never started. ``changes`` as the events tell them, in order."""
    whose, why, owes = "", "", False
    since_ms: int | None = None
    found: list[Stretch] = []

    def close(at_ms: int) -> None:
        if since_ms is not None and at_ms > since_ms:
            who = PROVIDER if whose == OURS and owes else whose
            found.append(Stretch(since_ms, at_ms, who, why, calendar.spent(since_ms, at_ms)))

    for change in changes:
        before = (whose, why, owes)
        if change.kind is ClockKind.PROVIDER:
            if change.act in ("start", "resume", "pause", "stop"):
                owes = change.act in ("start", "resume")
        elif change.kind is ClockKind.RESOLUTION:
            whose, why = _after(change, whose, why)
        if (whose, why, owes) != before:
            now_is, (whose, why, owes) = (whose, why, owes), before
            close(change.at_ms)
            whose, why, owes = now_is
            since_ms = change.at_ms if whose else None
    if whose != NOBODY or why:
        close(now_ms)  # a clock that ended explains nothing after its end, unless the ticket came back
    return tuple(found)


def _after(change: Change, whose: str, why: str) -> tuple[str, str]:
    if change.act in ("start", "resume"):
        return OURS, ""
    if change.act == "pause" and whose == OURS:
        return CLIENT if change.why == "waiting_client" else NOBODY, change.why
    if change.act == "stop":
        return NOBODY, ""
    return whose, why


def by_owner(parts: Sequence[Stretch]) -> dict[str, int]:
    """Working milliseconds by whose they were; the statement's line."""
    sums: dict[str, int] = dict.fromkeys((OURS, PROVIDER, CLIENT, NOBODY), 0)
    for part in parts:
        sums[part.whose] += part.working_ms
    return sums
