"""What a contract may say about failover: typed settings of its pairs. Read from ``Contract.failover``, a plain value there.

Which step types exist, and what each may be told, is known to the steps' registry; here a step is a type and its options.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, Optional

from config import loader
from config.loader import ConfigError, Duration, Fault, setting
from ticketing.terms import ID_PATTERN, CalendarTerms, Contract, Faults

LEVELS = ("F0", "F1", "F2", "F3", "F4")
"""How surely the old primary cannot write any more (failover.md section 4), weakest first."""

MODES = ("auto", "approve", "manual")
"""Strongest first: what the machine may do by itself."""

FENCE_LEVELS = {
    "fence.ipmi": "F4",
    "fence.libvirt": "F4",
    "fence.provider": "F4",
    "fence.port": "F3",
    "fence.lease": "F2",
    "fence.ssh": "F1",
    "demote.ssh": "F1",
}
"""What a fence step proves when it is read back (failover.md section 4)."""

STEP_PATTERN = r"[a-z_]+\.[a-z_0-9]+"


def level_rank(level: str) -> int:
    """0 for F0 to 4 for F4."""
    return LEVELS.index(level)


@dataclasses.dataclass(frozen=True)
class StepTerms:
    """One step as the contract words it."""

    type: str = setting(help="step type", pattern=STEP_PATTERN, example="fence.ipmi")
    options: dict[str, Any] = setting({}, help="what this type needs; see docs/failover.md", max=64)
    deadline: Duration = setting(Duration(60), help="no answer by then is unknown", min=1, max=900)
    retries: int = setting(1, help="how often it is repeated where that is harmless", min=0, max=5)


@dataclasses.dataclass(frozen=True)
class ScheduleTerms:
    """Another mode inside certain hours, e.g. automatic at night only."""

    mode: str = setting(help="mode inside these hours", choices=MODES)
    calendar: CalendarTerms = setting(help="when")


@dataclasses.dataclass(frozen=True)
class ApprovalTerms:
    """Who says yes, and how long it is waited for."""

    people: list[str] = setting([], help="log-in names; empty = leads and admins", max=50)
    window: Duration = setting(
        Duration(1800), help="an approval is asked for at most so long", min=60, max=86400
    )
    on_timeout: str = setting("abort", help="when nobody answered", choices=("abort", "proceed"))


@dataclasses.dataclass(frozen=True)
class Waiver:
    """A guard that a named person of the client gives up for this pair, until a date."""

    what: str = setting(help="which guard", choices=("fence", "exposure", "rehearsal", "second_vantage"))
    signed_by: str = setting(help="the client's person")
    until: str = setting(help="last day, YYYY-MM-DD", pattern=r"\d{4}-\d{2}-\d{2}")


@dataclasses.dataclass(frozen=True)
class PairTerms:
    """A primary and its backup."""

    primary: str = setting(help="host of this contract", pattern=ID_PATTERN, example="web-1")
    backup: str = setting(help="host of this contract", pattern=ID_PATTERN, example="web-2")
    mode: str = setting("approve", help="what the machine may do by itself", choices=MODES)
    schedule: list[ScheduleTerms] = setting(
        [], help="other modes at certain hours; the first that fits", max=10
    )
    stateful: bool = setting(True, help="it holds data that only one side may write")
    rto: Duration = setting(Duration(1800), help="service back within", min=60, max=7 * 86400)
    rpo: Duration = setting(
        Duration(60), help="at most so much written data may be lost", min=0, max=7 * 86400
    )
    fence_min: Optional[str] = setting(
        None,
        help="how surely the old primary must be stopped; unset: F3 with state, F1 without",
        choices=LEVELS,
    )
    dwell: Duration = setting(Duration(60), help="the verdict must stand unchanged so long", min=0, max=3600)
    hold_down: Duration = setting(
        Duration(3600), help="no automatic switch so soon after one", min=60, max=7 * 86400
    )
    max_per_day: int = setting(1, help="automatic switches of this contract in a day", min=0, max=24)
    switch_time: Duration = setting(
        Duration(240), help="fence to verified, until a rehearsal measured it", min=1, max=7200
    )
    allowed_causes: list[str] = setting([], help="only these causes; empty = the house's list", max=100)
    forbidden_causes: list[str] = setting([], help="never for these causes", max=100)
    approval: ApprovalTerms = setting(ApprovalTerms, help="who says yes")
    data_loss_authority: list[str] = setting(
        [], help="who may accept lost writes; empty = approval.people", max=20
    )
    waivers: list[Waiver] = setting([], help="guards that the client gave up in writing", max=20)
    rehearsal_days: int = setting(90, help="automatic only with a rehearsal no older", min=1, max=3650)
    drill: bool = setting(
        False, help="`failover rehearse --for-real` may switch this pair: nobody is harmed by it"
    )
    demote: list[StepTerms] = setting([], help="planned switchover: stop the old primary in order", max=10)
    fence: list[list[StepTerms]] = setting(
        [], help="levels in the order they are tried; every step of a level must succeed", max=5
    )
    promote: list[StepTerms] = setting([], help="make the backup the primary", max=10)
    traffic: list[StepTerms] = setting([], help="lead the clients there", max=10)
    verify: list[StepTerms] = setting([], help="prove it through the public name", max=10)

    def faults(self) -> Faults:
        found: Faults = []
        if self.primary == self.backup:
            found.append(("backup", "is the primary itself"))
        is_waived = any(waiver.what == "fence" for waiver in self.waivers)
        is_bold = self.stateful and self.mode == "auto" and level_rank(self.demanded) < level_rank("F2")
        if is_bold and not is_waived:
            found.append(("fence_min", "automatic with state needs F2 at least, or a signed waiver"))
        for place, steps in (("promote", self.promote), ("traffic", self.traffic), ("verify", self.verify)):
            wrong = [s.type for s in steps if s.type.partition(".")[0] != place]
            found.extend((place, f"{kind} is no {place} step") for kind in wrong)
        return found

    @property
    def id(self) -> str:
        """The pair's name in journal, epochs and pages."""
        return f"{self.primary}>{self.backup}"

    @property
    def demanded(self) -> str:
        """The fence level that a promotion needs."""
        return self.fence_min or ("F3" if self.stateful else "F1")

    def mode_at(self, now_ms: int) -> str:
        """The mode that holds at this instant: the first schedule entry whose hours contain it, else ``mode``."""
        for entry in self.schedule:
            if entry.calendar.calendar.is_working(now_ms):
                return entry.mode
        return self.mode


