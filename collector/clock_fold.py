"""What the clocks in reports say: did a guest stand still, was a clock set, how far is it from ours?

Theory of operation. Every report carries the host's three clocks; the time of receipt is ours. (receipt - monotonic)
is constant but for the way of the message, which only ever adds to it: the least of a minute is the truth of that
minute. A guest that its hypervisor stopped comes back with that difference larger by the length of the pause, and it
stays larger; a message that was late alone is followed by one that is not. A step counts when it stays for some
reports under the same boot id, when it is not explained by a longer way (the agent tells the round trip of its last
report), and when it is not everybody's: if most hosts step together, it was our own clock, and nobody's.

BOOTTIME and REALTIME are read together with MONOTONIC on the host, so their steps need no waiting.

Pure: values and instants in, ``Fold`` values out. A few numbers a host; called for every heartbeat, so it does no
more than compare. ``collector.clock_rows`` writes what comes out.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Protocol

STEP_MS = 500
"""Least step of the receipt offset: the way of a message varies by less (signals.md, P2)."""

STAYS_REPORTS, STAYS_MS = 5, 30_000
STAYS_LONG_REPORTS, STAYS_LONG_MS = 3, 120_000
"""A step stands when so many reports over so long a time bear it out; the second pair is for slow heartbeats."""

MINUTE_MS = 60_000
INNER_STEP_MS = 100
"""Least step between two clocks of one host; below it is the reading itself and slewing (as agent.samplers.timekeeping)."""

TRUE_OFFSET_MOVES_MS = 100
"""The true offset is told again when it moved by this much (or by a tenth, where it is large)."""

TOGETHER_MS = 45_000
"""Steps that began within this time are one event; longer than STAYS_MS, since hosts confirm theirs one by one."""

TOGETHER_SHARE, TOGETHER_HOSTS = 0.8, 3
HOLD_MS = 5_000
"""A confirmed step waits so long for the others, so that our own pause is seen as everybody's."""

KEPT_MAX = 20_000
_NEVER = float("inf")


class Clocks(Protocol):
    """The clocks of one report (agent.wire.Report is one)."""

    @property
    def boot_id(self) -> str: ...
    @property
    def mono_ms(self) -> int: ...
    @property
    def wall_ms(self) -> int: ...
    @property
    def boottime_ms(self) -> int: ...
    @property
    def rtt_ms(self) -> float | None: ...


@dataclasses.dataclass(frozen=True)
class Fold:
    """One thing that the clocks said: an event (a step) or a held value (the true offset)."""

    host_id: str
    signal: str
    value: float
    at_ms: int


class _Candidate:
    """An offset that jumped up, not yet known to stay; ``count`` = reports that agree on how far."""

    __slots__ = ("count", "first_ms", "heard", "least", "way")

    def __init__(self, offset: float, received_ms: int, way: float) -> None:
        self.count = self.heard = 1
        self.first_ms = received_ms
        self.least = offset
        self.way = way


class _HostClock:
    """What is remembered of one host's clocks within a boot."""

    __slots__ = (
        "base",
        "boot_id",
        "boot_minus_mono",
        "candidate",
        "least",
        "least_wall",
        "least_way",
        "minute_began_ms",
        "seen_ms",
        "told_offset",
        "wall_minus_mono",
        "way",
    )

    def __init__(self, clocks: Clocks, offset: float, received_ms: int) -> None:
        self.boot_id = clocks.boot_id
        self.base = offset
        self.least = offset
        self.way = self.least_way = clocks.rtt_ms or 0.0
        """Round trips that belong to ``base`` and to ``least``."""
        self.least_wall = _NEVER
        """Least of (receipt - wall - half the round trip) in this minute."""
        self.minute_began_ms = received_ms
        self.candidate: _Candidate | None = None
        self.wall_minus_mono = clocks.wall_ms - clocks.mono_ms
        self.boot_minus_mono = clocks.boottime_ms - clocks.mono_ms
        self.told_offset = _NEVER
        self.seen_ms = received_ms


