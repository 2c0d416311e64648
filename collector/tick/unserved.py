"""What another vantage cannot reach on a host that reports becomes a finding: its clients may be as badly off.

Our own probe of the same service goes by its own rule (``outside``); a vantage's word is heard only when it has stood for a
while, and only about hosts that we hear, or that only our own broken way keeps from us. Of other silent hosts the silence itself
is judged. A vantage must prove itself as we
must: one that lost hosts of unrelated providers at once lost its own way, and is heard again when it reaches them.
Stream ``collector:unserved``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlalchemy import Connection, select

from collector.tables import hosts, observations, open_findings
from collector.tick.cases import body_of
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import CUT_OFF_SINCE, SILENCE_STREAM, OwnFinding, append_own, chunks, remembered

STREAM = "collector:unserved"
RULE = "vantage.service"
SUBJECTS = {"ext.svc": "service", "ext.tcp22": "ssh"}
BAD = frozenset({"dead", "refused", "timeout", "banner_timeout", "kex_timeout"})
REACHED = frozenset({"ok", "loss", "refused"})
SILENCE_RULE = "silence"
HOLD_MS = 60_000
LOOK_BACK_MS = 3_600_000
TOGETHER_MS = 60_000
UNRELATED = 2
"""So many providers lost at once are a reason to doubt the vantage."""


@dataclasses.dataclass
class _Word:
    """What one vantage said last of one service, and since when it has been bad."""

    value: str
    bad_since_ms: int | None
    at_ms: int


def watch_unserved(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    """The whole step: read what vantages said lately, open what has stood long enough, close what is well again."""
    wanted = (
        select(
            observations.c.host_id,
            observations.c.signal,
            observations.c.vantage,
            observations.c.value,
            observations.c.at_ms,
        )
        .where(
            observations.c.received_at_ms >= now_ms - LOOK_BACK_MS,
            observations.c.signal.in_(("ext.svc", "ext.tcp22", "ext.icmp")),
            observations.c.vantage.not_in(("", "collector")),
        )
        .order_by(observations.c.at_ms, observations.c.id)
        .limit(ctx.limits.answers)
    )
    words: dict[tuple[str, str, str], _Word] = {}
    for host_id, signal, vantage, value, at_ms in tx.execute(wanted):
        known = words.get((host_id, signal, vantage))
        since = None
        if str(value) in BAD:
            since = known.bad_since_ms if known is not None and known.bad_since_ms is not None else at_ms
        words[(host_id, signal, vantage)] = _Word(str(value), since, at_ms)
    held = _held(tx)
    if not words and not held:
        return
    bad = {key: word for key, word in words.items() if word.bad_since_ms is not None and key[1] in SUBJECTS}
    found = _closed(words, held)
    if bad and not remembered(tx, CUT_OFF_SINCE):
        found += _opened(tx, bad, words, held, now_ms, report)
    append_own(tx, STREAM, found, now_ms)
    report.count("unserved_findings", len(found))


def _held(tx: Connection) -> dict[tuple[str, str], int]:
    wanted = select(open_findings.c.host_id, open_findings.c.subject, open_findings.c.opening_n)
    return {
        (row.host_id, row.subject): row.opening_n
        for row in tx.execute(wanted.where(open_findings.c.stream == STREAM))
    }


def _closed(words: dict[tuple[str, str, str], _Word], held: dict[tuple[str, str], int]) -> list[OwnFinding]:
    found = []
    for (host_id, subject), opening_n in sorted(held.items()):
        signal = next(s for s, name in SUBJECTS.items() if name == subject)
        mine = [w for (h, s, _), w in words.items() if (h, s) == (host_id, signal)]
        if mine and all(word.bad_since_ms is None for word in mine):
            at_ms = max(word.at_ms for word in mine)
            found.append(
                OwnFinding(
                    host_id, "closed", RULE, subject, "service", at_ms, reason="cleared", opening_n=opening_n
                )
            )
    return found


def _opened(
    tx: Connection,
    bad: dict[tuple[str, str, str], _Word],
    words: dict[tuple[str, str, str], _Word],
    held: dict[tuple[str, str], int],
    now_ms: int,
    report: TickReport,
) -> list[OwnFinding]:
    bad_hosts = sorted({host_id for host_id, _, _ in bad})
    heard = _heard(tx, bad_hosts)
    unheard = _unheard_by_us(tx, bad_hosts)
    doubted = _doubted(bad, _providers(tx, sorted(heard)))
    found: dict[tuple[str, str], OwnFinding] = {}
    for (host_id, signal, vantage), word in sorted(bad.items()):
        since, subject = word.bad_since_ms or now_ms, SUBJECTS[signal]
        if (host_id, subject) in held or (host_id, subject) in found or (vantage, host_id) in doubted:
            continue
        last_ms, alive_since_ms = heard.get(host_id, (0, 0))
        # What was seen while the host was away is looked at once more when it is back (questions.look_again).
        stands_since = max(since, alive_since_ms)
        if now_ms - stands_since < HOLD_MS:
            report.wake_at(stands_since + HOLD_MS)
            continue
        is_heard = last_ms > since
        if not is_heard and not (host_id in unheard and _reaches(words, host_id, vantage)):
            continue
        facts = {
            name: {"now": other.value}
            for name in ("ext.icmp", "ext.tcp22", "ext.svc")
            if (other := words.get((host_id, name, vantage))) is not None
        }
        facts["ext.state"] = {"now": word.value}
        notes = {"state": word.value, "vantage": vantage, "type": "ssh" if signal == "ext.tcp22" else ""}
        found[(host_id, subject)] = OwnFinding(
            host_id, "opened", RULE, subject, "service", since, "high", facts=facts, notes=notes
        )
    return list(found.values())


def _reaches(words: Mapping[tuple[str, str, str], _Word], host_id: str, vantage: str) -> bool:
    """Whether the vantage itself reaches the host's kernel, by its ping or its SSH."""
    said = [words.get((host_id, signal, vantage)) for signal in ("ext.icmp", "ext.tcp22")]
    return any(word is not None and word.value in REACHED for word in said)


