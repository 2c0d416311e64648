"""The intake as a small ASGI callable, beside the framework: a route of the framework would halve its speed.

Plain heartbeats are answered at once. Everything else waits in one bounded line; whatever stands there when the
writer is free goes into one transaction, and is answered after its commit. A line that is full answers 503 with
Retry-After; nothing is ever dropped in silence. One report that breaks its transaction is tried again alone, so that
it refuses nobody else.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from agent.wire import Reply
from collector.intake import Accepted, Intake, Rejected
from collector.settings import is_loopback
from collector.store.engine import Store, StoreError, is_disk_full
from config.clock import Clock
from config.log import fields

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

RELOAD_EVERY_MS = 1000
"""An unknown token makes us look in the store; more than once a second would let strangers make work."""

JSON_TYPE = (b"content-type", b"application/json")

PLAIN_HTTP = Rejected(
    403, "plain_http", "A token is not taken over plain HTTP from another machine: use https."
)
NOT_POST = Rejected(405, "method", "Reports are sent with POST.")
SLOW_BODY = Rejected(408, "slow_body", "The body did not arrive in time.")
BUSY = Rejected(503, "busy", "Too many reports wait to be written; send this one again.", retry_after_s=1)
STORE_AWAY = Rejected(
    503, "store", "The store cannot take reports now; keep this one and send it again.", retry_after_s=5
)
STORE_FULL = Rejected(
    507,
    "store_full",
    "The collector's disk has no room; keep this report and send it again.",
    retry_after_s=10,
)
POISON = Rejected(
    500, "internal", "This report could not be written; the collector's log says why.", retry_after_s=60
)
STOPPING = Rejected(503, "stopping", "The collector is stopping; send this report again.", retry_after_s=2)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Bounds of the line in front of the writer."""

    body_max: int = 1024 * 1024
    waiting_max: int = 2000
    waiting_bytes_max: int = 64 * 1024 * 1024
    batch_max: int = 128
    body_s: float = 10.0


class _Waiting:
    """One accepted report in the line, with whoever waits for its answer."""

    __slots__ = ("accepted", "future", "size")

    def __init__(self, accepted: Accepted, size: int, future: asyncio.Future[Reply | Rejected]) -> None:
        self.accepted = accepted
        self.size = size
        self.future = future


