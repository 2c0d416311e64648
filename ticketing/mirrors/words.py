"""What is written into an external desk: the ticket when it is made, a short comment for each later moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketing.messages import MAX_REASONS, compose, summary, ticket_url
from ticketing.mirrors.desk import Draft, Wanted, marked
from ticketing.mirrors.terms import MirrorTerms
from ticketing.model import Reason
from ticketing.texts import texts

MAX_FIELD = 250


def draft(row: Mapping[str, Any], key: str, terms: MirrorTerms, public_url: str) -> Draft:
    """The ticket as it is made there, from the message that makes it."""
    payload = row["payload"]
    ticket = payload["ticket"]
    words = texts(payload["language"]).at(payload["contract"]["zone"])
    return Draft(
        key=key,
        project=terms.project,
        title=f"#{ticket['id']} {summary(payload, words)}"[:255],
        text=marked(compose(payload, public_url).text, row["message_id"]),
        wanted=Wanted(terms.status_of(ticket["state"]), terms.people.get(ticket["assignee"] or "")),
        tracker=terms.tracker,
        priority=terms.priorities.get(ticket["severity"], ""),
        fields=_fields(payload, terms, public_url),
    )


def comment(row: Mapping[str, Any], public_url: str) -> str:
    """What a later moment says there, with its marker."""
    payload = row["payload"]
    words = texts(payload["language"]).at(payload["contract"]["zone"])
    lines = [words.get(f"notice.{payload['event']}")]
    lines += [f"- {words.reason(Reason.from_dict(raw))}" for raw in payload["reasons"][:MAX_REASONS]]
    if payload["text"]:
        lines += ["", str(payload["text"])]
    url = ticket_url(payload, public_url)
    if url:
        lines += ["", url]
    return marked("\n".join(lines), row["message_id"])


def _fields(payload: Mapping[str, Any], terms: MirrorTerms, public_url: str) -> dict[str, str]:
    """Their field -> its value, for what the contract maps."""
    ticket = payload["ticket"]
    words = texts(payload["language"]).at(payload["contract"]["zone"])
    values = {
        "number": ticket["id"],
        "class": ticket["class"],
        "root_cause": ticket["root_cause"],
        "severity": ticket["severity"],
        "line": ticket["line"],
        "scope": ticket["scope"],
        "affected": ", ".join(ticket["affected"]),
        "began": words.when(ticket["began_at_ms"]),
        "url": ticket_url(payload, public_url),
    }
    return {theirs: str(values[ours])[:MAX_FIELD] for ours, theirs in terms.fields.items()}
