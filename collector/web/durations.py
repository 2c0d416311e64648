"""Durations short enough for a list: ``3 h 48 min``. Pure; the long form is ``Texts.duration``."""

from __future__ import annotations

from ticketing.texts import Texts


def short(words: Texts, ms: float) -> str:
    """The two largest units, rounded down, so that what is left is never shown as more than it is."""
    seconds = int(abs(ms) // 1000)
    if seconds < 60:
        return words.get("web.short.s", n=seconds)
    minutes = seconds // 60
    days, hours, left = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [("d", days), ("h", hours), ("min", left)]
    first = next(at for at, (_, n) in enumerate(parts) if n)
    return " ".join(words.get(f"web.short.{unit}", n=n) for unit, n in parts[first : first + 2] if n)


def working(words: Texts, ms: float) -> str:
    """Working time in hours and minutes, never in days: a day of the calendar is not a day of work."""
    minutes = int(abs(ms) // 60_000)
    if not minutes:
        return short(words, ms)
    parts = [("h", minutes // 60), ("min", minutes % 60)]
    return " ".join(words.get(f"web.short.{unit}", n=n) for unit, n in parts if n)
