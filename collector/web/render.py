"""Templates: one Jinja environment, everything escaped, every word from the catalogues, times in the page's zone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from babel.dates import format_datetime
from litestar import Request, Response
from litestar.datastructures import Cookie
from markupsafe import Markup

from collector.web import language, safety
from collector.web.durations import short
from collector.web.visitor import Visitor, context_of, visitor_of
from ticketing import texts as catalogue
from ticketing.texts import Texts

FOLDER = Path(__file__).parent / "templates"
TEXTS_FOLDER = Path(__file__).parent / "texts"


@functools.lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The room's templates; a name that a template misspells raises instead of rendering as nothing."""
    catalogue.register(TEXTS_FOLDER)
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["coded"] = coded
    return made


def coded(text: str) -> Markup:
    """A step of the runbook: what stands between backquotes is a command."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else Markup.escape(part)
        for at, part in enumerate(parts)
    )


@dataclasses.dataclass(frozen=True)
class Moments:
    """Instants as people read them: local time in the text, UTC in the title."""

    words: Texts
    zone: str
    now_ms: int

    def at(self, at_ms: int | None, empty: str = "–") -> Markup:
        """Day and time; the year only where it is another one, the day only where it is not today's."""
        return Markup.escape(empty) if at_ms is None else self._element(at_ms, self._stamp(at_ms, "HH:mm"))

    def dated(self, at_ms: int | None, empty: str = "–") -> Markup:
        """Always with its day: for what is kept and printed."""
        if at_ms is None:
            return Markup.escape(empty)
        return self._element(at_ms, self._stamp(at_ms, "HH:mm", is_dated=True))

    def exact(self, at_ms: int | None, empty: str = "–") -> Markup:
        """With seconds, where the order of things matters."""
        return Markup.escape(empty) if at_ms is None else self._element(at_ms, self._stamp(at_ms, "HH:mm:ss"))

    def ago(self, at_ms: int | None, empty: str = "–") -> Markup:
        """How long ago; what is older than two days is dated instead."""
        if at_ms is None:
            return Markup.escape(empty)
        passed_ms = self.now_ms - at_ms
        if passed_ms > 48 * 3_600_000 or passed_ms < -60_000:
            return self.at(at_ms)
        if passed_ms < 10_000:
            return self._element(at_ms, self.words.get("web.time.just_now"))
        return self._element(at_ms, self.words.get("web.time.ago", passed=short(self.words, passed_ms)))

    def _stamp(self, at_ms: int, clock: str, *, is_dated: bool = False) -> str:
        zone = ZoneInfo(self.zone)
        moment, today = _utc(at_ms).astimezone(zone), _utc(self.now_ms).astimezone(zone)
        if moment.date() == today.date() and not is_dated:
            pattern = clock
        else:
            pattern = f"d MMM {clock}" if moment.year == today.year else f"d MMM y {clock}"
        return format_datetime(moment, pattern, tzinfo=zone, locale=self.words.language)

    def utc(self, at_ms: int) -> str:
        return _utc(at_ms).strftime("%Y-%m-%d %H:%M:%S UTC")

    def _element(self, at_ms: int, text: str) -> Markup:
        local = _utc(at_ms).astimezone(ZoneInfo(self.zone)).strftime("%Y-%m-%d %H:%M:%S %Z")
        title = f"{self.utc(at_ms)} · {local}"
        return Markup('<time datetime="{}" title="{}">{}</time>').format(_utc(at_ms).isoformat(), title, text)


def _utc(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.timezone.utc)


def page(
    request: Request[Any, Any, Any],
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    zone: str = "",
    headers: Mapping[str, str] | None = None,
    cookies: list[Cookie] | None = None,
) -> Response[str]:
    """A whole page, in the visitor's language."""
    visitor, context = _visitor(request), context_of(request)
    zone = zone or context.options.zone
    words = catalogue.texts(visitor.language).at(zone)
    html = (
        environment()
        .get_template(template)
        .render(
            {
                "t": words.get,
                "words": words,
                "visitor": visitor,
                "short": functools.partial(short, words),
                "moments": Moments(words, zone, context.clock.now_ms()),
                "zone": zone,
                "path": request.url.path,
                "here": _here(request),
                "static": {
                    name: f"/static/{name}?v={file.tag}" for name, file in request.app.state.static.items()
                },
                "live": "",
                "live_url": "",
                "languages": language.LANGUAGES,
                **values,
            }
        )
    )
    sent = dict(headers or {})
    return Response(html, media_type="text/html", status_code=status, headers=sent, cookies=cookies or [])


def _here(request: Request[Any, Any, Any]) -> str:
    """Where the language switch comes back to: this page, when it was a plain look."""
    if request.method not in safety.SAFE_METHODS:
        return "/tickets"
    query = request.url.query
    return safety.safe_next(request.url.path + (f"?{query}" if query else ""), "/tickets")


def _visitor(request: Request[Any, Any, Any]) -> Visitor:
    """The visitor; a stranger where the fault came before anybody looked."""
    if "auth" in request.scope:
        return visitor_of(request)
    spoken = language.choose(
        request.cookies.get(language.COOKIE), None, request.headers.get("accept-language")
    )
    return Visitor(None, "", False, "", spoken)
