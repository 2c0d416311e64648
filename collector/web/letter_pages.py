"""GET /letters, /letters/{id} and its files; POST /letters/{id}: letters that wait for a person, for our own people only.

A stranger's letter is shown as plain text: no markup of the sender's, no picture from elsewhere, no link that can be
clicked. Its files are saved, never shown. What may be done is filing, putting it onto a ticket, or setting it aside.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy import Connection

from collector.web import paging, render
from collector.web.visitor import context_of, meant, staff, visitor_of
from ticketing.acts import Refusal
from ticketing.letters import held, parse, quotes, rows
from ticketing.letters.decide import Outcome
from ticketing.model import CLASSES, Reason
from ticketing.texts import texts

MAX_ID = 2**53
SHOWN = 100
MAX_TEXT = 20_000
STATUS = {"not_found": 404, "stale": 409, "not_eligible": 409}
"""Of a refusal; whatever else is wrong with what was typed is 400."""


@get("/letters", guards=[staff], include_in_schema=False)
async def letter_list(request: Request[Any, Any, Any]) -> Response[Any]:
    words = texts(visitor_of(request).language)
    found = await context_of(request).read(lambda conn: rows.held(conn, SHOWN))
    shown = [
        {
            "id": row["id"],
            "received_at_ms": row["received_at_ms"],
            "sender": row["sender"] or "–",
            "subject": row["subject"] or words.get("web.letters.no_subject"),
            "why": words.reason(Reason.from_dict(row["reason"])) if row["reason"] else "",
        }
        for row in found
    ]
    return render.page(request, "letters.html", {"letters": shown, "is_more": len(found) == SHOWN})


@get("/letters/{mail_id:int}", guards=[staff], include_in_schema=False)
async def letter_page(request: Request[Any, Any, Any], mail_id: FromPath[int]) -> Response[Any]:
    return await _page(request, mail_id)


@get("/letters/{mail_id:int}/files/{number:int}", guards=[staff], include_in_schema=False)
async def letter_file(
    request: Request[Any, Any, Any], mail_id: FromPath[int], number: FromPath[int]
) -> Response[bytes]:
    """One file of a letter, to be saved: never shown by the browser, whatever its sender says it is."""

    def load(conn: Connection) -> Any:
        row = rows.one(conn, min(mail_id, MAX_ID))
        return None if row is None else parse.attachment(row["raw"], number)

    # A large letter is taken apart on a worker's thread: the event loop takes reports meanwhile.
    found = await context_of(request).read(load)
    if found is None:
        raise NotFoundException(detail="there is no such file")
    name = quote(f"{mail_id}-{number}-{found[0].name}"[:150])
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(found[1], media_type="application/octet-stream", headers=headers)


@post("/letters/{mail_id:int}", guards=[staff, meant], include_in_schema=False)
async def decide(request: Request[Any, Any, Any], mail_id: FromPath[int]) -> Response[Any]:
    """Does what the button says; else the letter again, with what is wrong."""
    context, viewer = context_of(request), visitor_of(request).viewer
    form = await request.form()
    typed = {name: str(form.get(name, ""))[:300].strip() for name in ("contract", "class", "ticket", "why")}
    word, number = str(form.get("word", "")), min(mail_id, MAX_ID)
    book, now_ms = context.book(), context.clock.now_ms()

    def act(tx: Connection) -> int | Refusal | None:
        if word == "file":
            class_ = paging.number(typed["class"], min(CLASSES), max(CLASSES)) or 6
            return held.file(tx, book, number, viewer, typed["contract"], class_, now_ms)
        if word == "put":
            ticket_id = paging.number(typed["ticket"].lstrip("#"), 1, MAX_ID) or 0
            return held.put(tx, book, number, viewer, ticket_id, now_ms)
        return held.drop(tx, number, viewer, typed["why"], now_ms)

    if word not in ("file", "put", "drop"):
        raise NotFoundException(detail="there is no such act")
    done = await context.write(act)
    if isinstance(done, Refusal):
        return await _page(request, mail_id, typed, done)
    if done is not None:
        context.bell.ring_ticket(done)
        return Redirect(f"/tickets/{done}", status_code=303)
    return Redirect("/letters", status_code=303)


async def _page(
    request: Request[Any, Any, Any],
    mail_id: int,
    typed: dict[str, str] | None = None,
    refusal: Refusal | None = None,
) -> Response[Any]:
    context, words = context_of(request), texts(visitor_of(request).language)

    def load(conn: Connection) -> Any:
        row = rows.one(conn, min(mail_id, MAX_ID))
        if row is None:
            return None
        letter = parse.read(row["raw"])
        return row, letter, quotes.new_words(letter.text)[:MAX_TEXT]

    found = await context.read(load)
    if found is None:
        raise NotFoundException(detail="there is no such letter")
    row, letter, new = found
    whole = letter.text[:MAX_TEXT]
    values = {
        "letter": row,
        "why": words.reason(Reason.from_dict(row["reason"])) if row["reason"] else "",
        "to": ", ".join(letter.to)[:500],
        "new": new or whole,
        "whole": whole if new and new != whole else "",
        "is_cut": bool(row["is_cut"] or letter.is_text_cut or len(letter.text) > MAX_TEXT),
        "files": letter.attachments,
        "faults_of_letter": ", ".join(letter.faults),
        "waits": row["outcome"] == Outcome.HELD.value,
        "contracts": sorted((c.id, c.title) for c in context.book().contracts.values()),
        "typed": typed or {"contract": "", "class": "", "ticket": "", "why": ""},
        "fault": words.reason(refusal.reason) if refusal else "",
        "faults": {
            name: words.reason(reason) for name, reason in (refusal.fields if refusal else {}).items()
        },
    }
    status = STATUS.get(refusal.code, 400) if refusal else 200
    return render.page(request, "letter.html", values, status=status)


ROUTES = [letter_list, letter_page, letter_file, decide]