class IntakeApp:
    """POST /api/v1/reports. Belongs to one event loop."""

    def __init__(
        self,
        intake: Intake,
        store: Store,
        clock: Clock,
        *,
        bounds: Bounds | None = None,
        reload_fleet: Callable[[], None] | None = None,
    ) -> None:
        self.intake = intake
        self.store = store
        self.clock = clock
        self.bounds = bounds or Bounds()
        self._reload_fleet = reload_fleet
        self._reload_after_ms = 0
        self._line: collections.deque[_Waiting] = collections.deque()
        self._line_bytes = 0
        self._reading_bytes = 0
        self._is_writing = False
        self._readers: dict[asyncio.Task[Any] | None, float] = {}
        self._is_watching = False
        self._encode = msgspec.json.Encoder().encode
        self.is_stopping = False

    @property
    def waiting(self) -> int:
        """Reports that wait for their commit."""
        return len(self._line)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["method"] != "POST":
            self.intake.count(NOT_POST.error)
            await refuse(send, NOT_POST, extra=((b"allow", b"POST"),))
            return
        token, length = token_and_length(scope)
        if scope.get("scheme") == "http" and not may_be_plain(scope):
            self.intake.count(PLAIN_HTTP.error)
            await refuse(send, PLAIN_HTTP)
            return
        body = await self._body(receive, length)
        if isinstance(body, Rejected):
            self.intake.count(body.error)
            await refuse(send, body, extra=((b"connection", b"close"),))
            return
        if body is None:  # the agent hung up
            return
        outcome = await self._outcome(body, token)
        if isinstance(outcome, Reply):
            encoded = self._encode(outcome)
            await send({"type": "http.response.start", "status": 200, "headers": _ok_headers(len(encoded))})
            await send({"type": "http.response.body", "body": encoded})
        else:
            await refuse(send, outcome)

    async def _outcome(self, body: bytes, token: str) -> Reply | Rejected:
        if self.is_stopping:
            return STOPPING
        if token and not self.intake.knows(token):
            await self._reload()
        checked = self.intake.check(body, token, self.clock.now_ms())
        if isinstance(checked, Rejected):
            return checked
        reply = self.intake.answer(checked)
        if reply is not None:
            return reply
        return await self._written(checked, len(body))

    async def _written(self, accepted: Accepted, size: int) -> Reply | Rejected:
        bounds = self.bounds
        if len(self._line) >= bounds.waiting_max or self._line_bytes + size > bounds.waiting_bytes_max:
            self.intake.count(BUSY.error)
            return BUSY
        future: asyncio.Future[Reply | Rejected] = asyncio.get_running_loop().create_future()
        self._line.append(_Waiting(accepted, size, future))
        self._line_bytes += size
        if not self._is_writing:
            self._write_next()
        return await future

    def _write_next(self) -> None:
        """Hand the head of the line to the writer; runs on the loop."""
        group: list[_Waiting] = []
        while self._line and len(group) < self.bounds.batch_max:
            waiting = self._line.popleft()
            self._line_bytes -= waiting.size
            group.append(waiting)
        self._is_writing = bool(group)
        if group:
            self._submit(group)

    def _submit(self, group: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        accepted = [waiting.accepted for waiting in group]
        now_ms = self.clock.now_ms()
        try:
            written = self.store.submit(lambda tx: self.intake.take(tx, accepted, now_ms))
        except StoreError as error:
            self._refuse(group, error)
            loop.call_soon(self._write_next)
            return
        written.add_done_callback(lambda done: loop.call_soon_threadsafe(self._answered, group, done))

    def _answered(self, group: list[_Waiting], done: Future[list[Reply | Rejected]]) -> None:
        error = done.exception()
        if error is None:
            self._write_next()
            for waiting, answer in zip(group, done.result(), strict=True):
                if not waiting.future.done():
                    waiting.future.set_result(answer)
            return
        is_store = isinstance(error, (SQLAlchemyError, StoreError, OSError))
        if len(group) > 1 and not isinstance(error, StoreError) and not is_disk_full(error):
            asyncio.get_running_loop().create_task(self._one_by_one(group))
            return
        if not is_store:
            log.error(
                "A report could not be written. %s", fields(host=group[0].accepted.entry.id), exc_info=error
            )
        self._refuse(group, error)
        self._write_next()

    async def _one_by_one(self, group: list[_Waiting]) -> None:
        """Write each report of a broken group alone; the line waits behind."""
        for waiting in group:
            now_ms = self.clock.now_ms()
            one = [waiting.accepted]
            try:
                written = self.store.submit(
                    lambda tx, one=one, now_ms=now_ms: self.intake.take(tx, one, now_ms)
                )
                answer = (await asyncio.wrap_future(written))[0]
            except (StoreError, SQLAlchemyError, OSError) as error:
                self._refuse([waiting], error)
                continue
            except Exception as error:  # a boundary: this report's fault must not end the intake
                log.exception("A report could not be written. %s", fields(host=waiting.accepted.entry.id))
                self._refuse([waiting], error)
                continue
            if not waiting.future.done():
                waiting.future.set_result(answer)
        self._write_next()

    def _refuse(self, group: list[_Waiting], error: BaseException) -> None:
        is_store = isinstance(error, (SQLAlchemyError, StoreError, OSError))
        answer = STORE_FULL if is_disk_full(error) else STORE_AWAY if is_store else POISON
        if is_store:
            log.error("The store took no reports. %s", fields(reports=len(group), error=str(error)[:300]))
        for waiting in group:
            self.intake.count(answer.error)
            if not waiting.future.done():
                waiting.future.set_result(answer)

    async def _reload(self) -> None:
        """Look in the store for hosts that another process enrolled; at most once a second."""
        now_ms = self.clock.mono_ms()
        if self._reload_fleet is None or now_ms < self._reload_after_ms:
            return
        self._reload_after_ms = now_ms + RELOAD_EVERY_MS
        await asyncio.to_thread(self._reload_fleet)

    async def _body(self, receive: Receive, length: int) -> bytes | Rejected | None:
        """The whole body, or why not; None when the other side hung up."""
        if length > self.bounds.body_max:
            return self._too_large()
        if self._reading_bytes + max(0, length) > self.bounds.waiting_bytes_max:
            return BUSY
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        self._readers[task] = loop.time() + self.bounds.body_s
        if not self._is_watching:
            self._watch(loop)
        try:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            if not message.get("more_body"):
                return message.get("body", b"")
            return await self._rest(message, receive)
        except asyncio.CancelledError:
            if task in self._readers:
                raise
            return SLOW_BODY
        finally:
            self._readers.pop(task, None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look once a second who reads too long; a timer for every request would cost more than the heartbeat."""
        now = loop.time()
        for task in [task for task, deadline in self._readers.items() if deadline < now]:
            del self._readers[task]
            if task is not None:
                task.cancel()
        self._is_watching = bool(self._readers)
        if self._is_watching:
            loop.call_later(1.0, self._watch, loop)

    async def _rest(self, message: MutableMapping[str, Any], receive: Receive) -> bytes | Rejected | None:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                part = message.get("body", b"")
                size += len(part)
                self._reading_bytes += len(part)
                parts.append(part)
                if size > self.bounds.body_max:
                    return self._too_large()
                if self._reading_bytes > self.bounds.waiting_bytes_max:
                    return BUSY
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
        finally:
            self._reading_bytes -= size

    def _too_large(self) -> Rejected:
        return Rejected(
            413, "too_large", f"A report may hold {self.bounds.body_max} bytes; split the backlog."
        )


def may_be_plain(scope: Scope) -> bool:
    """Whether a token may come over plain HTTP: from this machine, or through a socket in its file system."""
    client = scope.get("client")
    return not client or is_loopback(client[0])


def token_and_length(scope: Scope) -> tuple[str, int]:
    """Token and content length (-1: not said)."""
    token, length = "", -1
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, rest = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                token = rest.strip()
        elif name == b"content-length" and value.isdigit():
            length = int(value[:20])
    return token, length


def _ok_headers(length: int) -> list[tuple[bytes, bytes]]:
    return [JSON_TYPE, (b"content-length", str(length).encode())]


async def refuse(send: Send, rejected: Rejected, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    body = rejected.to_json()
    headers = [*_ok_headers(len(body)), *extra]
    if rejected.retry_after_s is not None:
        headers.append((b"retry-after", str(rejected.retry_after_s).encode()))
    if rejected.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": rejected.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
