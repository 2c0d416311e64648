"""Log-in, log-out and the language switch."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from collector.web import language, render, safety
from collector.web.context import AppContext
from collector.web.visitor import (
    VISIT_COOKIE,
    context_of,
    is_https,
    known,
    meant,
    session_cookie,
    visitor_of,
)
from ticketing import people

MAX_LOGIN = 64
MAX_PASSWORD = 1024
YEAR_S = 365 * 86_400


@get("/", include_in_schema=False)
async def start(request: Request[Any, Any, Any]) -> Response[Any]:
    return Redirect("/tickets")


@get("/login", include_in_schema=False)
async def login_form(request: Request[Any, Any, Any]) -> Response[Any]:
    wanted = safety.safe_next(request.query_params.get("next"))
    if visitor_of(request).person is not None:
        return Redirect(wanted)
    return _form(request, wanted)


@post("/login", include_in_schema=False, status_code=200)
async def log_in(request: Request[Any, Any, Any]) -> Response[Any]:
    """Opens a session; a wrong password, an unknown name and a disabled person read the same."""
    context, visitor = context_of(request), visitor_of(request)
    form = await request.form()
    wanted = safety.safe_next(str(form.get("next", "")))
    login, password = str(form.get("login", "")).strip(), str(form.get("password", ""))
    if not _meant_login(request, str(form.get(safety.CSRF_FIELD, ""))):
        return _form(request, wanted, login, "web.login.again", 403)
    outcome = await context.hash_password(lambda: _try(context, login, password, visitor.address))
    if isinstance(outcome, int):
        answer = _form(request, wanted, login, "web.login.throttled", 429, outcome)
        answer.headers["Retry-After"] = str(outcome // 1000 + 1)
        return answer
    if outcome is None:
        return _form(request, wanted, login, "web.login.wrong", 401)
    found = outcome
    now_ms = context.clock.now_ms()
    secret = await context.write(lambda tx: people.open_session(tx, found, now_ms, visitor.address))
    answer = Redirect(wanted, status_code=303)
    answer.set_cookie(_cookie(request, session_cookie(request), secret, context.options.session_s))
    answer.set_cookie(_cookie(request, VISIT_COOKIE, "", 0))
    return answer


def _try(context: AppContext, login: str, password: str, address: str) -> people.Person | int | None:
    """The person; how many ms to wait; None for a wrong try, which is counted.

    The throttle is asked inside the few password threads: a burst in parallel gains one try a thread, no more.
    """
    now_ms = context.clock.now_ms()
    with context.store.read() as conn:
        until_ms = people.throttled_until(conn, login, address, now_ms)
        if until_ms is not None:
            return max(1, until_ms - now_ms)
        is_sane = 0 < len(login) <= MAX_LOGIN and 0 < len(password) <= MAX_PASSWORD
        person = people.authenticate(conn, login, password) if is_sane else None
    if person is None:
        context.store.write(lambda tx: people.note_failure(tx, login[:MAX_LOGIN], address, now_ms))
        return None
    context.store.write(lambda tx: people.note_success(tx, login))
    return person


@post("/logout", include_in_schema=False, guards=[known, meant], status_code=303)
async def log_out(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    now_ms = context.clock.now_ms()
    if visitor.secret:
        await context.write(lambda tx: people.close_session(tx, visitor.secret, now_ms, visitor.address))
    answer = Redirect("/login", status_code=303)
    answer.set_cookie(_cookie(request, session_cookie(request), "", 0))
    return answer


@post("/language", include_in_schema=False, guards=[meant], status_code=303)
async def choose_language(request: Request[Any, Any, Any]) -> Response[Any]:
    """Kept in a cookie: it is this device's choice (collector.web.language says why)."""
    form = await request.form()
    chosen = str(form.get("language", ""))
    answer = Redirect(safety.safe_next(str(form.get("next", ""))), status_code=303)
    if "after" in form:
        after = safety.safe_next(str(form.get("after", "")))
        answer = Redirect(f"/login?next={quote(after, safe='')}", status_code=303)
    if chosen not in language.LANGUAGES:
        return answer
    answer.set_cookie(_cookie(request, language.COOKIE, chosen, YEAR_S))
    return answer


def _meant_login(request: Request[Any, Any, Any], given: str) -> bool:
    """The log-in form was ours: no other site may log a person in as somebody else."""
    visit = request.cookies.get(VISIT_COOKIE, "")
    return bool(visit) and safety.is_csrf_token(visit, given)


def _form(
    request: Request[Any, Any, Any],
    wanted: str,
    login: str = "",
    fault: str = "",
    status: int = 200,
    wait_ms: int = 0,
) -> Response[Any]:
    visit = request.cookies.get(VISIT_COOKIE, "") or safety.new_visit_secret()
    values = {
        "next": wanted,
        "login": login[:MAX_LOGIN],
        "fault": fault,
        "wait_ms": wait_ms,
        "form_token": safety.csrf_token(visit),
    }
    cookie = _cookie(request, VISIT_COOKIE, visit, None)
    return render.page(request, "login.html", values, status=status, cookies=[cookie])


def _cookie(request: Request[Any, Any, Any], name: str, value: str, max_age_s: int | None) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path="/",
        httponly=True,
        secure=is_https(request),
        samesite="lax",
        max_age=max_age_s,
    )


ROUTES = [start, login_form, log_in, log_out, choose_language]
