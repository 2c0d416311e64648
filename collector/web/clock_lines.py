"""An SLA clock as a line on a page: a word, a tone, how much is left, a bar. Pure: rows, a calendar and ``now`` in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

from collector.web.durations import short
from ticketing.queries import ClockView
from ticketing.texts import Texts

CALM, GOOD, WARN, BAD = "calm", "good", "warn", "bad"
WARN_PCT = 50
BAD_PCT = 90
ORDER = {"reaction": 0, "resolution": 1, "provider": 2}


class Spends(Protocol):
    """The part of ticketing.calendar.Calendar that is asked here."""

    def spent(self, from_ms: int, to_ms: int) -> int: ...


@dataclasses.dataclass(frozen=True)
class ClockLine:
    """What a page shows of one clock; colour never stands alone, the text says the same."""

    kind: str
    label: str
    state: str
    tone: str
    text: str
    pct: int
    due_at_ms: int | None
    target_ms: int
    spent_ms: int
    pause_reason: str
    outcome: str
    warned_pct: int

    @property
    def left_ms(self) -> int:
        return self.target_ms - self.spent_ms


def clock_lines(words: Texts, clocks: Iterable[ClockView], calendar: Spends, now_ms: int) -> list[ClockLine]:
    """The ticket's clocks in reading order: reaction, resolution, provider."""
    return [
        _line(words, clock, calendar, now_ms) for clock in sorted(clocks, key=lambda c: ORDER.get(c.kind, 9))
    ]


def _line(words: Texts, clock: ClockView, calendar: Spends, now_ms: int) -> ClockLine:
    spent_ms = _spent_ms(clock, calendar, now_ms)
    target_ms = max(1, clock.target_ms)
    pct = min(100, max(0, spent_ms * 100 // target_ms))
    tone, text = _words(words, clock, spent_ms, pct, now_ms)
    label = words.get(f"clock.{clock.kind}")
    return ClockLine(
        kind=clock.kind,
        label=label[:1].upper() + label[1:],
        state=clock.state,
        tone=tone,
        text=text,
        pct=pct,
        due_at_ms=clock.due_at_ms,
        target_ms=clock.target_ms,
        spent_ms=spent_ms,
        pause_reason=clock.pause_reason,
        outcome=clock.outcome,
        warned_pct=clock.warned_pct,
    )


def _spent_ms(clock: ClockView, calendar: Spends, now_ms: int) -> int:
    since_ms = clock.running_since_ms
    if clock.state != "running" or since_ms is None or now_ms <= since_ms:
        return clock.spent_ms
    return clock.spent_ms + calendar.spent(since_ms, now_ms)


def _words(words: Texts, clock: ClockView, spent_ms: int, pct: int, now_ms: int) -> tuple[str, str]:
    if clock.state == "stopped":
        if clock.outcome == "breached":
            return BAD, words.get("web.clock.was_breached", spent=short(words, spent_ms))
        if clock.outcome == "moot":
            return CALM, words.get("web.clock.was_moot")
        return CALM, words.get("web.clock.was_kept", spent=short(words, spent_ms))
    left_ms = clock.target_ms - spent_ms
    if clock.state == "paused":
        if left_ms <= 0 or clock.outcome == "breached":
            return BAD, words.get("web.clock.paused_breached")
        return CALM, words.get("web.clock.paused", left=short(words, left_ms))
    due_at_ms = clock.due_at_ms
    if left_ms <= 0 or clock.outcome == "breached":
        return BAD, words.get("web.clock.breached", over=short(words, max(0, -left_ms)))
    tone = BAD if pct >= BAD_PCT else WARN if pct >= WARN_PCT else GOOD
    # Time to the due instant, nights and holidays included: that is when somebody must be done.
    wait_ms = max(0, due_at_ms - now_ms) if due_at_ms is not None else left_ms
    return tone, words.get("web.clock.left", left=short(words, wait_ms))
