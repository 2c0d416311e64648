"""What the collector's side saw becomes findings where it is a symptom by itself: a clock that stood still, or is wrong.

Only the collector can see these: a guest that was paused with its clocks, and a clock that follows a wrong source, look
well from inside. They go through the same mill as what agents find (stream ``collector:seen``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import inf
from statistics import median_low

from sqlalchemy import Connection, select

from collector.store.engine import after_commit
from collector.tables import hosts, observations, open_findings
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import OwnFinding, append_own

SEEN_STREAM = "collector:seen"
STOOD_STILL = "clock.stood_still"
TRULY_OFF = "clock.truly_off"

STEP_MIN_S = 1.0
"""Below this a pause is recorded only: a live migration of 300 ms is nothing (signals.md 3.4)."""
STEP_LASTS_MS = 3_600_000
ENOUGH = ((10.0, 1), (3.0, 3), (STEP_MIN_S, 10))
"""(seconds, times within STEP_LASTS_MS): from which on stops are told (signals.md 3.4 P1, P2); fewer are recorded only."""
OFF_MS = 500.0
WELL_MS = 100.0
OFF_FOR_MS = 600_000
TOGETHER_MS = 15_000
OFF_TOGETHER_MS = 120_000
"""A true offset is folded by the minute: changes of one instant are told within this time."""
OURS_SHARE = 0.6
"""This part of the living fleet, of several providers, is not wrong by the same figure at once: our own clock is."""
LOOK_BACK_MS = 2 * STEP_LASTS_MS
SIGNALS = ("clk.offset_step_s", "clk.true_offset_ms")
ASKED_AT_ONCE = 500
"""Hosts in one statement."""
LATE_MS = 10_000
"""An observation may be committed this long after it was received."""


def watch_seen(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    """Open and close the collector's own findings about clocks."""
    wanted = (
        select(observations.c.host_id, observations.c.signal, observations.c.value, observations.c.at_ms)
        .where(
            observations.c.received_at_ms >= now_ms - LOOK_BACK_MS,
            observations.c.signal.in_(SIGNALS),
        )
        .order_by(observations.c.at_ms, observations.c.id)
    )
    rows = tx.execute(wanted).all()
    held = _held(tx)
    next_ = TickReport(next_wake_ms=now_ms + LOOK_BACK_MS)
    steps: dict[str, list[tuple[int, float]]] = {}
    offsets: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        into = steps if row.signal == "clk.offset_step_s" else offsets
        into.setdefault(row.host_id, []).append((row.at_ms, float(row.value)))
    steps = _without_our_own(tx, steps)
    offsets = _without_our_own_time(tx, offsets, held, now_ms, next_)
    found = [*_stood_still(steps, held, now_ms, next_), *_truly_off(offsets, held, now_ms, next_)]
    append_own(tx, SEEN_STREAM, found, now_ms)
    report.count("seen_findings", len(found))
    after_commit(tx, lambda: ctx.has_seen(now_ms - LATE_MS, next_.next_wake_ms))


