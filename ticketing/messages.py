"""A message to people from an outbox row's snapshot: subject, plain text and HTML in the contract's language. Pure.

The snapshot was taken when the event happened, so every retry says the same; only the link's address is added later.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from ticketing import plots
from ticketing.figures import Figure
from ticketing.model import Reason
from ticketing.snapshots import with_names
from ticketing.texts import Texts, texts

MAX_REASONS = 20
MAX_SUBJECT = 200

_STEPS_WITH = ("opened", "reopened", "requalified", "escalated")


@dataclasses.dataclass(frozen=True)
class Message:
    """What a person reads."""

    subject: str
    text: str
    html: str


@dataclasses.dataclass(frozen=True)
class Part:
    """One block of a message: a heading with paragraphs, lines, a table of labels and values, or figures."""

    title: str
    lines: tuple[str, ...] = ()
    table: tuple[tuple[str, str], ...] = ()
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    link: str = ""
    """An address that stands in its paragraphs, to be followed with a click."""


def summary(payload: Mapping[str, Any], words: Texts) -> str:
    """The ticket's one line."""
    ticket = payload["ticket"]
    if ticket["title"]:
        return str(ticket["title"])
    if ticket["summary"]:
        return words.reason(Reason.from_dict(ticket["summary"]))
    return words.get(f"cause.{ticket['root_cause']}")


def ticket_url(payload: Mapping[str, Any], public_url: str) -> str:
    """Where the ticket's page is; "" while nobody said where the desk stands, or there is no ticket."""
    ticket_id = payload["ticket"]["id"]
    return f"{public_url.rstrip('/')}/tickets/{ticket_id}" if public_url and ticket_id else ""


def compose(
    payload: Mapping[str, Any],
    public_url: str,
    figures: Sequence[Figure] = (),
    act_url: str = "",
    around: Sequence[Part] = (),
) -> Message:
    """The message of one event; HTML names the figures' pictures as ``cid:NAME``.

    ``act_url``: where its reader decides; ``around``: blocks at its end.
    """
    zone = payload["contract"]["zone"]
    words = texts(payload["language"]).at(zone)
    notice = words.get(f"notice.{payload['event']}")
    one_line = summary(payload, words)
    ticket_id = payload["ticket"]["id"]
    subject_key = "mail.subject" if ticket_id else "mail.subject_note"
    subject = words.get(subject_key, ticket=ticket_id, notice=notice, summary=one_line)
    parts = [*_parts(payload, words), *around]
    if figures:
        parts.insert(_behind_facts(parts), Part(words.get("mail.plots"), figures=tuple(figures)))
    if asked := decide_words(payload, act_url, words):
        parts.insert(0, Part(words.get("mail.decide"), paragraphs=(asked,), link=act_url))
    url = ticket_url(payload, public_url)
    return Message(
        # A line break in a subject would be a header of the sender's choice.
        subject=" ".join(subject.split())[:MAX_SUBJECT],
        text=_as_text(one_line, parts, url, words),
        html=_as_html(payload["language"], notice, one_line, parts, url, words),
    )


def decide_words(payload: Mapping[str, Any], act_url: str, words: Texts) -> str:
    """That the reader may decide, until when, and where; "" in a message that asks for nothing."""
    if "switch" not in payload:
        return ""
    until_ms = payload["switch"]["until_ms"]
    if not act_url:
        return words.get("mail.decide.page", until_at_ms=until_ms)
    return words.get("mail.decide.link", until_at_ms=until_ms, url=act_url)


def compose_plain(language: str, zone: str, subject: str, title: str, parts: Sequence[Part]) -> Message:
    """A message that is about no single event of a ticket: an answer, a dossier."""
    words = texts(language).at(zone)
    return Message(
        subject=" ".join(subject.split())[:MAX_SUBJECT],
        text=_as_text(title, list(parts), "", words),
        html=_as_html(language, "", title, list(parts), "", words),
    )


def own_parts(said: Mapping[str, Any]) -> list[Part]:
    """The blocks of a letter that says its own words."""
    raw = [{"title": "", "paragraphs": said["paragraphs"]}] if said.get("paragraphs") else []
    return [
        Part(
            part["title"],
            lines=tuple(part.get("lines", ())),
            table=tuple((label, value) for label, value in part.get("table", ())),
            paragraphs=tuple(part.get("paragraphs", ())),
        )
        for part in [*raw, *said.get("parts", ())]
    ]


def _behind_facts(parts: Sequence[Part]) -> int:
    return next((n + 1 for n, part in enumerate(parts) if part.table), len(parts))