def _unheard_by_us(tx: Connection, host_ids: list[str]) -> set[str]:
    """Hosts that are silent only since our way to them is broken: what a vantage is not served there, clients are not either."""
    found: set[str] = set()
    for part in chunks(host_ids):
        wanted = select(open_findings.c.host_id, open_findings.c.body).where(
            open_findings.c.host_id.in_(part),
            open_findings.c.stream == SILENCE_STREAM,
            open_findings.c.rule == SILENCE_RULE,
        )
        for row in tx.execute(wanted):
            outcome = (body_of(row.body).get("facts") or {}).get("silence.outcome") or {}
            if outcome.get("now") == "path":
                found.add(row.host_id)
    return found


def _doubted(bad: Mapping[tuple[str, str, str], _Word], providers: Mapping[str, str]) -> set[tuple[str, str]]:
    """(vantage, host) that the vantage lost together with hosts of other providers, all of which report to us."""
    lost: dict[str, list[tuple[int, str]]] = {}
    for (host_id, _, vantage), word in bad.items():
        if host_id in providers:
            lost.setdefault(vantage, []).append((word.bad_since_ms or 0, host_id))
    found = set()
    for vantage, fell in lost.items():
        for since, host_id in fell:
            near = {providers[other] for at, other in fell if abs(at - since) <= TOGETHER_MS}
            if len(near) >= UNRELATED:
                found.add((vantage, host_id))
    return found


def _providers(tx: Connection, host_ids: list[str]) -> dict[str, str]:
    """Where the hosts stand; one of which that is not known stands by itself."""
    found: dict[str, str] = {}
    for part in chunks(host_ids):
        for row in tx.execute(select(hosts.c.id, hosts.c.topology).where(hosts.c.id.in_(part))):
            found[row.id] = str((row.topology or {}).get("provider") or row.id)
    return found


def _heard(tx: Connection, host_ids: list[str]) -> dict[str, tuple[int, int]]:
    """When each of the hosts that are alive was last heard, and since when it has been alive."""
    found: dict[str, tuple[int, int]] = {}
    for part in chunks(host_ids):
        wanted = select(hosts.c.id, hosts.c.last_report_at_ms, hosts.c.life_since_ms).where(
            hosts.c.id.in_(part), hosts.c.life == "alive", hosts.c.is_retired.is_(False)
        )
        found.update({row.id: (row.last_report_at_ms or 0, row.life_since_ms) for row in tx.execute(wanted)})
    return found
