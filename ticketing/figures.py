"""The plots that go with a message: what the desk knew when the message was written, so every retry shows the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ticketing import pictures, plots, tables
from ticketing.texts import Texts

MAX_FIGURES = 4
MAX_EVENTS = 20

_UNSAID = ("count", "ratio", "bits", "number")
"""Units that the number itself says."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One plot: its name within the message, a caption, a sentence for who cannot see it, and the drawing."""

    name: str
    caption: str
    told: str
    svg: str


def evidence(conn: Connection, ticket_id: int, until_ms: int) -> list[Mapping[str, Any]]:
    """Bodies of the ticket's evidence as of an instant, newest first."""
    table = tables.ticket_events
    wanted = (
        select(table.c.body)
        .where(table.c.ticket_id == ticket_id, table.c.kind == "evidence", table.c.at_ms <= until_ms)
        .order_by(table.c.id.desc())
        .limit(MAX_EVENTS)
    )
    return list(conn.execute(wanted).scalars())


def figures(
    bodies: Sequence[Mapping[str, Any]], words: Texts, mark_ms: int, most: int = MAX_FIGURES
) -> list[Figure]:
    """Plots of the newest evidence that has series; captions in the reader's words, with the host they are of."""
    found: list[Figure] = []
    for body in bodies:
        for signal, points in (body.get("series") or {}).items():
            if len(found) >= most:
                return found
            figure = _figure(body, signal, points, words, mark_ms, len(found))
            if figure is not None:
                found.append(figure)
        if found:
            break
    return found


def _figure(
    body: Mapping[str, Any], signal: str, points: Any, words: Texts, mark_ms: int, number: int
) -> Figure | None:
    name = signal.partition("|")[0]
    key = f"web.signal.{name}"
    title = words.get(key) if key in words else name
    fact = (body.get("facts") or {}).get(signal)
    unit = str(fact.get("unit") or "") if isinstance(fact, Mapping) else ""
    unit_key = f"web.unit.{unit}"
    unit = "" if unit in _UNSAID or "|" in unit or ".." in unit else unit
    unit = words.get(unit_key) if unit and unit_key in words else unit
    # The painter's own font knows Latin letters only; a unit in others is told by the caption.
    drawn = unit if unit.isascii() or unit == "°C" else ""

    def drawing(axis: str) -> str:
        return plots.svg(
            points, mark_ms=mark_ms, unit=axis, title=title, language=words.language, zone=words.zone
        )

    svg = drawing(drawn)
    if not svg:
        return None
    told = pictures.told(svg if drawn == unit else drawing(unit))
    title = f"{title}, {unit}" if unit and not drawn else title
    where = " · ".join(str(part) for part in (body.get("host"), body.get("subject")) if part)
    caption = f"{title} – {where}" if where else title
    return Figure(f"plot-{number}", caption, told, svg)