class ClockFold:
    """All hosts' clocks, as one collector hears them. Not thread-safe by itself: the intake's lock guards it."""

    def __init__(self) -> None:
        self._hosts: dict[str, _HostClock] = {}
        self._ready: collections.deque[Fold] = collections.deque(maxlen=KEPT_MAX)
        self._steps: list[tuple[int, Fold]] = []
        """(confirmed at, step): waits HOLD_MS to see whether it is everybody's."""
        self._own: int | None = None
        self._own_shift_ms = 0
        self.own_steps = 0
        """Steps that were everybody's, and so were ours."""

    def own_clocks(self, wall_ms: int, mono_ms: int) -> None:
        """Our own two clocks, read together once a second: when our wall clock is set, receipts are counted as before."""
        difference = wall_ms - mono_ms
        if self._own is not None:
            self._own_shift_ms += difference - self._own
        self._own = difference

    def take(self, host_id: str, clocks: Clocks, received_ms: int) -> None:
        """One report more, newest of its host; ``received_ms`` by our wall clock. The usual case is all in here: it is hot."""
        mono, wall, rtt = clocks.mono_ms, clocks.wall_ms, clocks.rtt_ms or 0.0
        offset = float(received_ms - self._own_shift_ms - mono)
        known = self._hosts.get(host_id)
        if known is None or known.boot_id != clocks.boot_id:
            # After our own restart what we told before is unknown: the first minute is told, or a cure would never be.
            told = _NEVER if known is None else known.told_offset
            known = self._hosts[host_id] = _HostClock(clocks, offset, received_ms)
            known.told_offset = told
        known.seen_ms = received_ms
        wall_diff, boot_diff = wall - mono, clocks.boottime_ms - mono
        if wall_diff != known.wall_minus_mono or boot_diff != known.boot_minus_mono:
            self._take_inner(host_id, known, wall_diff, boot_diff, received_ms)
        if offset - known.base >= STEP_MS:
            self._take_jump(host_id, known, offset, rtt, received_ms)
        else:
            known.candidate = None
            if offset < known.least:
                known.least, known.least_way = offset, rtt
        late = received_ms - wall - rtt / 2
        if late < known.least_wall:
            known.least_wall = late
        if received_ms - known.minute_began_ms >= MINUTE_MS:
            self._close_minute(host_id, known, received_ms)

    def due(self, now_ms: int) -> list[Fold]:
        """What is to be written now, oldest first; each is given once."""
        self._settle_steps(now_ms)
        found = list(self._ready)
        self._ready.clear()
        return found

    def again(self, folds: list[Fold]) -> None:
        """These could not be written: they stand first in line again."""
        self._ready.extendleft(reversed(folds))

    @property
    def has_due(self) -> bool:
        """Whether ``due`` might give something."""
        return bool(self._ready or self._steps)

    def keep_only(self, host_ids: set[str]) -> None:
        """Forget hosts that are no longer in the fleet."""
        for gone in self._hosts.keys() - host_ids:
            del self._hosts[gone]

    def _take_inner(self, host_id: str, known: _HostClock, wall: int, boot: int, received_ms: int) -> None:
        """Steps between the host's own clocks, read together there: no way is in them."""
        if abs(wall - known.wall_minus_mono) >= INNER_STEP_MS:
            # A pause with stopped clocks that NTP mends afterwards shows here as well: judgement knows the pair.
            step = (wall - known.wall_minus_mono) / 1000
            self._ready.append(Fold(host_id, "clk.wall_step_s", step, received_ms))
            known.least_wall = _NEVER
        if boot - known.boot_minus_mono >= INNER_STEP_MS:
            step = (boot - known.boot_minus_mono) / 1000
            self._ready.append(Fold(host_id, "clk.bt_mono_step_s", step, received_ms))
        known.wall_minus_mono, known.boot_minus_mono = wall, boot

    def _take_jump(
        self, host_id: str, known: _HostClock, offset: float, way: float, received_ms: int
    ) -> None:
        """The offset is above the last minute's by a step: does it stay, and is it more than a longer way?"""
        if offset - known.base - max(0.0, way - known.way) < STEP_MS:
            known.candidate = None
            if offset < known.least:
                known.least, known.least_way = offset, way
            return
        candidate = known.candidate
        if candidate is None:
            known.candidate = _Candidate(offset, received_ms, way)
            return
        # A pause moves every report by the same; messages that are only late are late by this much and that.
        candidate.heard += 1
        if offset < candidate.least - STEP_MS:
            candidate.count = 1
        elif offset <= candidate.least + STEP_MS:
            candidate.count += 1
        if offset < candidate.least:
            candidate.least, candidate.way = offset, way
        age = received_ms - candidate.first_ms
        agree = 2 * candidate.count >= candidate.heard
        stays = (candidate.count >= STAYS_REPORTS and age >= STAYS_MS) or (
            candidate.count >= STAYS_LONG_REPORTS and age >= STAYS_LONG_MS
        )
        if not (agree and stays):
            return
        step = (candidate.least - known.base - max(0.0, candidate.way - known.way)) / 1000
        fold = Fold(host_id, "clk.offset_step_s", round(step, 3), candidate.first_ms)
        self._steps.append((received_ms, fold))
        known.base = known.least = candidate.least
        known.way = known.least_way = candidate.way
        known.candidate = None
        known.minute_began_ms = received_ms

    def _close_minute(self, host_id: str, known: _HostClock, received_ms: int) -> None:
        known.minute_began_ms = received_ms
        if known.candidate is None and known.least != _NEVER:
            # The minute's own least and not the least of all time: crystals differ, and the offset creeps.
            known.base, known.way = known.least, known.least_way
            known.least = _NEVER
        if known.least_wall == _NEVER:
            return
        offset, known.least_wall = -known.least_wall, _NEVER
        before = known.told_offset
        if before == _NEVER and abs(offset) < TRUE_OFFSET_MOVES_MS:
            offset = 0.0  # "as ours": the same value after each restart is written once
        if abs(offset - before) >= max(TRUE_OFFSET_MOVES_MS, abs(before) / 10):
            known.told_offset = offset
            self._ready.append(Fold(host_id, "clk.true_offset_ms", float(round(offset)), received_ms))

    def _settle_steps(self, now_ms: int) -> None:
        if not self._steps or now_ms - self._steps[0][0] < HOLD_MS:
            return
        # The lengths of one pause of ours agree; pauses of guests that only coincide do not.
        steps, self._steps = self._steps, []
        speaking = sum(1 for host in self._hosts.values() if now_ms - host.seen_ms < 3 * MINUTE_MS)
        for group in _together([fold for _, fold in steps]):
            stepped = len({fold.host_id for fold in group})
            if stepped >= TOGETHER_HOSTS and stepped >= TOGETHER_SHARE * speaking:
                self.own_steps += 1
            else:
                self._ready.extend(group)


def _together(folds: list[Fold]) -> list[list[Fold]]:
    """Steps that began at about the same time and are about as long, as groups."""
    groups: list[list[Fold]] = []
    for fold in sorted(folds, key=lambda f: (f.at_ms, f.value)):
        for group in groups:
            near = fold.at_ms - group[0].at_ms <= TOGETHER_MS
            if near and abs(fold.value - group[0].value) <= max(0.5, 0.1 * group[0].value):
                group.append(fold)
                break
        else:
            groups.append([fold])
    return groups
