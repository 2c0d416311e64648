"""Who asks: the person behind a session cookie or a bearer token, and the checks that every route declares.

A cookie is sent by the browser whether the person meant it or not, so a write that came with one must also carry the
form's token. A bearer token is only ever sent on purpose and needs none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware.authentication import AbstractAuthenticationMiddleware, AuthenticationResult
from sqlalchemy import Connection

from collector.web import language, safety
from collector.web.context import AppContext
from ticketing import people
from ticketing.people import Person
from ticketing.queries import Viewer

SESSION_COOKIE = "vartovyi_session"
VISIT_COOKIE = "vartovyi_visit"
"""Carries the log-in form's secret, before there is a session."""

MAX_SECRET = 200


@dataclasses.dataclass(frozen=True)
class Visitor:
    """What a request is allowed to know about itself."""

    person: Person | None
    secret: str
    """The session's secret; empty for a bearer token and for a stranger."""
    is_token: bool
    address: str
    language: str

    @property
    def viewer(self) -> Viewer:
        assert self.person is not None, "the route let a stranger through"
        person = self.person
        return Viewer(person.id, person.role, person.contract_id, self.language, self.address)

    @property
    def csrf(self) -> str:
        return safety.csrf_token(self.secret) if self.secret else ""


def context_of(connection: ASGIConnection[Any, Any, Any, Any]) -> AppContext:
    return connection.app.state.context


def visitor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Visitor:
    return connection.scope["auth"]


def is_https(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the person's side speaks TLS: to us, or to the proxy that the public address names."""
    return connection.scope["scheme"] == "https" or context_of(connection).options.is_https


def session_cookie(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Under TLS the __Host- prefix lets the browser refuse a cookie that a neighbouring subdomain planted."""
    return f"__Host-{SESSION_COOKIE}" if is_https(connection) else SESSION_COOKIE


class VisitorMiddleware(AbstractAuthenticationMiddleware):
    """Fills ``scope["user"]`` and ``scope["auth"]``; refuses nobody by itself, except a wrong bearer token."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        context = context_of(connection)
        now_ms = context.clock.now_ms()
        person: Person | None = None
        secret, is_token = "", False
        authorization = connection.headers.get("authorization", "")
        cookie = connection.cookies.get(session_cookie(connection), "")
        if authorization:
            is_token = True
            person = await self._by_token(context, authorization)
        elif cookie and len(cookie) <= MAX_SECRET:
            person, is_stale = await context.read(lambda conn: _session(conn, cookie, now_ms))
            secret = cookie if person else ""
            # A page that refreshes itself is no use of the session: left open, it must still end.
            if is_stale and "x-live" not in connection.headers and connection.scope["path"] != "/live":
                await context.write(lambda tx: people.touch_session(tx, cookie, now_ms))
        spoken = language.choose(
            connection.cookies.get(language.COOKIE),
            person.language if person else None,
            connection.headers.get("accept-language"),
        )
        address = connection.client.host if connection.client else ""
        visitor = Visitor(person, secret, is_token, address[:64], spoken)
        return AuthenticationResult(user=person, auth=visitor)

    async def _by_token(self, context: AppContext, authorization: str) -> Person | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_SECRET or not token.isascii():
            return None
        return await context.read(lambda conn: people.by_token(conn, token.strip()))


def _session(conn: Connection, secret: str, now_ms: int) -> tuple[Person | None, bool]:
    person = people.session(conn, secret, now_ms)
    return person, person is not None and people.is_session_stale(conn, secret, now_ms)


def known(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: somebody who logged in or sent a token."""
    if visitor_of(connection).person is None:
        raise NotAuthorizedException(detail="log in, or send an API token")


def staff(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: engineers, leads and admins."""
    known(connection, handler)
    person = visitor_of(connection).person
    if person is None or person.role == "client":
        raise PermissionDeniedException(detail="this is for the company's own people")


async def meant(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard: a write that came with a cookie carries the token of its session, in a header or a form field."""
    visitor = visitor_of(connection)
    if _method(connection) in safety.SAFE_METHODS or visitor.is_token or not visitor.secret:
        return
    given = connection.headers.get(safety.CSRF_HEADER, "")
    if not given and isinstance(connection, Request) and is_form(connection):
        given = str((await connection.form()).get(safety.CSRF_FIELD, ""))
    if not safety.is_csrf_token(visitor.secret, given):
        raise ForgedRequest(detail="the form's token is missing or stale; load the page again")


def _method(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Upper-case; the app has no web sockets, so every connection has one."""
    return str(connection.scope.get("method", ""))


class ForgedRequest(PermissionDeniedException):
    """A cookie came without the token: either another site sent it, or the page is older than the session."""


def is_form(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data")