def _parts(payload: Mapping[str, Any], words: Texts) -> list[Part]:
    ticket = payload["ticket"]
    parts: list[Part] = []
    names = payload.get("names") or {}
    raws = [Reason.from_dict(raw) for raw in payload["reasons"][:MAX_REASONS]]
    told = [words.reason(with_names(reason, names)) for reason in raws]
    of_ticket = [words.reason(Reason.from_dict(raw)) for raw in ticket["reasons"][:MAX_REASONS]]
    # A person's own message says why it comes to them, also of a new ticket.
    if told and (payload["event"] not in ("opened", "preventive") or "person" in payload):
        parts.append(Part(words.get("mail.what"), tuple(told)))
    if payload["text"]:
        parts.append(Part(words.get("mail.said"), paragraphs=(str(payload["text"]).strip(),)))
    parts.append(Part("", table=tuple(_facts(payload, words))))
    changed = since_lines(payload, words)
    if changed:
        title = words.get("mail.since", said_at_ms=payload["since"]["at_ms"])
        parts.append(Part(title, tuple(changed)))
    is_said = told == of_ticket and any(part.lines == tuple(told) for part in parts)
    is_beginning = payload["event"] in ("opened", "preventive") and "person" not in payload
    why = [] if is_said else of_ticket or (told if is_beginning else [])
    if why:
        parts.append(Part(words.get("mail.why"), tuple(why)))
    steps = f"steps.{ticket['root_cause']}"
    if payload["event"] in _STEPS_WITH and steps in words:
        parts.append(Part(words.get("mail.next"), tuple(words.get(steps).splitlines())))
    clocks = _clock_lines(payload, words)
    if clocks:
        parts.append(Part(words.get("mail.clocks"), tuple(clocks)))
    return parts


def since_lines(payload: Mapping[str, Any], words: Texts) -> list[str]:
    """What differs from the last message to the same receiver; who has the ticket is for our own people only."""
    lines: list[str] = []
    for row in (payload.get("since") or {}).get("changes", ()):
        field, before, after = row["field"], row["before"], row["after"]
        if field == "hosts":
            lines += [words.get("mail.since.hosts_more", hosts=after)] if after else []
            lines += [words.get("mail.since.hosts_less", hosts=before)] if before else []
        elif field in _SINCE and (field != "assignee" or "person" in payload):
            label, said = _SINCE[field]
            shown = {
                side: said(words, value, payload) for side, value in (("before", before), ("after", after))
            }
            lines.append(words.get("mail.since.changed", what=words.get(label), **shown))
    return lines


def _called(words: Texts, value: Any, payload: Mapping[str, Any]) -> str:
    return (payload.get("names") or {}).get(value, value) if value else words.get("mail.nobody")


_SINCE: Mapping[str, tuple[str, Callable[[Texts, Any, Mapping[str, Any]], str]]] = {
    "class": ("mail.class", lambda words, value, _: words.get("mail.class_of", class_=value)),
    "root_cause": ("mail.cause", lambda words, value, _: words.get(f"cause.{value}")),
    "confidence": ("mail.confidence", lambda words, value, _: words.get(f"confidence.{value}")),
    "severity": ("mail.severity", lambda words, value, _: words.get(f"severity.{value}")),
    "state": ("mail.state", lambda words, value, _: words.get(f"state.{value}")),
    "line": ("mail.line", lambda words, value, _: str(value)),
    "assignee": ("mail.since.assignee", _called),
    "due": ("mail.since.due", lambda words, value, _: words.when(value) if value else "–"),
}
"""Field of a snapshot -> its label, and its value in words."""


def _facts(payload: Mapping[str, Any], words: Texts) -> list[tuple[str, str]]:
    ticket = payload["ticket"]
    affected = ", ".join(ticket["affected"])
    if ticket["affected_count"] > len(ticket["affected"]):
        affected += " " + words.get(
            "mail.affected_more", n=ticket["affected_count"] - len(ticket["affected"])
        )
    rows = [
        ("mail.contract", payload["contract"]["title"]),
        ("mail.class", words.get("mail.class_of", class_=ticket["class"])),
        ("mail.cause", words.get("mail.cause_of", cause=ticket["root_cause"])),
        ("mail.confidence", words.get(f"confidence.{ticket['confidence']}")),
        ("mail.severity", words.get(f"severity.{ticket['severity']}")),
        ("mail.affected", affected),
        ("mail.began", words.when(ticket["began_at_ms"])),
    ]
    if ticket["id"]:
        rows += [
            ("mail.created", words.when(ticket["created_at_ms"])),
            ("mail.state", words.get(f"state.{ticket['state']}")),
            ("mail.line", str(ticket["line"])),
        ]
    if ticket["resolved_at_ms"]:
        rows.append(("mail.resolved", words.when(ticket["resolved_at_ms"])))
    return [(words.get(key), value) for key, value in rows if value]


