"""A statement as its page, its file and its print show it: rows in words, drawings, months to choose from. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from collector.web.durations import short, working
from collector.web.tones import BAD, CALM, GOOD, WARN
from ticketing.statement import plots, table
from ticketing.statement.model import Availability, Failover, Minutes, Pause, Promise, Statement, TicketPart
from ticketing.texts import Texts

MONTHS_OFFERED = 13
OUTCOME_TONES = {"kept": GOOD, "breached": BAD, "moot": CALM, "running": CALM, "paused": WARN}
MAX_OUTAGES = 100
MAX_PAUSES = 300


def months(now_ms: int, zone: str) -> list[str]:
    """Labels of the last months, this one first."""
    today = dt.datetime.fromtimestamp(now_ms / 1000, ZoneInfo(zone)).date()
    count = today.year * 12 + today.month - 1
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in range(count, count - MONTHS_OFFERED, -1)]


def month_name(words: Texts, label: str) -> str:
    """``2026-10`` -> October 2026."""
    year, month = label.split("-")
    return words.get("statement.month", name=words.get(f"statement.month.{int(month)}"), year=year)


def values(words: Texts, made: Statement, names: Mapping[str, str]) -> dict[str, Any]:
    """What statement_body.html names."""
    classes = [one for one in made.classes if one.carried or one.opened or one.resolved or one.left_open]
    kept = sum(one.resolution_kept for one in classes)
    broken = sum(one.resolution_breached for one in classes)
    reacted, late = sum(c.reaction_kept for c in classes), sum(c.reaction_breached for c in classes)
    hosts_ms = sum(row.whole_ms for row in made.hosts)
    down_ms = sum(row.down_ms for row in made.hosts)
    return {
        "made": made,
        "month": month_name(words, made.period.label),
        "is_running": made.until_ms < made.period.to_ms,
        "tiles": [
            ("statement.tile.availability", _pct(words, hosts_ms - down_ms, hosts_ms), _share_tone(down_ms)),
            ("statement.tile.reaction", _pct(words, reacted, reacted + late), _share_tone(late)),
            ("statement.tile.resolution", _pct(words, kept, kept + broken), _share_tone(broken)),
            ("statement.tile.opened", str(sum(one.opened for one in classes)), ""),
            ("statement.tile.left", str(sum(one.left_open for one in classes)), ""),
        ],
        "hosts": [_available(words, row) for row in made.hosts],
        "services": [_available(words, row) for row in made.services],
        "days_plot": Markup(plots.down_by_day(words, made.down_by_day)),
        "owners_plot": Markup(plots.owners(words, made.minutes)),
        "owners": _owners(words, made.minutes),
        "classes": [
            {name: getattr(one, name) for name in one.__dataclass_fields__}
            | {
                "median": working(words, one.resolution_median_ms)
                if one.resolution_median_ms is not None
                else "–"
            }
            for one in classes
        ],
        "tickets": [_ticket(words, one) for one in made.tickets],
        "pauses": [_pause(words, one, names) for one in made.pauses[:MAX_PAUSES]],
        "pauses_cut": max(0, len(made.pauses) - MAX_PAUSES),
        "outages": made.outages[:MAX_OUTAGES],
        "outages_cut": max(0, len(made.outages) - MAX_OUTAGES),
        "refused": [
            {"at_ms": r.at_ms, "title": r.title, "why": words.reason(r.reason)} for r in made.refused
        ],
        "failovers": [_failover(words, one) for one in made.failovers],
    }


def _failover(words: Texts, one: Failover) -> dict[str, Any]:
    kind_key, state_key = f"statement.failover.{one.kind}", f"failover.state.{one.state}"
    return {
        "at_ms": one.at_ms,
        "ended_at_ms": one.ended_at_ms,
        "kind_text": words.get(kind_key) if kind_key in words else one.kind,
        "state_text": words.get(state_key) if state_key in words else one.state,
        "pair": one.pair.replace(">", " → "),
        "ticket_id": one.ticket_id,
        "achieved": _achieved(words, one),
    }


def _achieved(words: Texts, one: Failover) -> list[tuple[str, str]]:
    """(tone, words) of what a switch took and lost, against the contract; nothing of one that came to no end."""
    if one.rto_s is None or one.rto_limit_s is None or one.rpo_limit_s is None:
        return []
    found = [_held(words, "rto", one.rto_s, one.rto_limit_s)]
    if one.rpo_s is None:
        return [*found, (WARN, words.get("statement.failover.rpo_unknown", limit=round(one.rpo_limit_s)))]
    return [*found, _held(words, "rpo", one.rpo_s, one.rpo_limit_s)]


def _held(words: Texts, name: str, value_s: float, limit_s: float) -> tuple[str, str]:
    tone, how = (GOOD, "kept") if value_s <= limit_s else (BAD, "missed")
    return tone, words.get(
        f"statement.failover.{name}_{how}", **{name: round(value_s), "limit": round(limit_s)}
    )


def _pct(words: Texts, part: int, whole: int) -> str:
    """A share that never reads 100 while something is missing; a dash for nothing."""
    if whole <= 0:
        return "–"
    share = 100.0 * part / whole
    shown = 100.0 if part == whole else min(99.99, int(share * 100) / 100)
    return f"{words.number(shown)} %"


def _share_tone(missing: int) -> str:
    return "bad" if missing else "good"


def _available(words: Texts, row: Availability) -> dict[str, Any]:
    return {
        "host_id": row.host_id,
        "service": row.service,
        "pct": _pct(words, row.whole_ms - row.down_ms, row.whole_ms),
        "tone": BAD if row.down_ms else GOOD,
        "down": short(words, row.down_ms) if row.down_ms else "–",
        "planned": short(words, row.planned_ms) if row.planned_ms else "–",
        "outages": row.outages,
    }


def _owners(words: Texts, minutes: Minutes) -> list[dict[str, str]]:
    names = (*plots.OWNERS, "outside_ms")
    return [
        {
            "name": name.removesuffix("_ms"),
            "label": words.get(f"statement.owner.{name}"),
            "text": working(words, getattr(minutes, name)) if getattr(minutes, name) else "–",
        }
        for name in names
    ]


def _ticket(words: Texts, one: TicketPart) -> dict[str, Any]:
    minutes = one.minutes
    shares = [
        (words.get(f"statement.owner.{name}"), working(words, getattr(minutes, name)))
        for name in plots.OWNERS
        if getattr(minutes, name)
    ]
    return {
        "id": one.id,
        "class_": one.class_,
        "summary": table.summary(words, one),
        "created_at_ms": one.created_at_ms,
        "resolved_at_ms": one.resolved_at_ms,
        "is_open": one.is_open,
        "reopened": one.reopened,
        "reaction": _promise(words, one.reaction),
        "resolution": _promise(words, one.resolution),
        "shares": shares,
    }


def _promise(words: Texts, promise: Promise | None) -> dict[str, str] | None:
    if promise is None:
        return None
    return {
        "tone": OUTCOME_TONES.get(promise.outcome, ""),
        "outcome": words.get(f"statement.outcome.{promise.outcome}"),
        "spent": words.get(
            "statement.of_target",
            spent=working(words, promise.spent_ms),
            target=working(words, promise.target_ms),
        ),
    }


def _pause(words: Texts, one: Pause, names: Mapping[str, str]) -> dict[str, Any]:
    key = f"pause.{one.why}"
    return {
        "ticket_id": one.ticket_id,
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        "working": working(words, one.working_ms),
        "why": words.get(key) if key in words else one.why,
        "who": names.get(one.actor, ""),
        "text": one.text,
    }
