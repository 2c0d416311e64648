"""What the web room is given, and the bell that tells open pages that something changed.

The composition root builds one AppContext; the room reads no settings file, no clock and no environment itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from config.clock import Clock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from ticketing.contracts import Book

T = TypeVar("T")

MAX_TOPICS = 64
"""A listener that is told more than this between two breaths is told "everything" instead."""

EVERYTHING = "everything"


class Reads(Protocol):
    """The part of the store that the web room uses."""

    def read(self) -> AbstractContextManager[Connection]: ...

    def write(self, fn: Callable[[Connection], T], *, first: bool = False) -> T: ...


@dataclasses.dataclass(frozen=True)
class WebOptions:
    """Bounds and addresses of the web room; the composition root fills them from the collector's settings."""

    public_url: str = ""
    """How people reach us, e.g. https://desk.example.org; https here makes cookies Secure."""
    session_s: int = 12 * 3600
    threads: int = 8
    """Most requests that are in the database at once."""
    password_threads: int = 2
    """Most passwords that are hashed at once: argon2 takes memory and a core on purpose."""
    max_streams: int = 500
    """Most open live streams; past it a page falls back to polling."""
    max_streams_per_person: int = 20
    stream_check_s: float = 60.0
    """How often a live stream asks whether its session still holds."""
    keepalive_s: float = 15.0
    pulse_s: float = 2.0
    """How often the store is asked for changes that another process made, while anybody listens."""
    zone: str = "Europe/Kyiv"
    """For pages that belong to no single contract."""

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")


class Listener:
    """One open page: the topics that rang since it last looked, folded, so that a storm costs one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._topics: set[str] = set()

    def tell(self, topics: tuple[str, ...]) -> None:
        """Called on the listener's own loop."""
        self._topics.update(topics)
        if len(self._topics) > MAX_TOPICS:
            self._topics = {EVERYTHING}
        self._event.set()

    async def heard(self, timeout_s: float) -> set[str]:
        """What rang; empty when nothing did within ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
        topics, self._topics = self._topics, set()
        return topics


class Bell:
    """Tells every open page what changed. Anyone may ring, from any thread; nobody waits, nothing is kept.

    Topics: ``tickets``, ``ticket:12``, ``hosts``. A page that missed a ring polls, so losing one is only slower.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[Listener, asyncio.AbstractEventLoop] = {}
        self._closed = False

    def ring(self, *topics: str) -> None:
        with self._lock:
            listeners = list(self._listeners.items())
        for listener, loop in listeners:
            # A loop that closed meanwhile has no page to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(listener.tell, topics)

    def ring_ticket(self, *ticket_ids: int) -> None:
        self.ring("tickets", *(f"ticket:{ticket_id}" for ticket_id in ticket_ids))

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Listen from inside a running event loop."""
        loop = asyncio.get_running_loop()
        listener = Listener(loop)
        with self._lock:
            self._listeners[listener] = loop
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.pop(listener, None)

    @property
    def listeners(self) -> int:
        with self._lock:
            return len(self._listeners)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Ends every live stream; call it before the server stops, or its graceful end waits for open pages."""
        self._closed = True
        self.ring(EVERYTHING)


class AppContext:
    """The web room's world: store, contracts in force, clock, bell, bounds."""

    def __init__(
        self,
        store: Reads,
        book: Callable[[], Book],
        clock: Clock,
        *,
        options: WebOptions | None = None,
        bell: Bell | None = None,
        settings: Any = None,
        registry: Any = None,
    ) -> None:
        self.store = store
        self.book = book
        self.clock = clock
        self.options = options or WebOptions()
        self.bell = bell or Bell()
        self.settings = settings
        self.registry = registry
        """prometheus_client's registry, for whoever mounts /metrics beside us."""
        self._threads = anyio.CapacityLimiter(self.options.threads)
        self._password_threads = anyio.CapacityLimiter(self.options.password_threads)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a read transaction on a worker thread; the event loop never waits for the database."""

        def work() -> T:
            with self.store.read() as conn:
                return fn(conn)

        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a write transaction; returns after the commit."""
        return await anyio.to_thread.run_sync(self.store.write, fn, limiter=self._threads)

    async def hash_password(self, fn: Callable[[], T]) -> T:
        """Run slow password work on its own few threads, so that a log-in storm leaves the desk usable."""
        return await anyio.to_thread.run_sync(fn, limiter=self._password_threads)
