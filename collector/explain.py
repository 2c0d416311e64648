"""Why a ticket has its class and cause: the evidence rows in their order, in words, from the recorded judgements.

``vartovyi-collector explain TICKET`` prints it. It reads what was recorded when the verdict was made, never judges
anew: rows may have changed since, and an explanation must be that of the day.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, select

from collector.qualify.score import Contribution, counted
from collector.tables import judgements
from collector.tick.context import TEXTS_FOLDER
from ticketing.model import Reason, Verdict
from ticketing.tables import tickets
from ticketing.texts import Texts, register, texts

EARLIER_MAX = 20


@dataclasses.dataclass(frozen=True)
class Explained:
    """An explanation as lines for a person, and as plain values for a machine."""

    ticket_id: int
    verdict: Verdict | None
    reasons: tuple[dict[str, Any], ...]
    """Each: key, group, weight, counts (whether it is the one of its group that counts), text."""
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "ticket": self.ticket_id,
            "verdict": self.verdict.to_dict() if self.verdict is not None else None,
            "reasons": list(self.reasons),
        }


def explain(conn: Connection, ticket_id: int, language: str = "uk") -> Explained | None:
    """The explanation of a ticket's present verdict, and what was thought before; None where there is no such ticket."""
    register(TEXTS_FOLDER)
    words = texts(language)
    row = conn.execute(select(tickets.c.verdict).where(tickets.c.id == ticket_id)).first()
    if row is None:
        return None
    judged = (
        select(judgements.c.at_ms, judgements.c.verdict)
        .where(judgements.c.ticket_id == ticket_id)
        .order_by(judgements.c.id.desc())
        .limit(EARLIER_MAX)
    )
    history = [(at_ms, Verdict.from_dict(raw)) for at_ms, raw in conn.execute(judged)]
    if row.verdict is not None:
        verdict = Verdict.from_dict(row.verdict)
    elif history:
        verdict = history[0][1]
    else:
        return Explained(ticket_id, None, (), (words.get("explain.filed"),))
    reasons = tuple(_reason(entry, words) for entry in counted(verdict.reasons))
    lines = [*_head(ticket_id, verdict, words), *_evidence(reasons, words), *_would_change(verdict, words)]
    earlier = [
        (at_ms, v) for at_ms, v in history if (v.class_, v.root_cause) != (verdict.class_, verdict.root_cause)
    ]
    for at_ms, before in earlier:
        said = {"class_name": words.get(f"class.{before.class_}"), "cause": before.root_cause}
        lines.append(words.get("explain.earlier", judged_at_ms=at_ms, **said))
    return Explained(ticket_id, verdict, reasons, tuple(lines))


def _head(ticket_id: int, verdict: Verdict, words: Texts) -> list[str]:
    class_name = words.get(f"class.{verdict.class_}")
    lines = [
        words.get("explain.head", ticket=ticket_id, summary=words.reason(verdict.summary)),
        words.get(
            "explain.verdict",
            class_name=class_name,
            cause=verdict.root_cause,
            confidence=verdict.confidence.value,
        ),
        words.get("explain.scope", scope=verdict.scope, hosts=list(verdict.affected)),
    ]
    if verdict.provisional:
        lines.append(words.get("explain.provisional"))
    return lines


def _evidence(reasons: tuple[dict[str, Any], ...], words: Texts) -> list[str]:
    if not reasons:
        return []
    lines = ["", words.get("explain.reasons")]
    for reason in reasons:
        # What another row of its group outweighs stands in brackets: it was seen, and did not count.
        weight = words.get("explain.weight", weight=reason["weight"])
        weight = weight if reason["counts"] else f"({weight})"
        group = reason["group"] or "none"
        lines.append(
            "  " + words.get("explain.reason", weight=f"{weight:>7}", group=group, text=reason["text"])
        )
    lines.append("  " + words.get("explain.sum", sum=sum(r["weight"] for r in reasons if r["counts"])))
    return lines


def _would_change(verdict: Verdict, words: Texts) -> list[str]:
    if not verdict.would_change:
        return []
    return ["", words.get("explain.would_change"), *(f"  - {words.reason(r)}" for r in verdict.would_change)]


def _reason(entry: Contribution, words: Texts) -> dict[str, Any]:
    reason: Reason = entry.reason
    return {
        "key": reason.key,
        "group": reason.group,
        "weight": reason.weight,
        "counts": entry.counts,
        "text": words.reason(reason),
    }
