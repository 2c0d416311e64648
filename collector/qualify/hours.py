"""Whether a load comes at this hour as a rule: today's finding beside those of the last seven days (``hist.same_hour_match``).

Hour alone is no excuse (signals.md 1 rule 10): a day counts where the same rule held of the same subject around the same
time of day, with about the same size, no faster disk than today's, and no shorter than today's has lasted. A day that we
do not remember (a new server, a day of silence) does not count. Pure; the rows are read by ``collector.tick.hours``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

DAYS = 7
DAY_MS = 86_400_000
NEAR_MS = 75 * 60_000
"""So far apart two days' jobs may begin: the change of summer time moves one by an hour."""
FACTOR = 2.0
"""A size, a wait or a length beyond so many times the other day's is not the same pattern."""
LONGER_MS = 15 * 60_000
"""Short jobs may take so much longer than on the other day, whatever the factor says."""
WAITS = ("disk.await_ms", "psi.io_full60", "psi.mem_full60", "psi.cpu_some60")
"""Facts that tell how much others wait: they may be less than on the other day, but not beyond FACTOR times as much."""
LITTLE = 1.0
"""A wait below this (ms, %) harms nobody, however it compares."""


@dataclasses.dataclass(frozen=True)
class Spell:
    """One finding from its opening to its close."""

    began_ms: int
    ended_ms: int | None
    """None = it holds still."""
    size: float | None
    """The rule's own signal, at its largest; None = it is no number."""
    waits: Mapping[str, float]
    """WAITS that its facts name, at their largest."""


def same_hour_match(today: Spell, past: Sequence[Spell], now_ms: int) -> float:
    """Share of the previous seven days with the same pattern at this hour, 0 to 1, two digits."""
    days = sum(
        any(_is_at_hour(today, spell, day) and _is_alike(today, spell, now_ms) for spell in past)
        for day in range(1, DAYS + 1)
    )
    return round(days / DAYS, 2)


def _is_at_hour(today: Spell, spell: Spell, days_ago: int) -> bool:
    return abs(today.began_ms - days_ago * DAY_MS - spell.began_ms) <= NEAR_MS


def _is_alike(today: Spell, spell: Spell, now_ms: int) -> bool:
    if spell.ended_ms is None or today.size is None or spell.size is None:
        return False
    low, high = sorted((abs(today.size), abs(spell.size)))
    if high > FACTOR * low:
        return False
    if any(
        wait >= LITTLE and wait > FACTOR * spell.waits[name]
        for name, wait in today.waits.items()
        if name in spell.waits
    ):
        return False
    lasted = (now_ms if today.ended_ms is None else today.ended_ms) - today.began_ms
    length = spell.ended_ms - spell.began_ms
    return lasted <= max(FACTOR * length, length + LONGER_MS)
