"""A play in words, for a person: the tickets it would open, when, and why; what stayed quiet, and why."""

from __future__ import annotations

from collections.abc import Mapping

from collector.replay.played import Played, PlayedTicket, Quiet
from collector.replay.score import Score
from ticketing.texts import Texts, texts

QUIET_MAX = 8


def lines_of(played: Played, scored: Score | None, language: str) -> list[str]:
    """One scenario."""
    words = texts(language)
    scenario = played.scenario
    lines = [f"{_mark(scored)}{scenario.id}  {scenario.title}".rstrip()]
    for ticket in played.tickets:
        lines += _ticket(ticket, words)
    if not played.tickets:
        lines.append("    no ticket")
    lines += _quiet(played.quiet, words)
    lines.append(f"    failover: {played.failover.decision} ({played.failover.reason})")
    if scored is not None:
        lines += [f"    ! {fail}" for fail in scored.hard_fails]
        lines += [f"    - {note}" for note in scored.notes]
    return lines


def _mark(scored: Score | None) -> str:
    if scored is None:
        return ""
    if scored.hard_fails:
        return "FAIL  "
    return f"{scored.points}/8  " if scored.points < 8 else "ok   "


def _ticket(ticket: PlayedTicket, words: Texts) -> list[str]:
    turned = f" (opened as {ticket.first_class})" if ticket.first_class not in ("", ticket.class_) else ""
    lines = [
        f"    {ticket.opened_at_s:8.1f} s  {ticket.role}, class {ticket.class_}{turned}, {ticket.root_cause},"
        f" {ticket.scope}, {ticket.severity}, {ticket.state}: {', '.join(ticket.affected)}",
        f"                {words.reason(ticket.summary)}",
    ]
    lines += [f"                {reason.weight:+.1f} {words.reason(reason)}" for reason in ticket.reasons]
    return lines


def _quiet(quiet: tuple[Quiet, ...], words: Texts) -> list[str]:
    lines = [
        f"    {q.at_s:8.1f} s  quiet: {q.host} {q.rule} {q.subject}".rstrip()
        + (f" - {words.reason(q.reason)}" if q.reason else "")
        for q in quiet[:QUIET_MAX]
    ]
    if len(quiet) > QUIET_MAX:
        lines.append(f"                and {len(quiet) - QUIET_MAX} quiet findings more")
    return lines


def summary_lines(counts: Mapping[str, int], gate: float) -> list[str]:
    """The count at the end."""
    of = counts["of"]
    return [
        f"class {counts['class']} of {of}, root cause {counts['root_cause']}, tickets and scope {counts['tickets']},"
        f" time {counts['time']}, failover {counts['failover']}, hard fails {counts['hard_fails']};"
        f" gate {gate:.0%} of classes and no hard fail"
    ]
