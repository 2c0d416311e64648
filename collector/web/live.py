"""GET /live: one event stream a page, which only says *what* changed; the page then fetches itself again.

Nothing private travels here: a client's stream names no ticket, only "tickets". The stream is bounded in number, looks
at its session once a minute, and while anybody listens the store's newest change is asked for every two seconds, so
that what another collector wrote (several share one PostgreSQL) rings here too.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator

from litestar import Request, get
from litestar.exceptions import ServiceUnavailableException
from litestar.response import Stream
from sqlalchemy import Connection, func, select

from collector.web.context import AppContext, Bell, Listener
from collector.web.visitor import Visitor, context_of, known, visitor_of
from ticketing import people
from ticketing.tables import tickets

RETRY_MS = 5_000


class Streams:
    """Counts open streams, so that neither one person nor all together can take the server's descriptors."""

    def __init__(self, most: int, most_per_person: int) -> None:
        self._most = most
        self._most_per_person = most_per_person
        self._open: collections.Counter[str] = collections.Counter()

    def take(self, person_id: str) -> bool:
        if self._open.total() >= self._most or self._open[person_id] >= self._most_per_person:
            return False
        self._open[person_id] += 1
        return True

    def give_back(self, person_id: str) -> None:
        self._open[person_id] -= 1
        if self._open[person_id] <= 0:
            del self._open[person_id]


@get("/live", guards=[known], include_in_schema=False)
async def live(request: Request) -> Stream:
    context, visitor = context_of(request), visitor_of(request)
    streams: Streams = request.app.state.streams
    assert visitor.person is not None
    if context.bell.is_closed or not streams.take(visitor.person.id):
        raise ServiceUnavailableException(
            detail="too many live pages; this one polls", headers={"Retry-After": "60"}
        )
    return Stream(
        _messages(context, visitor, streams),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _messages(context: AppContext, visitor: Visitor, streams: Streams) -> AsyncIterator[bytes]:
    assert visitor.person is not None
    is_client = visitor.person.role == "client"
    options, bell = context.options, context.bell
    try:
        with bell.listening() as listener:
            yield f"retry: {RETRY_MS}\nevent: ready\ndata: -\n\n".encode()
            checked_ms = context.clock.mono_ms()
            while not bell.is_closed:
                topics = await listener.heard(options.keepalive_s)
                if bell.is_closed:
                    return
                now_mono = context.clock.mono_ms()
                if now_mono - checked_ms >= options.stream_check_s * 1000:
                    checked_ms = now_mono
                    if not await _still_welcome(context, visitor):
                        return
                yield message(topics, is_client) if topics else b": still here\n\n"
    finally:
        streams.give_back(visitor.person.id)


def message(topics: set[str], is_client: bool) -> bytes:
    """One event; for a client a ticket's number is folded away, since it may be another contract's."""
    told = {topic.partition(":")[0] + "s" if is_client and ":" in topic else topic for topic in topics}
    return f"event: changed\ndata: {' '.join(sorted(told))}\n\n".encode()


async def _still_welcome(context: AppContext, visitor: Visitor) -> bool:
    if visitor.is_token:
        return True
    now_ms = context.clock.now_ms()
    return await context.read(lambda conn: people.session(conn, visitor.secret, now_ms)) is not None


def newest_change_ms(conn: Connection) -> int:
    """When the last ticket changed; an index answers it."""
    return conn.scalar(select(func.max(tickets.c.updated_at_ms))) or 0


async def pulse(context: AppContext) -> None:
    """Rings for changes that nobody in this process rang for; runs as long as the app."""
    bell: Bell = context.bell
    seen_ms: int | None = None
    while not bell.is_closed:
        await asyncio.sleep(context.options.pulse_s)
        if not bell.listeners:
            continue
        newest_ms = await context.read(newest_change_ms)
        # The first look after a pause rings once too often rather than once too seldom.
        if newest_ms != seen_ms:
            bell.ring("tickets")
        seen_ms = newest_ms


__all__ = ["Listener", "Streams", "live", "message", "newest_change_ms", "pulse"]
