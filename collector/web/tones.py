"""Tones of states, lives and severities: one table each, so that a page and its neighbour never disagree on a colour."""

from __future__ import annotations

from collector.fleet import Life
from ticketing.model import TicketState

CALM, GOOD, WARN, BAD, INFO = "calm", "good", "warn", "bad", "info"

SEVERITY_TONES = {"low": CALM, "medium": INFO, "high": WARN, "critical": BAD}

STATE_TONES = {
    TicketState.NEW.value: WARN,
    TicketState.IN_WORK.value: INFO,
    TicketState.WAITING_CLIENT.value: CALM,
    TicketState.WAITING_PROVIDER.value: CALM,
    TicketState.RESOLVED.value: GOOD,
    TicketState.CLOSED.value: CALM,
    TicketState.MERGED.value: CALM,
}

LIFE_TONES = {
    Life.AWAITED.value: CALM,
    Life.ALIVE.value: GOOD,
    Life.SUSPECT.value: WARN,
    Life.SILENT.value: BAD,
    Life.STOPPED.value: CALM,
    Life.RETIRED.value: CALM,
}
