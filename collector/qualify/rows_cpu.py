"""Evidence about the CPU: taken by the layer below, demanded by ourselves, or held at what was bought."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case, HostView
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

STEAL_HIGH_PCT = 10.0
STEAL_LOW_PCT = 5.0
OWN_HIGH_PCT = 85.0
LOAD_HIGH = 1.5
PLAN_TOLERANCE_PCT = 5.0
SPIN_SLOW = 0.8
SPIN_VERY_SLOW = 0.6
STEAL_STALLS_PCT = 30.0
_STALL = re.compile(r"BUG: soft lockup|hard LOCKUP|rcu_\w+ (?:self-)?detected stall")
SOFTIRQ_HIGH_PCT = 30.0
MHZ_LOW_PCT = 80.0
FORKS_FACTOR = 20.0


def _steal(case: Case) -> Params | None:
    steal = case.number("cpu.steal_pct")
    return holds(steal is not None and steal > STEAL_HIGH_PCT and not _at_plan(case), steal=steal)


def _slow_spin(case: Case) -> Params | None:
    spin, queue = case.number("cpu.spin_score"), case.number("sched.runq_per_cpu")
    slow = spin is not None and spin < SPIN_SLOW and queue is not None and queue < 1.0
    return holds(slow and not case.host.is_bare_metal, spin=spin, queue=queue)


def _spins_slowly(sibling: HostView) -> bool:
    spin, queue = sibling.vitals.get("cpu.spin_score"), sibling.vitals.get("sched.runq_per_cpu")
    return spin is not None and spin < SPIN_SLOW and (queue is None or queue < 1.0)


def _very_slow_spin(case: Case) -> Params | None:
    spin = case.number("cpu.spin_score")
    return _slow_spin(case) if spin is not None and spin < SPIN_VERY_SLOW else None


def _sibling_spin(case: Case) -> Params | None:
    moved = [s.id for s in case.near("node") if case.is_fresh(s) and _spins_slowly(s)]
    return holds(bool(moved) and _slow_spin(case) is not None, hosts=moved[:5], n=len(moved))


def _no_steal(case: Case) -> Params | None:
    """Where the hypervisor tells what it takes and says that it takes nothing, slowness has another reason."""
    steal = case.number("cpu.steal_pct")
    can_show = not case.host.cannot_show("cpu.steal_pct") and case.host.place("virt") in ("kvm", "xen")
    return holds(can_show and steal is not None and steal < STEAL_LOW_PCT and _slow_spin(case) is not None)


def _stall_stolen(case: Case) -> Params | None:
    """A processor that stood still because it was not given to us (P6)."""
    stalled = case.has_line(_STALL.search)
    spin = case.number("cpu.spin_score")
    stolen = case.ran_above("cpu.steal_pct", STEAL_STALLS_PCT) or (spin is not None and spin < SPIN_VERY_SLOW)
    return holds(bool(stalled) and stolen and not case.host.is_bare_metal, line=stalled[:160])


def _stall_paused(case: Case) -> Params | None:
    stalled = case.has_line(_STALL.search)
    progress = case.number("agent.gap_progress")
    stood = case.ran_above("clk.offset_step_s", 0.5) or (
        case.ran_above("agent.gap_s", 0.5) and progress is not None and progress <= 0.3
    )
    return holds(bool(stalled) and stood and not case.host.is_bare_metal, line=stalled[:160])


def _steals(sibling: HostView) -> float:
    return sibling.vitals.get("cpu.steal_pct") or 0.0


def _sibling_steal(case: Case) -> Params | None:
    moved = [s.id for s in case.near("node") if case.is_fresh(s) and _steals(s) > STEAL_HIGH_PCT]
    return holds(
        bool(moved) and case.ran_above("cpu.steal_pct", STEAL_HIGH_PCT),
        hosts=moved[:5],
        n=len(moved),
    )


def _sibling_calm(case: Case) -> Params | None:
    near = [s for s in case.near("node") if case.is_fresh(s) and "cpu.steal_pct" in s.vitals]
    calm = [s.id for s in near if _steals(s) < STEAL_LOW_PCT]
    is_alone = bool(near) and len(calm) == len(near) and case.ran_above("cpu.steal_pct", STEAL_HIGH_PCT)
    return holds(is_alone, hosts=calm[:5], n=len(calm))


def plan_ceiling_pct(case: Case) -> float | None:
    """The share of the whole machine that the tariff grants: a baseline as it is, a quota (of one CPU) shared out."""
    baseline = case.plan_number("baseline")
    if baseline is not None:
        return baseline
    quota, cpus = case.plan_number("quota"), case.number("cpu.online")
    return quota / cpus if quota is not None and cpus else None


def _at_plan(case: Case) -> bool:
    own, ceiling = case.own_cpu_pct(), plan_ceiling_pct(case)
    return own is not None and ceiling is not None and abs(own - ceiling) <= PLAN_TOLERANCE_PCT


def _plan_limit(case: Case) -> Params | None:
    is_held = _at_plan(case) and case.ran_above("cpu.steal_pct", STEAL_HIGH_PCT)
    return holds(
        is_held, own=case.own_cpu_pct(), ceiling=plan_ceiling_pct(case), steal=case.number("cpu.steal_pct")
    )


def _throttled(case: Case) -> Params | None:
    share = case.number("cg.throttled_pct")
    return holds(share is not None and share > 10.0, share=share)


def _own_demand(case: Case) -> Params | None:
    own = case.own_cpu_pct()
    stolen = (case.number("cpu.steal_pct") or 0.0) > STEAL_HIGH_PCT
    return holds(own is not None and own > OWN_HIGH_PCT and not stolen, own=own)


def _long_queue(case: Case) -> Params | None:
    load = case.number("load.per_cpu")
    stolen = (case.number("cpu.steal_pct") or 0.0) > STEAL_HIGH_PCT
    waits = (case.number("cpu.iowait_pct") or 0.0) > 30.0
    is_own = load is not None and load > LOAD_HIGH and not stolen and not waits
    # In a container without a view of its own the load is the node's and says nothing about us (section 2).
    return holds(is_own and not case.host.cannot_show("own loadavg"), load=load)


def _softirq(case: Case) -> Params | None:
    share = case.number("cpu.softirq_pct")
    return holds(share is not None and share > SOFTIRQ_HIGH_PCT, share=share)


def _fewer_cpus(case: Case) -> Params | None:
    now, before = case.number("cpu.online"), case.before("cpu.online")
    return holds(
        now is not None and before is not None and now < before and not case.ops, now=now, before=before
    )


def _thermal(case: Case) -> Params | None:
    mhz = case.number("cpu.mhz_pct")
    is_hot = case.ran_above("hw.therm_ps", 0.0) and mhz is not None and mhz < MHZ_LOW_PCT
    return holds(is_hot and case.host.is_bare_metal, mhz=mhz)


def _process_storm(case: Case) -> Params | None:
    forks, usual = case.number("proc.forks_ps"), case.before("proc.forks_ps")
    is_storm = forks is not None and forks > FORKS_FACTOR * max(usual or 0.0, 5.0)
    pids = case.number("pid.used_pct") or 0.0
    return holds(is_storm or pids > 90.0, forks=forks or 0.0, pids=pids)


CPU_ROWS: Sequence[Row] = (
    row("cpu.steal", "cpu kernel", "virt.cpu_contention", STRONG, "inside", "signals.md 3.1 C1", _steal),
    row("cpu.spin_slow", "cpu", "virt.cpu_contention", MEDIUM, "clock", "signals.md 3.1 C4", _slow_spin),
    row(
        "cpu.spin_very_slow",
        "cpu kernel",
        "virt.cpu_contention",
        STRONG,
        "clock",
        "signals.md 3.1 C4",
        _very_slow_spin,
        says="cpu.spin_slow",
    ),
    row(
        "cpu.sibling_spin",
        "cpu",
        "virt.cpu_contention",
        STRONG,
        "siblings",
        "signals.md 1 rule 5, 3.1 C4",
        _sibling_spin,
    ),
    row("cpu.no_steal", "cpu", "", -WEAK, "inside", "signals.md 3.1 C4", _no_steal),
    row(
        "cpu.stall_stolen",
        "kernel",
        "virt.cpu_contention",
        STRONG + MEDIUM,
        "kernel",
        "signals.md 3.4 P6",
        _stall_stolen,
    ),
    row(
        "cpu.stall_paused",
        "kernel",
        "virt.pause",
        STRONG + MEDIUM,
        "kernel",
        "signals.md 3.4 P6",
        _stall_paused,
    ),
    row(
        "cpu.sibling_steal",
        "cpu kernel",
        "virt.cpu_contention",
        STRONG,
        "siblings",
        "signals.md 1 rule 5",
        _sibling_steal,
    ),
    row("cpu.sibling_calm", "cpu", "", -WEAK, "siblings", "signals.md 1 rule 5, 3.1 C1", _sibling_calm),
    row("cpu.plan_limit", "cpu", "os.plan_limit", -DECISIVE, "demand", "signals.md 3.1 C2", _plan_limit),
    row("cpu.throttled", "cpu", "os.plan_limit", -STRONG, "demand", "signals.md 3.1 C12", _throttled),
    row("cpu.own_demand", "cpu", "os.cpu_demand", -STRONG, "demand", "signals.md 3.1 C6", _own_demand),
    row("cpu.long_queue", "cpu", "os.cpu_demand", -MEDIUM, "inside", "signals.md 3.1 C7, C8", _long_queue),
    row("cpu.softirq", "cpu network", "os.softirq", -STRONG, "demand", "signals.md 3.7", _softirq),
    row("cpu.fewer", "cpu virt", "virt.vcpu_removed", DECISIVE, "inside", "signals.md 3.1 C11", _fewer_cpus),
    row("cpu.thermal", "cpu hardware", "hw.thermal", STRONG, "hardware", "signals.md 3.6 H8", _thermal),
    row(
        "cpu.process_storm",
        "cpu limits memory process",
        "os.fork_bomb",
        -STRONG - MEDIUM - WEAK,
        "demand",
        "signals.md 3.8 L2",
        _process_storm,
    ),
)
