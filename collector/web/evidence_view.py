"""A ticket's evidence as its page shows it: plots, facts, processes, log lines. Pure; every part is bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from agent.signals import catalogue
from agent.wire import Value
from ticketing import plots
from ticketing.queries import EventView
from ticketing.texts import Texts

MAX_PLOTS = 8
MAX_FACTS = 30
MAX_TOP = 12
MAX_LOG = 60
MAX_NOTES = 20
MAX_TEXT = 600
CUT = "web.gap.network_cut"

UNSAID = ("count", "ratio", "bits", "number", "bool")
"""Units that the number itself says."""
FLAG = "bool"
OURS = frozenset({"gathered_in_ms"})
"""Notes about our own work: no engineer reads a ticket for them."""


@dataclasses.dataclass(frozen=True)
class Process:
    name: str
    pid: str
    user: str
    cpu: str
    memory: str
    io: str


@dataclasses.dataclass(frozen=True)
class FactLine:
    name: str
    meaning: str
    now: str
    before: str
    usual: str


@dataclasses.dataclass(frozen=True)
class LogLine:
    at_ms: int | None
    source: str
    text: str


@dataclasses.dataclass(frozen=True)
class EvidenceView:
    """The newest evidence that says something of each kind."""

    at_ms: int | None
    where: str
    plots: Sequence[tuple[str, Markup]]
    """(the signal's name, its drawing)."""
    facts: Sequence[FactLine]
    top: Sequence[Process]
    log: Sequence[LogLine]
    notes: Sequence[tuple[str, str]]
    is_from_vitals: bool = False
    """The plots are of the heartbeats that the collector kept, since the host itself sent none."""


def newest(events: Iterable[EventView]) -> Mapping[str, Any]:
    """One body out of a ticket's evidence: each part from the newest event that has it, since later ones are thinner."""
    merged: dict[str, Any] = {}
    for event in reversed([e for e in events if e.kind == "evidence"]):
        for part in ("facts", "top", "log", "series", "notes"):
            if event.body.get(part):
                if part == "series" and part not in merged:
                    merged["is_from_vitals"] = bool(event.body.get("is_from_vitals"))
                merged.setdefault(part, event.body[part])
        if any(event.body.get(part) for part in ("facts", "series")):
            for part in ("host", "subject", "at_ms"):
                merged.setdefault(part, event.body.get(part))
    return merged


def evidence_view(words: Texts, body: Mapping[str, Any], mark_ms: int) -> EvidenceView | None:
    """None where there is nothing to show."""
    if not body:
        return None
    return EvidenceView(
        at_ms=body.get("at_ms"),
        where=" · ".join(str(part) for part in (body.get("host"), body.get("subject")) if part),
        plots=_plots(words, body.get("series") or {}, mark_ms),
        facts=[_fact(words, *fact) for fact in list((body.get("facts") or {}).items())[:MAX_FACTS]],
        top=[_process(words, entry) for entry in (body.get("top") or [])[:MAX_TOP]],
        log=[_log(entry) for entry in (body.get("log") or [])[-MAX_LOG:]],
        notes=[
            _note(words, str(name), note)
            for name, note in list((body.get("notes") or {}).items())[:MAX_NOTES]
            if name not in OURS
        ],
        is_from_vitals=bool(body.get("is_from_vitals")),
    )


def meaning(words: Texts, signal: str) -> str:
    """The signal's name for people; the catalogue's own meaning is English and for engineers, so it is no fallback."""
    key = f"web.signal.{signal}"
    return words.get(key) if key in words else signal


def signal_value(words: Texts, signal: str, value: Value, unit: str = "") -> str:
    """A value with its unit."""
    if value is None:
        return "–"
    known = catalogue.BY_NAME.get(signal)
    unit = unit or (known.unit if known else "")
    if unit == FLAG and isinstance(value, int | float):
        value = value >= 0.5  # what it was for most of the time before
    if isinstance(value, bool):
        return words.get("web.value.yes" if value else "web.value.no")
    if isinstance(value, int | float):
        shown = words.number(round(value, 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0))
        unit_key = f"web.unit.{unit}"
        if unit_key in words:
            unit = words.get(unit_key)
        return f"{shown} {unit}" if _is_said(unit) else shown
    if signal == "host.gap" and isinstance(value, Mapping):
        key = f"web.gap.{value.get('kind')}"
        if key in words:
            rung = f"web.rung.{value.get('rung')}"
            rung = words.get(rung) if rung in words else _plain(value.get("rung"))
            return words.get(key, rung=rung) if key == CUT else words.get(key)
    # Only where the value is one of few words: a kernel line that is just "ok" stays as it is.
    is_word = (
        signal.startswith(("ext.", "silence."))
        if known is None
        else "|" in known.unit or known.unit == "state"
    )
    return _word(words, value) if is_word else _plain(value)


def _is_said(unit: str) -> bool:
    """Whether people want to read it: not what the number says, and not the list of a word's values (``up|down``, ``0..3``)."""
    return bool(unit) and unit not in UNSAID and "|" not in unit and ".." not in unit


def _plots(words: Texts, series: Mapping[str, Any], mark_ms: int) -> list[tuple[str, Markup]]:
    drawn: list[tuple[str, Markup]] = []
    for name, points in series.items():
        known = catalogue.BY_NAME.get(name.partition("|")[0])
        if len(drawn) == MAX_PLOTS:
            break
        if known and known.unit == FLAG and len({point[1] for point in points}) < 2:
            continue  # a flag that never moved is said in the facts
        unit = known.unit if known else ""
        unit = words.get(f"web.unit.{unit}") if f"web.unit.{unit}" in words else unit
        unit = unit if _is_said(unit) else ""
        title = meaning(words, name)
        svg = plots.svg(
            points, mark_ms=mark_ms, unit=unit, title=title, language=words.language, zone=words.zone
        )
        if svg:
            drawn.append((title, Markup(svg)))
    return drawn


def _fact(words: Texts, name: str, fact: Any) -> FactLine:
    parts = fact if isinstance(fact, Mapping) else {"now": fact}
    unit = str(parts.get("unit") or "")
    now, before, usual = (
        signal_value(words, name, parts.get(part), unit) for part in ("now", "before", "usual")
    )
    return FactLine(name, meaning(words, name), now, before, usual)


def _process(words: Texts, entry: Mapping[str, Any]) -> Process:
    return Process(
        name=str(entry.get("name", ""))[:64],
        pid=str(entry.get("pid", "")),
        user=str(entry.get("user", ""))[:64],
        cpu=signal_value(words, "", entry.get("cpu_pct"), "%"),
        memory=signal_value(words, "", entry.get("rss_mb"), "MiB"),
        io=signal_value(words, "", entry.get("io_mbps"), "MiB/s"),
    )


def _log(entry: Mapping[str, Any]) -> LogLine:
    at_ms = entry.get("at_ms")
    return LogLine(
        at_ms=at_ms if isinstance(at_ms, int) and at_ms > 0 else None,
        source=str(entry.get("source", ""))[:64],
        text=str(entry.get("text", ""))[:MAX_TEXT],
    )


def _note(words: Texts, name: str, value: Any) -> tuple[str, str]:
    """A note with its name in words where it has one; an instant as people read it."""
    key = f"web.note.{name}"
    shown = words.get(key) if key in words else name
    is_instant = name.endswith("_at_ms") and isinstance(value, int) and not isinstance(value, bool)
    if name == "state":
        return shown, _word(words, value)
    return shown, words.get("web.note.instant", at_ms=value) if is_instant else _plain(value)


def _word(words: Texts, value: Any) -> str:
    """One of few words, in the reader's language."""
    return words.get(f"web.word.{value}") if f"web.word.{value}" in words else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{k}: {v}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(str(v) for v in value)
    else:
        text = str(value)
    return text[:MAX_TEXT]
