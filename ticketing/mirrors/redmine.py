"""Redmine by its REST API (5.0 and later). The key lies in a custom field that is used as a filter.

Traps: lists show open issues only unless asked for all; a status that the workflow forbids is ignored under a 204, and a
new issue may get the workflow's first status whatever is asked, so ``read`` after ``write`` is what counts; a key that is
no good is answered as a stranger, who sees nothing; 422 tells what is wrong. Note and status go in one request and become
one journal entry. Redmine sends webhooks from 7.0 on, earlier ones are asked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from config.clock import Clock
from ticketing.mirrors.desk import MAX_CHANGES, Changed, Comment, Draft, Fault, Remote, Wanted
from ticketing.mirrors.http import Line, read_token
from ticketing.mirrors.terms import DeskTerms

PAGE = 100
MAX_PAGES = 20
OVERLAP = dt.timedelta(seconds=60)
"""A change may become visible later than one with a later time; a stamp that did not move costs nothing."""


class Redmine:
    """One Redmine."""

    def __init__(self, terms: DeskTerms, clock: Clock) -> None:
        self._terms = terms
        self._field = int(terms.key_field)
        self._line = Line(terms, {"X-Redmine-API-Key": read_token(terms)}, clock)
        self._me = ""
        self._names: dict[str, dict[str, int]] = {}

    def me(self) -> str:
        if not self._me:
            self._me = str(self._line.ask("GET", "/users/current.json")["user"]["id"])
        return self._me

    def find(self, key: str) -> list[str]:
        self.me()  # with a key that is no good Redmine would answer as to a stranger: nothing found
        query = {f"cf_{self._field}": key, "status_id": "*", "sort": "id", "limit": str(PAGE)}
        found = self._line.ask("GET", "/issues.json", query=query)["issues"]
        return [str(issue["id"]) for issue in found if self._key_of(issue) == key]

    def create(self, draft: Draft) -> str:
        issue: dict[str, Any] = {
            "project_id": draft.project,
            "subject": draft.title[:255],
            "description": draft.text,
            "custom_fields": [
                {"id": self._field, "value": draft.key},
                *({"id": int(number), "value": value} for number, value in draft.fields.items()),
            ],
            **self._fields(draft.wanted),
        }
        if draft.tracker:
            issue["tracker_id"] = self._number("trackers", draft.tracker)
        if draft.priority:
            issue["priority_id"] = self._number("issue_priorities", draft.priority)
        return str(self._line.ask("POST", "/issues.json", body={"issue": issue})["issue"]["id"])

    def read(self, remote_id: str, known: Collection[str] = ()) -> Remote:
        issue = self._line.ask("GET", f"/issues/{int(remote_id)}.json", query={"include": "journals"})[
            "issue"
        ]
        journals = issue.get("journals", [])
        fresh = [entry for entry in journals if entry.get("notes") and str(entry["id"]) not in known]
        assignee = issue.get("assigned_to") or {}
        return Remote(
            id=str(issue["id"]),
            status=issue["status"]["name"],
            assignee=str(assignee.get("id", "")),
            assignee_name=str(assignee.get("name", "")),
            project=str(issue["project"]["name"]),
            comments=tuple(_comment(entry) for entry in fresh[:MAX_CHANGES]),
            last_by=_author(journals[-1])[1] if journals else "",
        )

    def write(self, remote_id: str, text: str, wanted: Wanted) -> None:
        issue = self._fields(wanted) | ({"notes": text} if text else {})
        if issue:
            self._line.ask("PUT", f"/issues/{int(remote_id)}.json", body={"issue": issue})

    def fold(self, younger: str, older: str, note: str, key: str) -> None:
        relation = {"issue_to_id": int(older), "relation_type": "duplicates"}
        try:
            self._line.ask("POST", f"/issues/{int(younger)}/relations.json", body={"relation": relation})
        except Fault as fault:
            if not fault.is_known:
                raise
            # The relation stands already, or nobody may make one: the note says the same.
        closed = [
            s for s in self._line.ask("GET", "/issue_statuses.json")["issue_statuses"] if s["is_closed"]
        ]
        issue: dict[str, Any] = {
            "notes": note,
            "custom_fields": [{"id": self._field, "value": f"{key} = #{older}"}],
        }
        if closed:
            issue["status_id"] = closed[0]["id"]
        self._line.ask("PUT", f"/issues/{int(younger)}.json", body={"issue": issue})

    def changed(self, cursor: str) -> Changed:
        if not cursor:
            return Changed({}, self._newest())
        since = dt.datetime.fromisoformat(cursor.replace("Z", "+00:00")) - OVERLAP
        query = {
            "updated_on": f">={since:%Y-%m-%dT%H:%M:%SZ}",
            f"cf_{self._field}": "*",
            "status_id": "*",
            "sort": "updated_on,id",
            "limit": str(PAGE),
        }
        stamps: dict[str, str] = {}
        for page in range(MAX_PAGES):
            found = self._line.ask("GET", "/issues.json", query=query | {"offset": str(page * PAGE)})[
                "issues"
            ]
            for issue in found:
                stamps[str(issue["id"])] = str(issue["updated_on"])
            if len(found) < PAGE:
                break
        return Changed(stamps, max([cursor, *stamps.values()]))

    def hook(self, body: Mapping[str, Any]) -> str | None:
        issue = body.get("issue") or (body.get("data") or {}).get("issue") or {}
        return str(issue["id"]) if isinstance(issue.get("id"), int) else None

    def page_url(self, remote_id: str) -> str:
        return f"{self._terms.url.rstrip('/')}/issues/{remote_id}"

    def _newest(self) -> str:
        """The desk's own time of its last change: our clock may differ."""
        query = {"status_id": "*", "sort": "updated_on:desc", "limit": "1"}
        found = self._line.ask("GET", "/issues.json", query=query)["issues"]
        return str(found[0]["updated_on"]) if found else "2000-01-01T00:00:00Z"

    def _fields(self, wanted: Wanted) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if wanted.status is not None:
            values["status_id"] = self._number("issue_statuses", wanted.status)
        if wanted.assignee is not None:
            values["assigned_to_id"] = int(wanted.assignee) if wanted.assignee else ""
        return values

    def _number(self, kind: str, name: str) -> int:
        """The number of a status, tracker or priority; asked once, and again when a name is unknown."""
        if name.casefold() not in self._names.get(kind, {}):
            path = f"/enumerations/{kind}.json" if kind == "issue_priorities" else f"/{kind}.json"
            rows = self._line.ask("GET", path)[kind]
            self._names[kind] = {str(row["name"]).casefold(): int(row["id"]) for row in rows}
        known = self._names[kind]
        if name.casefold() not in known:
            raise Fault(
                f"the desk has no {name!r} among its {kind}: {', '.join(sorted(known))}", is_known=True
            )
        return known[name.casefold()]

    def _key_of(self, issue: Mapping[str, Any]) -> str:
        fields = issue.get("custom_fields", [])
        return next((str(field.get("value")) for field in fields if field["id"] == self._field), "")


def _author(entry: Mapping[str, Any]) -> tuple[str, str]:
    user = entry.get("user") or {}
    return str(user.get("id", "")), str(user.get("name", ""))


def _comment(entry: Mapping[str, Any]) -> Comment:
    at = dt.datetime.fromisoformat(str(entry["created_on"]).replace("Z", "+00:00"))
    author, name = _author(entry)
    return Comment(
        id=str(entry["id"]),
        author=author,
        author_name=name,
        text=str(entry["notes"]),
        is_internal=bool(entry.get("private_notes")),
        at_ms=round(at.timestamp() * 1000),
    )
