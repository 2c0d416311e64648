"""The account of a gap: what it was that kept this server silent, with its times and the reasons. Pure.

Told after a boot (from what the last boot left behind), after the agent itself was away, after a hole in its own
running (did the guest stand still, or were only we starved?), and after the collector could not be reached (which rung
of the network's ladder was dead). An account never judges whose fault it was: the collector does, with what others saw.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from agent.blackbox import Record
from agent.signals.sample import Sample
from agent.wire import Value

SIGNAL = "host.gap"
GAP_MIN_S = 3.0
"""A hole in our own running shorter than this needs no account: a live migration takes less."""
CUT_MIN_MS = 30_000
AWAY_MIN_MS = 30_000
STOOD_STILL, STARVED = 0.3, 0.7
REASONS_MAX = 8
REASON_CHARS = 200

RUNGS = ("link", "gateway", "hop 2", "anchors", "resolver", "collector")
"""From the nearest on."""

KINDS = (
    "reboot_planned", "reboot_unclean", "panic", "power_lost", "agent_stopped", "agent_ended", "guest_paused",
    "agent_starved", "slowed", "network_cut",
)  # fmt: skip


class Account(NamedTuple):
    """What a gap was."""

    kind: str
    """One of KINDS."""
    from_ms: int
    """Wall clock of the last sign of life before it."""
    to_ms: int
    """Wall clock of the first one after it."""
    why: Sequence[str]
    """What says so, the telling ones first."""
    rung: str = ""
    """For a cut: the nearest rung of the ladder that was dead."""
    facts: Mapping[str, Value] = MappingProxyType({})
    """Numbers of the last witness: load, available memory, steal, requests under way."""

    def value(self) -> Dict[str, Any]:
        """As the signal's value: small, plain JSON."""
        told: Dict[str, Any] = {
            "kind": self.kind,
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
            "why": [reason[:REASON_CHARS] for reason in self.why[:REASONS_MAX]],
        }
        if self.rung:
            told["rung"] = self.rung
        if self.facts:
            told["before"] = dict(self.facts)
        return told


class BootSigns(NamedTuple):
    """What was found after a boot. None or "" = nobody could say."""

    booted_ms: int
    kernel: str
    last: Optional[Record]
    """The black box's newest record of an earlier boot."""
    wtmp_shutdown: Optional[bool] = None
    ended_in_order: Optional[bool] = None
    """By the last lines of the boot before."""
    orders: Sequence[str] = ()
    panic: str = ""
    fs_recovery: Optional[bool] = None
    restart_cause: str = ""

    def was_shut_down(self) -> Optional[bool]:
        """Whether the boot before ended in order: by wtmp, else by its last lines, else by our own goodbye."""
        if self.wtmp_shutdown is not None:
            return self.wtmp_shutdown
        if self.ended_in_order:
            return True
        if self.last is not None and self.last.kind == "host_shutdown":
            return True
        if self.fs_recovery or self.panic:
            return False
        # Our goodbye is missing, though we were there to the end: nobody told us to stop.
        return False if self.last is not None and not self.last.is_goodbye else None


def of_boot(signs: BootSigns) -> Account:
    """How the boot before ended."""
    was_shut = signs.was_shut_down()
    why: List[str] = []
    if signs.panic:
        why.append(f"the kernel died: {signs.panic}")
    if signs.restart_cause:
        why.append(f"the management controller says: {signs.restart_cause}")
    why += [f"asked for by: {order}" for order in signs.orders]
    if signs.wtmp_shutdown is not None:
        why.append(
            "wtmp has a shutdown record before the boot"
            if signs.wtmp_shutdown
            else "wtmp has no shutdown record"
        )
    if signs.ended_in_order:
        why.append("the last lines of the log show an orderly end")
    if signs.last is not None and signs.last.kind == "host_shutdown":
        why.append("the agent was told that the host goes down")
    elif signs.last is not None and not signs.last.is_goodbye:
        why.append("nobody told the agent to stop")
    if signs.fs_recovery:
        why.append("a file system had to replay its journal")
    return Account(
        _kind(signs, was_shut),
        signs.last.wall_ms if signs.last is not None else signs.booted_ms,
        signs.booted_ms,
        why,
        facts=numbers_of(signs.last),
    )


def _kind(signs: BootSigns, was_shut: Optional[bool]) -> str:
    if signs.panic and not was_shut:
        return "panic"
    cause = signs.restart_cause.lower()
    if not was_shut and ("restore" in cause or "ac lost" in cause or "power loss" in cause):
        return "power_lost"
    return "reboot_planned" if was_shut else "reboot_unclean"


