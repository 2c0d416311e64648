"""Down times of hosts and services: from tickets about silence and services, and from outside probes. Pure.

What counts: a confirmed silence of the host (family ``silence``) and a contracted or watched service that did not answer
(family ``service``), from the fault's own beginning to its proven end, reopened time apart. What does not: an agent that is
silent on a server that answers, and whatever was found to be no fault. Planned windows stand apart and cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ticketing.statement import spans
from ticketing.statement.model import Availability, History, Outage, Period
from ticketing.statement.spans import Span

NO_OUTAGE = ("os.agent_down",)
_SERVICE_MARKS = ("service:", "svc:", "unit:")


def of_tickets(histories: Iterable[History], until_ms: int) -> list[Outage]:
    """The outages that tickets tell of."""
    found: list[Outage] = []
    for history in histories:
        is_outage = history.family in ("silence", "service")
        if not is_outage or history.root_cause in NO_OUTAGE or history.root_cause.startswith("none."):
            continue
        service = _service(history.subject) if history.family == "service" else ""
        for span in _down(history, until_ms):
            found += [Outage(host, service, span, history.id) for host in history.affected]
    return found


def _service(subject: str) -> str:
    """``host:a1/service:site`` -> ``site``; what has no mark is the service's name after the host."""
    part = subject.partition("/")[2] or subject.partition(":")[2]
    for mark in _SERVICE_MARKS:
        part = part.removeprefix(mark)
    return part


def _down(history: History, until_ms: int) -> list[Span]:
    begin: int | None = history.began_at_ms
    found: list[Span] = []
    for told in history.events:
        if told.at_ms >= until_ms:
            break
        is_end = told.kind == "resolve" or (told.kind == "merge" and told.body.get("ticket") == history.id)
        if is_end and begin is not None:
            end = told.body.get("ended_at_ms")
            found.append((begin, end if isinstance(end, int) and end >= begin else told.at_ms))
            begin = None
        elif told.kind == "reopen" and begin is None:
            begin = told.at_ms
    if begin is not None:
        found.append((begin, until_ms))
    return found


def measured(
    outages: Sequence[Outage],
    known: Iterable[tuple[str, str]],
    planned: Mapping[str, Sequence[Span]],
    within: Span,
) -> list[Availability]:
    """One row for each (host, service) that is known or was down, by name."""
    by_subject: dict[tuple[str, str], list[Span]] = {subject: [] for subject in known}
    for outage in outages:
        by_subject.setdefault((outage.host_id, outage.service), []).append(outage.span)
    rows = []
    for (host, service), down in sorted(by_subject.items()):
        inside = spans.clip(down, *within)
        unplanned = spans.subtract(inside, planned.get(host, ()))
        rows.append(
            Availability(
                host,
                service,
                whole_ms=max(0, within[1] - within[0]),
                down_ms=spans.length(unplanned),
                planned_ms=spans.length(inside) - spans.length(unplanned),
                outages=len(unplanned),
            )
        )
    return rows


def by_day(
    outages: Sequence[Outage], planned: Mapping[str, Sequence[Span]], period: Period, until_ms: int
) -> list[tuple[int, int, int]]:
    """(day, unplanned ms, planned ms), hosts and services added up; a service that is down with its host counts once."""
    by_host: dict[str, list[Span]] = {}
    for outage in outages:
        by_host.setdefault(outage.host_id, []).append(outage.span)
    days = []
    for day, span in period.days(until_ms):
        unplanned = whole = 0
        for host, down in by_host.items():
            inside = spans.clip(down, *span)
            whole += spans.length(inside)
            unplanned += spans.length(spans.subtract(inside, planned.get(host, ())))
        days.append((day, unplanned, whole - unplanned))
    return days