@dataclasses.dataclass(frozen=True)
class FailoverTerms:
    """The failover section of a contract."""

    pairs: list[PairTerms] = setting([], help="primaries and their backups", max=200)
    paused: str = setting("", help="why failover is switched off for this contract; empty = on")

    def faults(self) -> Faults:
        primaries = [pair.primary for pair in self.pairs]
        twice = {name for name in primaries if primaries.count(name) > 1}
        return [("pairs", f"{name} is the primary of two pairs") for name in sorted(twice)]


@functools.lru_cache(maxsize=4096)
def _parsed(text: str, file: str) -> FailoverTerms:
    return loader.parse(text, FailoverTerms, file=file)


def terms_of(contract: Contract) -> FailoverTerms:
    """The contract's failover terms; ConfigError names every fault, hosts that the contract lacks among them."""
    if contract.failover is None:
        return FailoverTerms()
    file = f"contract {contract.id}"
    terms = _parsed(json.dumps({"pairs": [], **_mapping(contract.failover, file)}), file)
    known = {host.id for host in contract.hosts}
    faults = [
        Fault(file, 0, f"failover.pairs.{n}.{side}", f"host {host} is not in this contract")
        for n, pair in enumerate(terms.pairs)
        for side, host in (("primary", pair.primary), ("backup", pair.backup))
        if host not in known
    ]
    if faults:
        raise ConfigError(faults)
    return terms


def _mapping(value: Any, file: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError([Fault(file, 0, "failover", "must be a mapping with `pairs`")])
    return value


def pair_of(contract: Contract, host_id: str) -> PairTerms | None:
    """The pair whose primary this host is, by the contract; None where it has none."""
    return next((pair for pair in terms_of(contract).pairs if pair.primary == host_id), None)
