"""What went wrong, said twice: as JSON with a stable code under /api, as a page with a way on for a person.

An expected fault is an HTTPException with a sentence; anything else is our bug: logged with its traceback, counted by
whoever reads the log, and told as 500 without a word of its inside.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from collector.api.shapes import Fault
from collector.store.engine import StoreBusy
from collector.web import render, safety
from collector.web.visitor import ForgedRequest
from config.log import fields

log = logging.getLogger(__name__)

CODES = {
    400: "bad_request",
    401: "not_logged_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many",
    503: "busy",
}
API = "/api/"
MAX_FIELDS = 50


class ApiFault(HTTPException):
    """An expected fault with a code of its own and, for a stale act, the current version."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: dict[str, str] | None = None,
        version: int | None = None,
    ) -> None:
        super().__init__(detail=detail, status_code=status)
        self.fault = Fault(code, detail, fields or {}, version)


def is_api(request: Request[Any, Any, Any]) -> bool:
    return request.scope["path"].startswith(API)


def expected(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Handler for HTTPException."""
    headers = dict(error.headers or {})
    if is_api(request):
        if error.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(fault_of(error), status_code=error.status_code, headers=headers)
    if error.status_code == 401 and "x-live" not in request.headers and request.method in safety.SAFE_METHODS:
        query = f"?{request.url.query}" if request.url.query else ""
        return Redirect(f"/login?next={quote(request.url.path + query, safe='')}")
    code = "forged" if isinstance(error, ForgedRequest) else CODES.get(error.status_code, "other")
    return _page(request, error.status_code, code, headers)


def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Handler for everything else."""
    if isinstance(error, StoreBusy):
        log.warning("the store's queue is full %s", fields(path=request.scope["path"]))
        return _answer(request, 503, "busy", "too much at once; try again in a moment", {"Retry-After": "2"})
    log.error(
        "a request failed %s", fields(method=request.method, path=request.scope["path"]), exc_info=error
    )
    return _answer(request, 500, "internal", "something broke on our side; it is in the log", {})


def fault_of(error: HTTPException) -> Fault:
    """The error as the API says it; a failed validation lists its fields."""
    if isinstance(error, ApiFault):
        return error.fault
    code = CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    wrong: dict[str, str] = {}
    extra = error.extra if isinstance(error.extra, list) else []
    for item in extra[:MAX_FIELDS]:
        if isinstance(item, dict):
            wrong[str(item.get("key") or "body")] = str(item.get("message", ""))
    detail = "some fields are not as they should be" if wrong else error.detail
    return Fault(code, detail, wrong)


def _answer(
    request: Request[Any, Any, Any], status: int, code: str, detail: str, headers: dict[str, str]
) -> Response[Any]:
    if is_api(request):
        return Response(Fault(code, detail), status_code=status, headers=headers)
    return _page(request, status, code, headers)


def _page(request: Request[Any, Any, Any], status: int, code: str, headers: dict[str, str]) -> Response[Any]:
    known = code if code in (*CODES.values(), "forged", "internal") else "other"
    return render.page(
        request, "fault.html", {"status": status, "code": known}, status=status, headers=headers
    )
