"""Why something that holds is only recorded and becomes no ticket: nobody is harmed, it was ordered, or it is as usual.

Each answer is a reason for the record, or None. Pure. Planned windows are the caller's to know; a provider's announced
work is here, since it excuses only what such work does. What these excuse is asked again when anything about it changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case, Held, as_number
from collector.qualify.rows_hardware import is_taken_out
from collector.qualify.rows_said import ordered_capacity
from collector.qualify.rows_service import TLS_DAYS_LOW, true_days
from ticketing.model import Reason, Verdict

NOTED = frozenset({"link_lost"})
"""Rules of which a single finding is no fault yet: a link that is back within seconds. That it stays away, comes and goes, or
takes the host with it, is found by other rules."""

SAME_HOUR = 0.6
"""Share of the last seven days with the same pattern at this hour from which on it is usual."""
LOAD_FAMILIES = frozenset({"cpu", "io", "network", "memory"})
MAINTENANCE = "reason.quiet.maintenance"
OWN_DEMAND = frozenset({"os.cpu_demand", "os.io_demand", "os.plan_limit", "os.memory_leak", "os.softirq"})
"""Causes that a job of our own explains; what the layer below does has no timetable of ours."""
SLOWER = 2.0
"""Slower than usual at this hour by this factor is not as usual (signals.md 1 rule 10)."""

STEPS = frozenset({"memory_shrank", "cpus_fewer", "container_limit_fell", "balloon"})
"""Rules about the machine's size."""
EVENTS = frozenset(
    {
        "link_lost", "container_limit_hit", "guest_paused", "guest_paused_often", "guest_stutters", "guest_suspended",
        "hardware_log", "kernel_panic", "kernel_stalls", "tasks_hang", "block_errors", "machine_check", "raid_member_lost",
        "raid_event", "packets_stuck", "fs_faults", "oom_in_limit", "limits_reached", "unclean_boot", "clock_stepped",
        "clock.stood_still",
    }
)  # fmt: skip
"""Rules about what happens and is over: what happened inside a window does not outlive it."""
ARRAYS = frozenset({"raid_degraded", "raid_member_lost", "raid_event", "raid_controller"})
PROVIDERS_WORK = frozenset({"silence", "network", "service", "dns", "io", "virt", "clock"})
"""Symptoms that announced work of a provider brings about."""
NODE_FAMILIES = frozenset({"io", "cpu", "memory"})
NODE_RULES = frozenset({"memory_pressure"})
"""Of the findings about memory those that read the node's figures in a container."""
ROOM_PCT = 20.0


def noted(held: Sequence[Held], beside: Sequence[Held] = ()) -> Reason | None:
    """Why what holds is only noted: a single event that hurt nobody, and may be the last."""
    is_silent = any(h.family == "silence" for h in beside)
    if all(h.rule in NOTED and not _has_errors(h) for h in held) and not is_silent:
        return Reason("reason.quiet.came_back")
    return None


def _has_errors(held: Held) -> bool:
    """Whether the card counts damaged frames as well, or has lost its link before."""
    crc, flaps = (
        as_number(held.facts[n].now) if n in held.facts else None for n in ("net.crc_ps", "net.flaps")
    )
    return (crc or 0.0) > 0.0 or (flaps or 0.0) >= 4.0


def excused(case: Case, verdict: Verdict) -> Reason | None:
    """Why what was judged so is only recorded, or None."""
    return (
        wrong_clock(case)
        or ordered(case)
        or taken_out(case)
        or node_view(case)
        or maintenance(case)
        or as_usual(case, verdict)
    )


def wrong_clock(case: Case) -> Reason | None:
    """The certificate only looks run out by the host's clock, which is wrong."""
    days = true_days(case)
    if case.subject.family != "tls" or days is None or days < TLS_DAYS_LOW:
        return None
    return Reason("reason.quiet.wrong_clock", {"days": days})


def ordered(case: Case) -> Reason | None:
    """The machine's size changed as the customer or an operator asked for."""
    if not all(h.rule in STEPS for h in case.held() if h.family == "virt") or case.subject.family != "virt":
        return None
    act = ordered_capacity(case)
    return Reason("reason.quiet.ordered", {"act": act[:160]}) if act else None


def taken_out(case: Case) -> Reason | None:
    """The array lacks a disk since an operator took it out."""
    mine = [h for h in case.held() if h.family == "hardware"]
    if case.subject.family != "hardware" or not all(h.rule in ARRAYS for h in mine) or not is_taken_out(case):
        return None
    return Reason("reason.quiet.ordered", {"act": case.ops[0][:160]})


def node_view(case: Case) -> Reason | None:
    """Counters of the node read inside a container, while nothing of our own is held back (section 2)."""
    if not case.host.is_container or case.subject.family not in NODE_FAMILIES or suffers(case):
        return None
    if any(h.lines for h in case.held() if h.family == case.subject.family):
        return None
    if case.subject.family == "memory" and not _is_node_s_pressure(case):
        return None
    own, throttled = case.own_cpu_pct() or 0.0, case.number("cg.throttled_pct") or 0.0
    spin, probe = case.number("cpu.spin_score"), case.number("disk.probe_ms")
    if (
        own >= 70.0
        or throttled > 10.0
        or (spin is not None and spin < 0.8)
        or (probe is not None and probe > 10.0)
    ):
        return None
    return Reason("reason.quiet.node_view")


def _is_node_s_pressure(case: Case) -> bool:
    """Pressure in a container that has room of its own: others of the node fight for memory (section 2)."""
    mine = [h for h in case.held() if h.family == "memory"]
    free = case.number("mem.avail_pct")
    return all(h.rule in NODE_RULES for h in mine) and free is not None and free >= ROOM_PCT


def maintenance(case: Case) -> Reason | None:
    """The provider says that it works on its own, and this is what such work does."""
    if case.provider_status() != "maintenance" or case.subject.family not in PROVIDERS_WORK:
        return None
    return Reason(MAINTENANCE, {"provider": case.host.place("provider")})


def as_usual(case: Case, verdict: Verdict) -> Reason | None:
    """Why load that comes at this hour almost every day is only noted, while the service does not suffer from it."""
    if case.subject.family not in LOAD_FAMILIES or verdict.root_cause not in OWN_DEMAND:
        return None
    match = as_number(next(iter(case.seen_now("hist.same_hour_match").values()), None)) or 0.0
    wait = case.fact("disk.await_ms")
    is_slower = (
        wait is not None and bool(wait.usual) and (as_number(wait.now) or 0.0) > SLOWER * (wait.usual or 0.0)
    )
    if match < SAME_HOUR or suffers(case) or is_slower:
        return None
    return Reason("reason.quiet.as_usual", {"days": round(7 * match)})


def suffers(case: Case) -> bool:
    """Whether somebody outside, or a check inside, finds the service worse than it should be."""
    words = case.seen_now("ext.svc").values()
    return any(word in ("slow", "dead") for word in words) or any(
        h.family in ("service", "unit", "process") for h in case.held()
    )