def _without_our_own(
    tx: Connection, steps: Mapping[str, list[tuple[int, float]]]
) -> dict[str, list[tuple[int, float]]]:
    """The steps without those that hosts of several providers made together: then it was our clock that stood (P2)."""
    large = [(at, step, host) for host, moves in steps.items() for at, step in moves if step >= STEP_MIN_S]
    if len(large) < 2:
        return dict(steps)
    names = sorted({host for _, _, host in large})
    provider: dict[str, str] = {}
    for n in range(0, len(names), ASKED_AT_ONCE):
        wanted = select(hosts.c.id, hosts.c.topology).where(hosts.c.id.in_(names[n : n + ASKED_AT_ONCE]))
        provider |= {
            row.id: str((row.topology or {}).get("provider") or row.id) for row in tx.execute(wanted)
        }
    # By time, then by provider, then by size: a fleet that steps as one must not be compared host by host.
    told: dict[int, dict[str, list[tuple[float, int]]]] = {}
    for at_ms, step, host_id in large:
        near = told.setdefault(at_ms // TOGETHER_MS, {})
        near.setdefault(provider.get(host_id, host_id), []).append((step, at_ms))
    for near in told.values():
        for moves in near.values():
            moves.sort()

    def is_elsewhere(at_ms: int, step: float, mine: str) -> bool:
        """Whether a host of another provider made the same step at the same time."""
        size = max(0.5, 0.1 * step)
        for slot in (at_ms // TOGETHER_MS + n for n in (-1, 0, 1)):
            for name, moves in told.get(slot, {}).items():
                near = range(bisect_left(moves, (step - size, 0)), bisect_right(moves, (step + size, inf)))
                if name != mine and any(abs(moves[n][1] - at_ms) <= TOGETHER_MS for n in near):
                    return True
        return False

    ours = {(host, at) for at, step, host in large if is_elsewhere(at, step, provider.get(host, host))}
    return {host: [m for m in moves if (host, m[0]) not in ours] for host, moves in steps.items()}


def _without_our_own_time(
    tx: Connection,
    offsets: Mapping[str, list[tuple[int, float]]],
    held: Mapping[tuple[str, str], tuple[int, int]],
    now_ms: int,
    report: TickReport,
) -> dict[str, list[tuple[int, float]]]:
    """The offsets without those of hosts that went wrong together with most of the fleet: then our clock is wrong (rule 8).

    When ours is set right they come back one after another; those that are back just now still count.
    """
    off = {}
    for host, moves in offsets.items():
        newest, earlier = moves[-1], moves[-2] if len(moves) > 1 else None
        if abs(newest[1]) > OFF_MS:
            off[host] = newest
        elif earlier is not None and abs(earlier[1]) > OFF_MS and now_ms - newest[0] < OFF_TOGETHER_MS:
            off[host] = earlier
            report.wake_at(newest[0] + OFF_TOGETHER_MS)
    off = {host: move for host, move in off.items() if (host, TRULY_OFF) not in held}
    if len(off) < 2:
        return dict(offsets)
    alive = select(hosts.c.id, hosts.c.topology).where(hosts.c.life == "alive", hosts.c.is_retired.is_(False))
    provider = {row.id: str((row.topology or {}).get("provider") or row.id) for row in tx.execute(alive)}
    # Most of the fleet is most of those that are off as well, so the median is one of them.
    at_ms = median_low(at for at, _ in off.values())
    offset = median_low(size for _, size in off.values())
    ours = {
        host
        for host, (at, size) in off.items()
        if host in provider
        and abs(at - at_ms) <= OFF_TOGETHER_MS
        and abs(size - offset) <= max(OFF_MS, 0.1 * abs(offset))
    }
    if len({provider[host] for host in ours}) < 2 or len(ours) < OURS_SHARE * len(provider):
        return dict(offsets)
    return {host: moves for host, moves in offsets.items() if host not in ours}


def _are_enough(stops: Sequence[float]) -> bool:
    """Whether stops of one host within the hour are long or many enough to be told."""
    return any(sum(step >= least for step in stops) >= times for least, times in ENOUGH)


def _held(tx: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """(host, rule) -> (opening n, since) of what we hold open."""
    wanted = select(
        open_findings.c.host_id, open_findings.c.rule, open_findings.c.opening_n, open_findings.c.at_ms
    ).where(open_findings.c.stream == SEEN_STREAM)
    return {(row.host_id, row.rule): (row.opening_n, row.at_ms) for row in tx.execute(wanted)}


def _stood_still(
    steps: Mapping[str, list[tuple[int, float]]],
    held: Mapping[tuple[str, str], tuple[int, int]],
    now_ms: int,
    report: TickReport,
) -> list[OwnFinding]:
    found = []
    hosts = {host_id for host_id, rule in held if rule == STOOD_STILL}
    for host_id in sorted(hosts | steps.keys()):
        large = [(at, step) for at, step in steps.get(host_id, []) if step >= STEP_MIN_S]
        fresh = [(at, step) for at, step in large if now_ms - at < STEP_LASTS_MS]
        known = held.get((host_id, STOOD_STILL))
        if fresh:
            report.wake_at(fresh[-1][0] + STEP_LASTS_MS)
        if known is None and _are_enough([step for _, step in fresh]):
            at_ms, step = fresh[0][0], max(step for _, step in fresh)
            facts = {"clk.offset_step_s": {"now": step, "before": 0}}
            found.append(OwnFinding(host_id, "opened", STOOD_STILL, "", "virt", at_ms, "medium", facts=facts))
        elif not fresh and known is not None:
            ended_ms = large[-1][0] if large else known[1]
            found.append(
                OwnFinding(
                    host_id,
                    "closed",
                    STOOD_STILL,
                    "",
                    "virt",
                    ended_ms,
                    reason="quiet_since",
                    opening_n=known[0],
                )
            )
    return found


def _truly_off(
    offsets: Mapping[str, list[tuple[int, float]]],
    held: Mapping[tuple[str, str], tuple[int, int]],
    now_ms: int,
    report: TickReport,
) -> list[OwnFinding]:
    found = []
    for host_id, moves in sorted(offsets.items()):
        known = held.get((host_id, TRULY_OFF))
        newest = moves[-1][1]
        if known is not None:
            if abs(newest) < WELL_MS:
                found.append(
                    OwnFinding(
                        host_id,
                        "closed",
                        TRULY_OFF,
                        "",
                        "clock",
                        moves[-1][0],
                        reason="cleared",
                        opening_n=known[0],
                    )
                )
            continue
        since_ms = None
        for at_ms, offset in moves:
            since_ms = (since_ms if since_ms is not None else at_ms) if abs(offset) > OFF_MS else None
        if since_ms is None:
            continue
        if now_ms - since_ms < OFF_FOR_MS:
            report.wake_at(since_ms + OFF_FOR_MS)
            continue
        facts = {"clk.true_offset_ms": {"now": newest, "before": 0}}
        found.append(OwnFinding(host_id, "opened", TRULY_OFF, "", "clock", since_ms, "medium", facts=facts))
    return found
