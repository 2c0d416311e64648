"""POST /api/v1/desks/NAME/hook: an external desk says that one of its tickets changed.

Signed with the desk's secret (HMAC-SHA256 of the body); believed for the ticket's number only, which is then read from
the desk itself. So a repeated, old or invented webhook costs one look and can do nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from collector.intake import Rejected
from collector.intake_asgi import STORE_AWAY, Receive, Scope, Send, refuse
from collector.mirrors import is_signed
from collector.store.engine import Store, StoreError
from config.clock import Clock
from config.log import fields
from ticketing.json_path import read_json
from ticketing.mirrors import links
from ticketing.mirrors.desk import Fault
from ticketing.mirrors.desks import Desks

log = logging.getLogger(__name__)

HOOKS_PATH = "/api/v1/desks/"
BODY_MAX = 256 * 1024
BODY_S = 10.0

WRONG_METHOD = Rejected(405, "method", "A webhook is sent with POST.")
UNKNOWN = Rejected(404, "not_found", "The settings name no such desk with a webhook.")
UNSIGNED = Rejected(401, "unauthorised", "The signature does not fit the body and our secret.")
NOT_JSON = Rejected(400, "bad_json", "The body is no JSON object.")
TOO_LARGE = Rejected(413, "too_large", f"A webhook may hold {BODY_MAX} bytes.")
SLOW_BODY = Rejected(408, "slow_body", "The body did not arrive in time.")


class HooksApp:
    """Takes webhooks of external desks."""

    def __init__(self, store: Store, clock: Clock, desks: Desks, wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._desks = desks
        self._wake = wake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One webhook."""
        name, _, rest = scope["path"].removeprefix(HOOKS_PATH).partition("/")
        terms = self._desks.terms.get(name)
        if rest != "hook" or terms is None or terms.hook_secret_file is None:
            await refuse(send, UNKNOWN)
            return
        if scope["method"] != "POST":
            await refuse(send, WRONG_METHOD)
            return
        body = await _body(receive)
        if isinstance(body, Rejected):
            await refuse(send, body)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        if not await asyncio.to_thread(is_signed, terms, headers, body):
            log.warning("A webhook was not signed with our secret. %s", fields(desk=name))
            await refuse(send, UNSIGNED)
            return
        said = await asyncio.to_thread(self.take, name, body)
        if said is not None:
            await refuse(send, said)
            return
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def take(self, name: str, body: bytes) -> Rejected | None:
        """A signed webhook's body: the ticket that it names is looked at soon."""
        try:
            told = read_json(body)
        except ValueError:
            return NOT_JSON
        if not isinstance(told, dict):
            return NOT_JSON
        now_ms = self._clock.now_ms()
        try:
            remote_id = self._desks.desk(name).hook(told)
            # Of a ticket that is none of ours, or of something else: taken, so that it is not sent again.
            if remote_id is not None:
                self._store.write(lambda tx: links.notice_hook(tx, name, remote_id, now_ms))
        except Fault as fault:
            log.warning(
                "A webhook came to a desk that cannot be opened. %s", fields(desk=name, error=str(fault))
            )
        except (SQLAlchemyError, StoreError):
            return STORE_AWAY
        self._wake()
        return None


async def _body(receive: Receive) -> bytes | Rejected:
    raw = b""
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return NOT_JSON
                raw += message.get("body", b"")
                if len(raw) > BODY_MAX:
                    return TOO_LARGE
                if not message.get("more_body"):
                    return raw
    except TimeoutError:
        return SLOW_BODY
