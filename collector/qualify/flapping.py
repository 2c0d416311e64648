"""Flapping: a problem that opens and closes again and again is one ticket that says so, and stays open until quiet.

A weighted ring of the last results, each "changed" or "as before"; newer changes weigh more:

    value = 100 * (sum of the weights of the results that changed) / results        flaps above `enter`, until `leave`

``ICINGA`` is Icinga 2's (ring of 20, weights 0.80 to 1.18, above 30, until 25 or less); ``NAGIOS`` is Nagios' (20
transitions, weights 0.75 to 1.25, from 30 on, until below 20). Ours is the former. Icinga counts check results; findings
come only when something changed, so that time itself is counted: each ``step_ms`` without a change is a result "as
before", and the ring spans an hour where a step is three minutes. Pure: values and instants in, a new ring out.
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Constants:
    """How results are weighed; ``enter`` and ``leave`` in per cent."""

    results: int
    oldest: float
    """Weight of the oldest result; the newest weighs ``newest``, those between lie on the line."""
    newest: float
    enter: float
    leave: float
    is_inclusive: bool
    """Whether ``enter`` itself is flapping and ``leave`` itself is not over yet (Nagios), or the reverse (Icinga)."""
    step_ms: int = 180_000
    """So long without a change is one result "as before"."""

    def weight(self, i: int) -> float:
        """Weight of the i-th oldest result."""
        return self.oldest + (self.newest - self.oldest) * i / (self.results - 1)

    def is_flapping(self, value: float, was: bool) -> bool:
        """Whether it flaps, by the value and by whether it did."""
        limit = self.leave if was else self.enter
        return value >= limit if self.is_inclusive else value > limit


ICINGA = Constants(20, 0.80, 1.18, 30.0, 25.0, is_inclusive=False)
NAGIOS = Constants(20, 0.75, 1.25, 30.0, 20.0, is_inclusive=True)


@dataclasses.dataclass(frozen=True)
class Ring:
    """The last results of one problem. ``bits``: the lowest is the newest, 1 = changed."""

    bits: int = 0
    last_ms: int = 0
    """When the newest result was taken in."""
    is_flapping: bool = False

    def value(self, by: Constants = ICINGA) -> float:
        """How much it flaps, in per cent."""
        total = sum(by.weight(by.results - 1 - n) for n in range(by.results) if self.bits >> n & 1)
        return round(100.0 * total / by.results, 6)

    def pushed(self, has_changed: bool, by: Constants = ICINGA) -> Ring:
        """One result more."""
        ring = dataclasses.replace(self, bits=(self.bits << 1 | has_changed) & ((1 << by.results) - 1))
        return dataclasses.replace(ring, is_flapping=by.is_flapping(ring.value(by), self.is_flapping))

    def at(self, now_ms: int, by: Constants = ICINGA) -> Ring:
        """The ring at ``now_ms`` when nothing changed since."""
        steps = max(0, now_ms - self.last_ms) // by.step_ms
        ring = self
        for _ in range(min(steps, by.results)):
            ring = ring.pushed(False, by)
        return dataclasses.replace(ring, last_ms=self.last_ms + steps * by.step_ms)

    def changed(self, at_ms: int, by: Constants = ICINGA) -> Ring:
        """The ring after a change at ``at_ms``; what arrives late counts as now."""
        ring = self.at(at_ms, by).pushed(True, by)
        return dataclasses.replace(ring, last_ms=max(at_ms, self.last_ms))

    def calm_at_ms(self, by: Constants = ICINGA) -> int | None:
        """When it will have left flapping if nothing changes any more; None where it does not flap."""
        if not self.is_flapping:
            return None
        ring, at_ms = self, self.last_ms
        while ring.is_flapping:
            ring, at_ms = ring.pushed(False, by), at_ms + by.step_ms
        return at_ms

    def to_list(self) -> list[int]:
        return [self.bits, self.last_ms, int(self.is_flapping)]

    @staticmethod
    def from_list(raw: Any) -> Ring:
        """The ring back; what is misshapen is a quiet one."""
        if not isinstance(raw, list) or len(raw) != 3 or not all(isinstance(n, int) for n in raw):
            return Ring()
        return Ring(raw[0] & ((1 << ICINGA.results) - 1), raw[1], bool(raw[2]))
