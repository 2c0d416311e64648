"""The life of a host, as a table: what a report, a missed deadline or a goodbye makes of it.

Theory of operation. Intake and the tick both move hosts, and both through this table, so that there is one truth
about what silence means. A host that was enrolled is *awaited* until its first report. From then on a deadline
runs: each report moves it, and when it passes the host is a *suspect*, never more: the collector asks the host
itself (probes), and only the answers, or the end of the time that it allows for them, make it *silent*. A host
whose agent said goodbye is *stopped* with a grace of its own, because an orderly reboot is nobody's fault until
it does not end. Silence is never recovery: only a report makes a host alive again.

This module refuses to know how a deadline is stored or who probes. It is pure: values and ``now_ms`` in, values out.
"""

from __future__ import annotations

import dataclasses
import enum

MAX_GRACE_S = 5.0
"""Grace over the interval; with a 1 s heartbeat half the interval, since the whole budget is 3 s (ADR 11)."""

SHUTDOWN_GRACE_S = 300.0
ROLL_OUT_GRACE_S = 1800.0
AGENT_RETRY_S = 15.0
"""After our own outage an agent may still be in its last try: connecting may take 5 s and an answer 10 s (agent.settings)."""
CONFIRM_WITHIN_S = 10.0
"""Probes that have not answered this long after the deadline are not waited for."""


class Life(enum.Enum):
    """Where a host stands."""

    AWAITED = "awaited"
    ALIVE = "alive"
    SUSPECT = "suspect"
    SILENT = "silent"
    STOPPED = "stopped"
    RETIRED = "retired"


class Sign(enum.Enum):
    """What happens to a host."""

    REPORT = "report"
    DEADLINE_PASSED = "deadline_passed"
    CONFIRMED = "confirmed"
    """The probes (or the end of their time) bear the silence out."""
    LIFTED = "lifted"
    """We were asleep or cut off ourselves: the suspicion is withdrawn and a new deadline runs."""
    GOODBYE = "goodbye"
    RETIRE = "retire"


@dataclasses.dataclass(frozen=True)
class Row:
    """One edge of the table: where it leads, and the sentence an operator reads (a text key)."""

    becomes: Life
    sentence: str


TABLE: dict[tuple[Life, Sign], Row] = {
    (Life.AWAITED, Sign.REPORT): Row(Life.ALIVE, "fleet.first_report"),
    (Life.AWAITED, Sign.GOODBYE): Row(Life.STOPPED, "fleet.goodbye"),
    (Life.AWAITED, Sign.RETIRE): Row(Life.RETIRED, "fleet.retired"),
    (Life.ALIVE, Sign.REPORT): Row(Life.ALIVE, "fleet.reports"),
    (Life.ALIVE, Sign.DEADLINE_PASSED): Row(Life.SUSPECT, "fleet.suspected"),
    (Life.ALIVE, Sign.LIFTED): Row(Life.ALIVE, "fleet.lifted"),
    (Life.ALIVE, Sign.GOODBYE): Row(Life.STOPPED, "fleet.goodbye"),
    (Life.ALIVE, Sign.RETIRE): Row(Life.RETIRED, "fleet.retired"),
    (Life.SUSPECT, Sign.REPORT): Row(Life.ALIVE, "fleet.late_report"),
    (Life.SUSPECT, Sign.CONFIRMED): Row(Life.SILENT, "fleet.confirmed"),
    (Life.SUSPECT, Sign.LIFTED): Row(Life.ALIVE, "fleet.lifted"),
    (Life.SUSPECT, Sign.GOODBYE): Row(Life.STOPPED, "fleet.goodbye"),
    (Life.SUSPECT, Sign.RETIRE): Row(Life.RETIRED, "fleet.retired"),
    (Life.SILENT, Sign.REPORT): Row(Life.ALIVE, "fleet.returned"),
    # A goodbye is a report: the host is back, and goes at once. Its return is awaited like any other.
    (Life.SILENT, Sign.GOODBYE): Row(Life.STOPPED, "fleet.goodbye"),
    (Life.SILENT, Sign.RETIRE): Row(Life.RETIRED, "fleet.retired"),
    (Life.STOPPED, Sign.REPORT): Row(Life.ALIVE, "fleet.back_from_stop"),
    (Life.STOPPED, Sign.GOODBYE): Row(Life.STOPPED, "fleet.goodbye"),
    (Life.STOPPED, Sign.DEADLINE_PASSED): Row(Life.SUSPECT, "fleet.did_not_return"),
    (Life.STOPPED, Sign.LIFTED): Row(Life.STOPPED, "fleet.lifted"),
    (Life.STOPPED, Sign.RETIRE): Row(Life.RETIRED, "fleet.retired"),
    (Life.RETIRED, Sign.REPORT): Row(Life.RETIRED, "fleet.retired"),
}


def step(life: Life, sign: Sign) -> Row | None:
    """The row for what happened, or None when it means nothing to a host in that state."""
    return TABLE.get((life, sign))


def grace_s(interval_s: float) -> float:
    """How much later than its interval a report may come."""
    return min(MAX_GRACE_S, interval_s / 2)


def silent_after_ms(received_at_ms: int, interval_s: float) -> int:
    """The deadline that a report received then sets for the next one."""
    return received_at_ms + round((interval_s + grace_s(interval_s)) * 1000)


def return_due_ms(
    received_at_ms: int, goodbye: str, interval_s: float, roll_out_announced: bool = False
) -> int:
    """When a host that said goodbye should be back: a reboot has 300 s, a roll-out (as announced, or by its own word) 1,800 s."""
    if goodbye == "host_shutdown":
        return received_at_ms + round(SHUTDOWN_GRACE_S * 1000)
    if goodbye == "roll_out" or roll_out_announced:
        return received_at_ms + round(ROLL_OUT_GRACE_S * 1000)
    return silent_after_ms(received_at_ms, interval_s)


def lifted_deadline_ms(deadline_ms: int, interval_s: float, now_ms: int) -> int:
    """The deadline after our own gap, never sooner than it was: an interval and its grace from the agent's next try."""
    return max(deadline_ms, silent_after_ms(now_ms, interval_s) + round(AGENT_RETRY_S * 1000))


def was_asleep(last_tick_ms: int | None, now_ms: int, tick_s: float) -> bool:
    """Whether we ourselves were away: no tick before this one, or a hole of more than three ticks and 5 s."""
    return last_tick_ms is None or now_ms - last_tick_ms > max(5000, round(3 * tick_s * 1000))


def decide_by_ms(deadline_ms: int) -> int:
    """When a suspicion is decided with whatever answers there are."""
    return deadline_ms + round(CONFIRM_WITHIN_S * 1000)
