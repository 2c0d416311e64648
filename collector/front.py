"""The front door: one ASGI callable that sends reports to the intake, asks to the vantages' poll, desks' webhooks to the
mirrors, /metrics to its page, the rest to the web room.

Behind a reverse proxy that settings trust, scheme and client are the ones that the proxy names; from anybody else
such headers mean nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from agent.checks.asks import ASKS_PATH
from agent.wire import REPORT_PATH
from collector.metrics import CONTENT_TYPE, Page
from collector.mirror_hooks import HOOKS_PATH
from collector.settings import Network, is_within

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METRICS_PATH = "/metrics"


class Front:
    """Dispatches by path."""

    def __init__(
        self,
        intake: App,
        page: Page,
        web: App | None,
        *,
        asks: App | None = None,
        hooks: App | None = None,
        metrics_from: tuple[Network, ...],
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._intake = intake
        self._asks = asks
        self._hooks = hooks
        self._page = page
        self._web = web
        self._metrics_from = metrics_from
        self._trusted = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "http":
            if self._trusted:
                scope = seen_through(scope, self._trusted)
            path = scope["path"]
            if path == REPORT_PATH:
                await self._intake(scope, receive, send)
                return
            if path == ASKS_PATH and self._asks is not None:
                await self._asks(scope, receive, send)
                return
            if path.startswith(HOOKS_PATH) and self._hooks is not None:
                await self._hooks(scope, receive, send)
                return
            if path == METRICS_PATH:
                await self._metrics(scope, send)
                return
            if self._web is None:
                await _answer(send, 404, {"error": "not_found", "detail": "There is nothing here."})
                return
        if self._web is not None:
            await self._web(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)

    async def _metrics(self, scope: Scope, send: Send) -> None:
        client = scope.get("client")
        if client and not is_within(client[0], self._metrics_from):
            detail = "Metrics are read from the networks in settings' metrics.allow_from."
            await _answer(send, 403, {"error": "forbidden", "detail": detail})
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, {"error": "method", "detail": "Metrics are read with GET."})
            return
        text = await asyncio.to_thread(self._page.text)
        await _raw(send, 200, text if scope["method"] == "GET" else b"", CONTENT_TYPE.encode())


def seen_through(scope: Scope, trusted: tuple[Network, ...]) -> Scope:
    """The scope with the scheme and client that a trusted proxy names; unchanged when the client is no such proxy."""
    client = scope.get("client")
    if not client or not is_within(client[0], trusted):
        return scope
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    seen = dict(scope)
    # Without the header the proxy has not said that its side was encrypted, so it was not.
    seen["scheme"] = "https" if headers.get(b"x-forwarded-proto", "").strip().lower() == "https" else "http"
    hops = [hop.strip() for hop in headers.get(b"x-forwarded-for", "").split(",") if hop.strip()]
    untrusted = [hop for hop in hops if not is_within(hop, trusted)]
    # The right-most hop that is not ours: what stands left of it, the client may have written itself.
    seen["client"] = (untrusted[-1] if untrusted else "unknown", 0)
    return seen


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    await _raw(send, status, msgspec.json.encode(body), b"application/json")


async def _raw(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
