"""An ASGI layer that puts the safety headers on every answer, also on errors and on what no route took."""

from __future__ import annotations

from litestar.datastructures import MutableScopeHeaders
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from collector.web import safety


class SafetyHeaders:
    """Wraps the whole application; what a route set itself (caching of static files) stands."""

    def __init__(self, app: ASGIApp, is_https: bool) -> None:
        self._app = app
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_https = self._is_https or scope["scheme"] == "https"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in safety.ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", safety.NO_STORE)
                if is_https:
                    headers.setdefault("strict-transport-security", safety.HSTS)
            await send(message)

        await self._app(scope, receive, with_headers)