def of_start(last: Record, now_ms: int) -> Optional[Account]:
    """The agent starts again within one boot: it was stopped, or it ended without a word."""
    if now_ms - last.wall_ms < AWAY_MIN_MS and last.is_goodbye:
        return None
    if last.is_goodbye:
        return Account(
            "agent_stopped", last.wall_ms, now_ms, ["the unit was stopped in order; the boot is the same"]
        )
    why = ["the boot is the same, and the agent said no goodbye: it was killed or it crashed"]
    return Account("agent_ended", last.wall_ms, now_ms, why, facts=numbers_of(last))


def of_hole(
    gap_s: float, progress: Optional[float], steal_pct: Optional[float], now_ms: int
) -> Optional[Account]:
    """A hole in our own running; ``progress`` = what the guest did meanwhile, in parts of the usual."""
    if gap_s < GAP_MIN_S:
        return None
    from_ms = now_ms - round(gap_s * 1000)
    if progress is None:
        return Account(
            "slowed",
            from_ms,
            now_ms,
            [f"the agent did not run for {gap_s:g} s; how the rest fared is unknown"],
        )
    share = f"{progress:.0%} of the usual switches and interrupts in {gap_s:g} s"
    facts: Dict[str, Value] = {"cpu.steal_pct": steal_pct} if steal_pct is not None else {}
    if progress <= STOOD_STILL:
        return Account(
            "guest_paused", from_ms, now_ms, [f"the whole machine stood still: {share}"], facts=facts
        )
    if progress >= STARVED:
        return Account(
            "agent_starved", from_ms, now_ms, [f"the machine ran, the agent did not: {share}"], facts=facts
        )
    return Account("slowed", from_ms, now_ms, [f"the machine ran slowly: {share}"], facts=facts)


def dead_rung(values: Callable[[str], Value]) -> str:
    """The nearest rung that does not answer, by the network's own signals; those that nobody probes count for nothing.

    Where an anchor answers, the way out is good, whatever a silent hop in between looks like: then it is the resolver
    or the collector itself.
    """
    anchors = values("net.anchors")
    if not (isinstance(anchors, (int, float)) and anchors > 0):
        for signal, dead, rung in (
            ("net.link", "down", "link"),
            ("net.gw", "dead", "gateway"),
            ("net.hop2", "dead", "hop 2"),
        ):
            if values(signal) == dead:
                return rung
        if anchors == 0:
            return "anchors"
    return "resolver" if values("net.dns_sys") == "fail" else "collector"


def numbers_of(record: Optional[Record]) -> Dict[str, Value]:
    """What the black box held of that moment, as signals; unknown numbers are left out."""
    if record is None:
        return {}
    told = {
        "load.per_cpu": record.load_per_cpu,
        "mem.avail_pct": record.avail_pct,
        "cpu.steal_pct": record.steal_pct,
        "psi.io_full60": record.io_full_pct,
        "disk.in_flight": float(record.in_flight),
        "net.ladder": float(record.ladder),
    }
    return {name: round(value, 2) for name, value in told.items() if value >= 0}


class Accounts:
    """Accounts of gaps within one run of the agent: holes in its running, and cuts of the way to the collector."""

    def __init__(self) -> None:
        self._cut_since_ms: Optional[int] = None
        self._rung = ""
        """The nearest rung that was seen dead during the cut."""

    def of(self, samples: Iterable[Sample], now_ms: int, mono_ms: int) -> List[Sample]:
        """Accounts that a sweep's own samples make."""
        values = {
            s.signal: s.value
            for s in samples
            if s.signal in ("agent.gap_s", "agent.gap_progress", "cpu.steal_pct")
        }
        gap = values.get("agent.gap_s")
        if not isinstance(gap, (int, float)):
            return []
        account = of_hole(
            float(gap),
            _number(values.get("agent.gap_progress")),
            _number(values.get("cpu.steal_pct")),
            now_ms,
        )
        return [sample_of(account, mono_ms)] if account is not None else []

    def heard(
        self, is_answered: bool, values: Callable[[str], Value], now_ms: int, mono_ms: int
    ) -> List[Sample]:
        """The fate of a report, with what the network's signals say; the account when the collector answers again."""
        if not is_answered:
            rung = dead_rung(values)
            if self._cut_since_ms is None:
                self._cut_since_ms, self._rung = now_ms, rung
            elif RUNGS.index(rung) < RUNGS.index(self._rung):
                self._rung = rung
            return []
        since_ms, self._cut_since_ms = self._cut_since_ms, None
        if since_ms is None or now_ms - since_ms < CUT_MIN_MS:
            return []
        why = f"the nearest rung that did not answer: {self._rung}"
        return [sample_of(Account("network_cut", since_ms, now_ms, [why], self._rung), mono_ms)]


def sample_of(account: Account, mono_ms: int) -> Sample:
    """The account as an event of the catalogue."""
    return Sample(SIGNAL, "", account.value(), mono_ms)


def _number(value: Value) -> Optional[float]:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
