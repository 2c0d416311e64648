"""Facts: everything that a failover decision may be made from, as one value gathered at one instant.

Pure values. What nobody could say is None, and None never argues for an act: an unknown lag is no small lag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from collector.failover.terms import PairTerms

LOOKS_EVERY_MS = 45_000
"""Vantages look every 30 s: first dead words within so long of each other are one event."""
FRESH_MS = 120_000
"""A view older than this says nothing about the present."""


@dataclasses.dataclass(frozen=True)
class Trouble:
    """The open verdict on the primary."""

    ticket_id: int
    cause: str
    class_: int
    scope: str
    began_at_ms: int
    held_since_ms: int
    """Since when cause and scope stand unchanged: the dwell counts from here."""
    is_provisional: bool = False


@dataclasses.dataclass(frozen=True)
class View:
    """What one vantage saw of the primary's service last."""

    vantage: str
    at_ms: int
    state: str
    """ok, slow or dead, as a client there meets it; "" = it could not tell."""
    since_ms: int | None = None
    """Since when this is its word; None = nobody wrote that down."""

    @property
    def serves(self) -> bool:
        """A slow service is still served by the primary."""
        return self.state in ("ok", "slow")


@dataclasses.dataclass(frozen=True)
class LagSample:
    """How far the backup was behind, and when that was true."""

    lag_s: float
    taken_at_ms: int


@dataclasses.dataclass(frozen=True)
class Backup:
    """The backup server as it stands."""

    is_alive: bool | None = None
    trouble: str = ""
    """Root cause of its own open incident of class 1 or of an outage; "" = none."""
    unfit: tuple[str, ...] = ()
    """What failed of its readiness checks (disk, memory, configuration, service); () = fit."""
    lag: LagSample | None = None
    shared_domain: str = ""
    """The failure domain of the trouble that it lies in too (``provider:alfa``); "" = outside of it."""
    rehearsed_at_ms: int | None = None


@dataclasses.dataclass(frozen=True)
class Judge:
    """Whether we ourselves are fit to decide (I7)."""

    anchors_ok: bool | None = None
    """None = no anchors are configured."""
    clock_ok: bool = True
    store_ok: bool = True
    witnesses: int = 0
    """Hosts or anchors outside the failing provider or site that answer now."""


@dataclasses.dataclass(frozen=True)
class History:
    """What was switched lately: the blast radius (I9, I10)."""

    hold_down_until_ms: int | None = None
    running: int = 0
    """Other automatic failovers in progress."""
    last_hour: int = 0
    contract_today: int = 0
    same_incident: int = 0
    """Automatic acts of the same provider incident."""


@dataclasses.dataclass(frozen=True)
class Fence:
    """One fence level of the plan and whether its precheck says that it can work now."""

    level: str
    is_ready: bool | None
    step: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """All of it, at ``now_ms``."""

    now_ms: int
    pair: PairTerms
    pair_epoch: int = 0
    """Highest epoch that any plan of this pair was armed with."""
    trouble: Trouble | None = None
    is_reporting: bool = False
    """Whether the primary's agent reports."""
    views: tuple[View, ...] = ()
    backup: Backup = dataclasses.field(default_factory=Backup)
    judge: Judge = dataclasses.field(default_factory=Judge)
    history: History = dataclasses.field(default_factory=History)
    fences: tuple[Fence, ...] = ()
    writes_stopped_at_ms: int | None = None
    """When the primary was fenced; before that None."""
    window: str = ""
    """Title of the planned window that covers the primary now."""
    overran_window: str = ""
    """Title of the window that the trouble began in and outlived."""
    switched_off: str = ""
    """Who or what switched failover off (everywhere or for this contract); "" = on."""
    switch_time_s: float | None = None
    """p90 of rehearsals and real runs; None = the contract's estimate holds."""
    repair_at_ms: int | None = None
    """End that the provider announced."""
    waivers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Guard -> who signed, for those in force today."""

    @property
    def fresh_views(self) -> tuple[View, ...]:
        """Newest view of each vantage that still speaks about now and could tell."""
        newest: dict[str, View] = {}
        for view in sorted(self.views, key=lambda v: v.at_ms):
            newest[view.vantage] = view
        return tuple(v for v in newest.values() if v.state and self.now_ms - v.at_ms <= FRESH_MS)

    @property
    def down_at(self) -> tuple[str, ...]:
        """Vantages that see the service dead."""
        return tuple(sorted(v.vantage for v in self.fresh_views if not v.serves))

    @property
    def served_at(self) -> tuple[str, ...]:
        """Vantages that are served."""
        return tuple(sorted(v.vantage for v in self.fresh_views if v.serves))

    @property
    def looks_down(self) -> bool:
        """Whether it looks like an outage to anybody: no reports, or a vantage where the service is not well."""
        return not self.is_reporting or any(v.state != "ok" for v in self.fresh_views)

    @property
    def outage_at_ms(self) -> int | None:
        """Since when no client reaches the primary; None while some vantage is served, or none sees it dead.

        Not the trouble's beginning where the vantages know better: a leak may begin hours before clients suffer.
        """
        dead = [v for v in self.fresh_views if not v.serves]
        if self.trouble is None or not dead or self.served_at:
            return None
        since = [v.since_ms for v in dead if v.since_ms is not None]
        if len(since) < len(dead):
            return self.trouble.began_at_ms
        # Far apart, somebody may have been served until the last of them fell.
        return min(since) if max(since) - min(since) <= LOOKS_EVERY_MS else max(since)

    @property
    def t_switch_s(self) -> float:
        """Time from the first fence to verified, as far as anybody knows."""
        return self.switch_time_s if self.switch_time_s is not None else float(self.pair.switch_time)

    def exposure_s(self) -> float | None:
        """Seconds of writes that may be lost (I3): those between what the backup holds and the end of writing.

        It holds all up to its last sample less the lag; a sample taken after the end of writing counts time in which
        nothing was written any more, and that much less is lost. Writes stopped when the primary was fenced, or, where
        no client could reach it, when the outage began. Nothing can be lost that was never held: a pair without state
        is exposed to nothing.
        """
        if not self.pair.stateful:
            return 0.0
        lag = self.backup.lag
        if lag is None:
            return None
        stopped_ms = self.now_ms if self.writes_stopped_at_ms is None else self.writes_stopped_at_ms
        if self.outage_at_ms is not None:
            stopped_ms = min(stopped_ms, self.outage_at_ms)
        return max(0.0, lag.lag_s + (stopped_ms - lag.taken_at_ms) / 1000)

    def best_fence(self) -> str:
        """The strongest level that can work now; F0 where none can."""
        return max((f.level for f in self.fences if f.is_ready), default="F0")

    def latest_start_ms(self) -> int | None:
        """The last instant at which a switch still keeps the RTO; may lie in the past."""
        if self.trouble is None:
            return None
        began_ms = self.outage_at_ms or self.trouble.began_at_ms
        return began_ms + int((float(self.pair.rto) - self.t_switch_s) * 1000)
