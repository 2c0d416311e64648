"""make_app: the web room as one ASGI callable: pages, the JSON API, the live stream, the static files.

Built with Litestar (docs/adr/0012-web-framework.md). The intake and /metrics are not here: the composition root mounts
them beside this app. Nothing below waits for the database on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp

from collector.api import contracts, dossiers, hosts, me, statements, tickets
from collector.web import (
    contract_pages,
    failover_pages,
    faults,
    host_pages,
    letter_pages,
    live,
    new_ticket_pages,
    openapi,
    render,
    session_pages,
    statement_pages,
    static_files,
    ticket_pages,
)
from collector.web.context import AppContext
from collector.web.headers import SafetyHeaders
from collector.web.visitor import VisitorMiddleware

MAX_FORM_BYTES = 256 * 1024
"""Largest body of a form or an API call; reports have their own door."""

log = logging.getLogger(__name__)


def make_app(context: AppContext) -> ASGIApp:
    """The ASGI callable; its lifespan runs the pulse that asks the store for other processes' changes."""
    app = litestar_app(context)
    return SafetyHeaders(app, context.options.is_https)


def litestar_app(context: AppContext) -> Litestar:
    """The framework's app without the outer layer: what a test asks for its OpenAPI document."""
    render.environment()
    api = Router(
        path="/api/v1",
        route_handlers=[
            *tickets.ROUTES,
            *dossiers.ROUTES,
            *hosts.ROUTES,
            *contracts.ROUTES,
            *statements.ROUTES,
            *me.ROUTES,
        ],
        security=[{"token": []}, {"session": []}],
    )
    state = State(
        {
            "context": context,
            "static": static_files.load(),
            "streams": live.Streams(context.options.max_streams, context.options.max_streams_per_person),
        }
    )
    pages = [
        *session_pages.ROUTES,
        *new_ticket_pages.ROUTES,
        *ticket_pages.ROUTES,
        *host_pages.ROUTES,
        *contract_pages.ROUTES,
        *statement_pages.ROUTES,
        *failover_pages.ROUTES,
        *letter_pages.ROUTES,
    ]
    return Litestar(
        route_handlers=[api, *pages, live.live, static_files.static_file],
        state=state,
        middleware=[DefineMiddleware(VisitorMiddleware)],
        exception_handlers={HTTPException: faults.expected, Exception: faults.unexpected},
        openapi_config=openapi.config(),
        request_max_body_size=MAX_FORM_BYTES,
        lifespan=[_pulsing],
        on_app_init=[_no_own_logging],
    )


def _no_own_logging(config: AppConfig) -> AppConfig:
    """The process decides where logs go (config/log.py); the framework would set up a handler of its own."""
    config.logging_config = None
    return config


@contextlib.asynccontextmanager
async def _pulsing(app: Litestar) -> AsyncIterator[None]:
    context: AppContext = app.state.context
    task = asyncio.create_task(_pulse_forever(context))
    try:
        yield
    finally:
        context.bell.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _pulse_forever(context: AppContext) -> None:
    """Loop boundary: a database that is away for a while costs live pages, nothing else."""
    while not context.bell.is_closed:
        try:
            await live.pulse(context)
        except Exception:
            log.exception("the pulse of live pages failed; it begins again")
            await asyncio.sleep(context.options.keepalive_s)
