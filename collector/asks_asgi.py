"""The long poll of vantage hosts: GET /api/v1/asks holds until there is an ask, POST takes answers.

A small ASGI callable beside the intake. Who asks is known by the host's token alone, and only hosts that settings (or
their contract) name as vantages are served: at most one poll each, the newer ends the older. Handing out and taking
are writes of the store; waiting costs one event and one look a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agent.checks.asks import BODY_MAX
from collector import asks
from collector.intake import Intake, Rejected
from collector.intake_asgi import (
    JSON_TYPE,
    PLAIN_HTTP,
    STORE_AWAY,
    Receive,
    Scope,
    Send,
    may_be_plain,
    refuse,
    token_and_length,
)
from collector.settings import VantageSettings
from collector.store.engine import Store, StoreError
from collector.trace import HopOwners
from config.clock import Clock
from config.log import fields
from ticketing.json_path import read_json

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Another collector on the same store may have written an ask: nobody rings for that."""
BODY_S = 10.0

UNKNOWN = Rejected(401, "unauthorised", "No host has this token.")
NO_VANTAGE = Rejected(
    403, "no_vantage", "This host is asked nothing: settings and contracts do not name it.", retry_after_s=300
)
WRONG_METHOD = Rejected(405, "method", "Asks are fetched with GET and answered with POST.")
TOO_LARGE = Rejected(413, "too_large", f"Answers may hold {BODY_MAX} bytes.")
NOT_JSON = Rejected(400, "bad_json", "The body is no JSON object with a list `answers`.")
SLOW_BODY = Rejected(408, "slow_body", "The body did not arrive in time.")


class AsksApp:
    """Serves vantages. Belongs to one event loop."""

    def __init__(
        self,
        intake: Intake,
        store: Store,
        clock: Clock,
        settings: VantageSettings,
        *,
        named: Callable[[], Mapping[str, str]],
        owners: Callable[[], HopOwners],
        timeout_s: Callable[[str], float],
        poke: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._store = store
        self._clock = clock
        self._settings = settings
        self._named = named
        self._owners = owners
        self._timeout_s = timeout_s
        self._poke = poke
        self._polls: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = False
        self.counts: dict[str, int] = {"handed_out": 0, "taken": 0, "refused": 0}

    @property
    def waiting(self) -> int:
        """Vantages that are on their poll now."""
        return len(self._polls)

    def ring(self) -> None:
        """There may be asks; from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake_all)

    def stop(self) -> None:
        """Answer every poll now and hold no more; on the loop."""
        self.is_stopping = True
        self._wake_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        self._loop = asyncio.get_running_loop()
        token, length = token_and_length(scope)
        host_id = self._host_of(scope, token)
        if isinstance(host_id, Rejected):
            self.counts["refused"] += 1
            await refuse(send, host_id)
            return
        try:
            if scope["method"] == "GET":
                answer: Any = {"asks": await self._poll(host_id, receive)}
            elif scope["method"] == "POST":
                answer = await self._answers(host_id, receive, length)
            else:
                answer = WRONG_METHOD
        except StoreError:
            answer = STORE_AWAY
        if isinstance(answer, Rejected):
            await refuse(send, answer)
            return
        body = msgspec.json.encode(answer)
        headers = [JSON_TYPE, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _host_of(self, scope: Scope, token: str) -> str | Rejected:
        if scope.get("scheme") == "http" and not may_be_plain(scope):
            return PLAIN_HTTP
        entry = self._intake.host_of(token)
        if entry is None or entry.is_retired:
            return UNKNOWN
        return entry.id if entry.id in self._named() else NO_VANTAGE

    async def _poll(self, host_id: str, receive: Receive) -> list[dict[str, Any]]:
        """Hold until there is an ask, the time is over, the vantage hangs up, or a newer poll of it comes."""
        older = self._polls.get(host_id)
        bell = self._polls[host_id] = asyncio.Event()
        if older is not None:
            older.set()
        gone = asyncio.ensure_future(_hung_up(receive))
        loop = asyncio.get_running_loop()
        ends = loop.time() + float(self._settings.poll_s)
        heard_ms = 0
        try:
            while self._polls.get(host_id) is bell and not gone.done():
                now_ms = self._clock.now_ms()
                is_due = now_ms - heard_ms >= asks.HEARD_EVERY_MS
                heard_ms = now_ms if is_due else heard_ms
                bell.clear()
                found = await self._found(host_id, now_ms, is_due)
                left_s = ends - loop.time()
                if found or left_s <= 0 or self.is_stopping:
                    return found
                await _wait(bell, min(LOOK_S, left_s))
            return []
        finally:
            gone.cancel()
            if self._polls.get(host_id) is bell:
                del self._polls[host_id]

    async def _found(self, host_id: str, now_ms: int, is_due: bool) -> list[dict[str, Any]]:
        """The asks that wait; being heard is written with them."""
        has_asks = await asyncio.to_thread(self._is_asked, host_id, now_ms)
        if not has_asks and not is_due:
            return []

        def write(tx: Any) -> list[dict[str, Any]]:
            if is_due:
                asks.heard(tx, host_id, now_ms)
            return asks.hand_out(tx, host_id, now_ms, self._timeout_s) if has_asks else []

        found = await asyncio.wrap_future(self._store.submit(write))
        self.counts["handed_out"] += len(found)
        return found

    def _is_asked(self, host_id: str, now_ms: int) -> bool:
        with self._store.read() as conn:
            return asks.is_asked(conn, host_id, now_ms)

    async def _answers(self, host_id: str, receive: Receive, length: int) -> dict[str, Any] | Rejected:
        body = TOO_LARGE if length > BODY_MAX else await _body(receive)
        if isinstance(body, Rejected):
            return body
        try:
            raw = read_json(body)
            answers = raw["answers"]
        except (ValueError, KeyError, TypeError):
            return NOT_JSON
        if not isinstance(answers, list):
            return NOT_JSON
        now_ms, owners, agree = self._clock.now_ms(), self._owners(), self._settings.peers_agree
        taken = await asyncio.wrap_future(
            self._store.submit(lambda tx: asks.take_answers(tx, host_id, answers, now_ms, owners, agree))
        )
        self.counts["taken"] += taken
        if taken:
            self._poke()
        elif answers:
            log.info(
                "Answers of a vantage came too late, or were none. %s", fields(host=host_id, n=len(answers))
            )
        return {"taken": taken}

    def _wake_all(self) -> None:
        for bell in self._polls.values():
            bell.set()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait(bell: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(bell.wait(), seconds)
    except TimeoutError:
        return


async def _body(receive: Receive) -> bytes | Rejected:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return NOT_JSON
                part = message.get("body", b"")
                size += len(part)
                if size > BODY_MAX:
                    return TOO_LARGE
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return SLOW_BODY
