"""Request Tracker 5 by REST2. The key lies in a custom field of the queue's tickets.

Traps: PUT answers 200 also when it changed nothing (an unknown status is one sentence in a list), so ``read`` after
``write`` is what counts; comment and status of one request become two transactions; times in a query are read in the
user's zone unless they name one; a merged ticket is found under the id of the one it went into. Our words go as comments,
which RT shows to its staff: what its requestors read is theirs to write. RT has no webhooks; a scrip may post the
ticket's number to us.
"""

from __future__ import annotations

import datetime as dt
import html.parser
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from config.clock import Clock
from ticketing.mirrors.desk import MAX_CHANGES, Changed, Comment, Draft, Fault, Gone, Remote, Wanted
from ticketing.mirrors.http import Line, read_token
from ticketing.mirrors.terms import DeskTerms

API = "/REST/2.0"
PAGE = 100
MAX_PAGES = 20
OVERLAP = dt.timedelta(seconds=60)
NOBODY = "Nobody"
_SAID = ("Comment", "Correspond")
_HISTORY = "Type,Creator,Created"


class RequestTracker:
    """One Request Tracker."""

    def __init__(self, terms: DeskTerms, clock: Clock) -> None:
        self._terms = terms
        token = read_token(terms)
        self._line = Line(terms, {"Authorization": f"token {token}"}, clock)
        # A token is USER-SECRET with the user's number in the middle: 1-14-abcdef.
        parts = token.split("-")
        if len(parts) != 3 or not parts[1].isdigit():
            raise Fault("token_file holds no RT token (1-14-...)", is_known=True)
        self._number = parts[1]
        self._me = ""

    def me(self) -> str:
        if not self._me:
            self._me = str(self._line.ask("GET", f"{API}/user/{self._number}")["Name"])
        return self._me

    def find(self, key: str) -> list[str]:
        found = self._tickets(f"'CF.{{{self._terms.key_field}}}' = '{_quoted(key)}'", "id")
        return [str(ticket["id"]) for ticket in found]

    def create(self, draft: Draft) -> str:
        body: dict[str, Any] = {
            "Queue": draft.project,
            "Subject": " ".join(draft.title.split())[:200],
            "Content": draft.text,
            "ContentType": "text/plain",
            "CustomFields": {self._terms.key_field: draft.key, **draft.fields},
        }
        if draft.wanted.status is not None:
            body["Status"] = draft.wanted.status
        if draft.wanted.assignee:
            body["Owner"] = draft.wanted.assignee
        if draft.priority:
            body["Priority"] = int(draft.priority)
        made = self._line.ask("POST", f"{API}/ticket", body=body)
        if not isinstance(made, dict) or "id" not in made:
            raise Fault(f"the desk made no ticket: {str(made)[:300]}")
        return str(made["id"])

    def read(self, remote_id: str, known: Collection[str] = ()) -> Remote:
        ticket = self._line.ask("GET", f"{API}/ticket/{int(remote_id)}")
        if ticket.get("Status") == "deleted":
            raise Gone(f"ticket {remote_id} is deleted there", is_known=True)
        history = self._history(remote_id)
        said = [entry for entry in history if entry["Type"] in _SAID and str(entry["id"]) not in known]
        owner = str(ticket["Owner"]["id"])
        return Remote(
            id=str(ticket["id"]),
            status=str(ticket["Status"]),
            assignee="" if owner == NOBODY else owner,
            assignee_name="" if owner == NOBODY else owner,
            project=str(ticket["Queue"]["id"]),
            comments=tuple(self._comment(entry) for entry in said[:MAX_CHANGES]),
            last_by=str((ticket.get("LastUpdatedBy") or {}).get("id", "")),
        )

    def write(self, remote_id: str, text: str, wanted: Wanted) -> None:
        fields: dict[str, Any] = {}
        if wanted.status is not None:
            fields["Status"] = wanted.status
        if wanted.assignee is not None:
            fields["Owner"] = wanted.assignee or NOBODY
        # Fields first: the comment with its marker is what tells that everything before it was done.
        if fields:
            self._line.ask("PUT", f"{API}/ticket/{int(remote_id)}", body=fields)
        if text:
            body = {"Content": text, "ContentType": "text/plain"}
            self._line.ask("POST", f"{API}/ticket/{int(remote_id)}/comment", body=body)

    def fold(self, younger: str, older: str, note: str, key: str) -> None:
        body = {"Content": note, "ContentType": "text/plain"}
        self._line.ask("POST", f"{API}/ticket/{int(younger)}/comment", body=body)
        self._line.ask("PUT", f"{API}/ticket/{int(younger)}", body={"MergeInto": int(older)})

    def changed(self, cursor: str) -> Changed:
        if not cursor:
            newest = self._tickets("id > 0", "LastUpdated", order="DESC", pages=1, per_page=1)
            return Changed({}, str(newest[0]["LastUpdated"]) if newest else "2000-01-01T00:00:00Z")
        since = dt.datetime.fromisoformat(cursor.replace("Z", "+00:00")) - OVERLAP
        query = (
            f"LastUpdated > '{since:%Y-%m-%d %H:%M:%S} UTC' AND 'CF.{{{self._terms.key_field}}}' IS NOT NULL"
        )
        stamps = {str(t["id"]): str(t["LastUpdated"]) for t in self._tickets(query, "LastUpdated")}
        return Changed(stamps, max([cursor, *stamps.values()]))

    def hook(self, body: Mapping[str, Any]) -> str | None:
        number = body.get("ticket")
        return (
            str(number) if isinstance(number, int) or (isinstance(number, str) and number.isdigit()) else None
        )

    def page_url(self, remote_id: str) -> str:
        return f"{self._terms.url.rstrip('/')}/Ticket/Display.html?id={remote_id}"

    def _tickets(
        self, query: str, orderby: str, *, order: str = "ASC", pages: int = MAX_PAGES, per_page: int = PAGE
    ) -> list[Mapping[str, Any]]:
        asked = {"query": query, "orderby": orderby, "order": order, "fields": "LastUpdated"}
        return list(self._pages(f"{API}/tickets", asked, pages, per_page))

    def _history(self, remote_id: str) -> list[Mapping[str, Any]]:
        """The newest transactions, oldest first."""
        asked = {"orderby": "id", "order": "DESC", "fields": _HISTORY}
        found = list(self._pages(f"{API}/ticket/{int(remote_id)}/history", asked, MAX_PAGES, PAGE))
        return sorted(found, key=lambda entry: int(entry["id"]))

    def _pages(
        self, path: str, query: Mapping[str, str], pages: int, per_page: int
    ) -> Iterator[Mapping[str, Any]]:
        for page in range(1, pages + 1):
            asked = {**query, "per_page": str(per_page), "page": str(page)}
            answer = self._line.ask("GET", path, query=asked)
            items = answer["items"]
            yield from items
            # ``pages`` counts what we may not see too; an empty page is an end in any case.
            if not items or page >= int(answer.get("pages") or 0):
                return

    def _comment(self, entry: Mapping[str, Any]) -> Comment:
        at = dt.datetime.fromisoformat(str(entry["Created"]).replace("Z", "+00:00"))
        asked = {"fields": "Content,ContentType", "per_page": str(PAGE)}
        path = f"{API}/transaction/{int(entry['id'])}/attachments"
        author = str(entry["Creator"]["id"])
        return Comment(
            id=str(entry["id"]),
            author=author,
            author_name=author,
            text=_text_of(list(self._pages(path, asked, 1, PAGE))),
            is_internal=entry["Type"] == "Comment",
            at_ms=round(at.timestamp() * 1000),
        )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _text_of(parts: list[Mapping[str, Any]]) -> str:
    """What was written: the plain part, or the HTML one without its tags."""
    for kind in ("text/plain", "text/html"):
        for part in parts:
            content = part.get("Content")
            if (
                str(part.get("ContentType", "")).startswith(kind)
                and isinstance(content, str)
                and content.strip()
            ):
                return content if kind == "text/plain" else _Stripped.of(content)
    return ""


class _Stripped(html.parser.HTMLParser):
    """HTML as the words in it."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    @staticmethod
    def of(text: str) -> str:
        stripped = _Stripped()
        stripped.feed(text)
        stripped.close()
        lines = "".join(stripped.words).splitlines()
        return "\n".join(line.strip() for line in lines if line.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("br", "p", "div", "li", "tr"):
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        self.words.append(data)
