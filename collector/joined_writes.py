"""What a connection writes in one turn of the loop leaves in one system call.

uvicorn writes head and body of a response apart, and uvloop hands each to the kernel at once: two calls, two packets,
and on TLS two records, for every heartbeat. The calls were a quarter of the collector's whole work.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

JOIN_MAX = 64 * 1024
"""Past it a write leaves at once, so that the transport's own flow control sees it."""


class JoinedTransport:
    """A transport that gathers writes until the loop's next turn. Everything else is the transport's own."""

    __slots__ = ("_loop", "_parts", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, part: bytes) -> None:
        """Write with whatever else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(part)
        self._size += len(part)
        if self._size > JOIN_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._parts:
            joined = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._transport.write(joined)

    def close(self) -> None:
        """Write what was gathered, then close."""
        self.flush()
        self._transport.close()


class JoinedWrites(HttpToolsProtocol):
    """uvicorn's protocol on a joined transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the transport before uvicorn sees it."""
        super().connection_made(cast("asyncio.Transport", JoinedTransport(transport, self.loop)))