def _clock_lines(payload: Mapping[str, Any], words: Texts) -> list[str]:
    lines: list[str] = []
    for kind, clock in payload["clocks"].items():
        if clock["state"] == "running" and clock["due_at_ms"] is not None:
            lines.append(words.get("mail.clock_due", clock=kind, due_at_ms=clock["due_at_ms"]))
        elif clock["state"] == "paused":
            lines.append(words.get("mail.clock_paused", clock=kind, pause=clock["pause_reason"]))
        elif clock["outcome"]:
            lines.append(words.get("mail.clock_over", clock=kind, outcome=clock["outcome"]))
    return lines


def _as_text(one_line: str, parts: list[Part], url: str, words: Texts) -> str:
    out = [one_line, ""] if one_line else []
    for part in parts:
        if part.title:
            out.append(f"{part.title}:")
        for paragraph in part.paragraphs:
            out += [paragraph, ""]
        out += [f"  - {figure.caption}: {figure.told}" for figure in part.figures]
        width = max((len(label) for label, _ in part.table), default=0)
        out += [f"{label + ':':<{width + 1}} {value}" for label, value in part.table]
        out += [f"  - {line}" for line in part.lines]
        out.append("")
    if url:
        out += [f"{words.get('mail.open_page')}: {url}", ""]
    out.append(words.get("mail.footer", zone=words.zone))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)) + "\n"


def _figure_html(figure: Figure) -> str:
    return (
        f'<p style="margin:.6em 0 .1em;opacity:.75">{escape(figure.caption)}</p>'
        f'<img src="cid:{figure.name}@vartovyi" alt="{escape(figure.told, quote=True)}" width="{plots.WIDTH}" '
        f'height="{plots.HEIGHT}" style="max-width:100%;height:auto;border-radius:4px;background:#fff">'
    )


def _coded(line: str) -> str:
    """Escaped; what stands between backquotes is a command."""
    parts = line.split("`")
    if len(parts) % 2 == 0:
        return escape(line)  # one backquote alone is just that
    style = "font-family:ui-monospace,monospace;font-size:.92em"
    return "".join(
        f'<code style="{style}">{escape(part)}</code>' if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def _linked(paragraph: str, link: str) -> str:
    """Escaped, with the address as a link."""
    if not link:
        return escape(paragraph)
    shown = escape(link, quote=True)
    return escape(paragraph).replace(
        escape(link), f'<a href="{shown}" style="word-break:break-all">{shown}</a>'
    )


def _as_html(language: str, notice: str, one_line: str, parts: list[Part], url: str, words: Texts) -> str:
    """Plain and small: inline styles only, since mail programs drop the rest; colours are left to the reader's theme."""
    out = [
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">',
        f"<title>{escape(one_line)}</title></head>",
        '<body style="font:15px/1.45 system-ui,sans-serif;max-width:44em;margin:1em auto;padding:0 1em">',
    ]
    if notice:
        out.append(f'<p style="margin:0;opacity:.75">{escape(notice)}</p>')
    if one_line:
        out.append(f'<h1 style="font-size:1.25em;margin:.1em 0 .8em">{escape(one_line)}</h1>')
    for part in parts:
        if part.title:
            out.append(f'<h2 style="font-size:1em;margin:1.1em 0 .3em">{escape(part.title)}</h2>')
        out += [
            f'<p style="margin:.5em 0;white-space:pre-wrap">{_linked(paragraph, part.link)}</p>'
            for paragraph in part.paragraphs
        ]
        out += [_figure_html(figure) for figure in part.figures]
        if part.table:
            out.append('<table style="border-collapse:collapse">')
            out += [
                f'<tr><th scope="row" style="text-align:left;font-weight:normal;opacity:.75;padding:.1em 1em .1em 0;'
                f'vertical-align:top">{escape(label)}</th><td style="padding:.1em 0">{escape(value)}</td></tr>'
                for label, value in part.table
            ]
            out.append("</table>")
        if part.lines:
            items = "".join(f"<li>{_coded(line)}</li>" for line in part.lines)
            out.append(f'<ul style="margin:.2em 0;padding-left:1.2em">{items}</ul>')
    if url:
        link = f'<a href="{escape(url, quote=True)}">{escape(words.get("mail.open_page"))}</a>'
        out.append(f'<p style="margin:1.2em 0">{link}</p>')
    footer = escape(words.get("mail.footer", zone=words.zone))
    out.append(f'<p style="opacity:.6;font-size:.85em">{footer}</p></body></html>')
    return "\n".join(out) + "\n"
