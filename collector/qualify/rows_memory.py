"""Evidence about memory: taken back by the layer below, or grown into by our own processes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

AVAILABLE_LOW_PCT = 10.0
TOTAL_FELL = 0.95
SWAPPED_MB = 16.0
ROOMY_PCT = 25.0
"""A host with as much of its memory available is not short of it."""
BALLOON_SHARE = 0.05
"""MemTotal below this share of what it was: the balloon took it (M3)."""

_OUT_OF_PUFF = re.compile(r"virtio_balloon \w+: Out of puff!|hv_balloon: .*(?:inflat|balloon)")
_CGROUP_OOM = re.compile(
    r"Memory cgroup out of memory: Kill(?:ed)? process \d+ \(([^)]+)\)|"
    r"oom-kill:constraint=CONSTRAINT_MEMCG\b(?:.*,task=([^,]+),pid=)?|"
    r"killed as a result of limit of (\S+)"
)
_GLOBAL_OOM = re.compile(r"(?<!cgroup )[Oo]ut of memory: Kill(?:ed)? process \d+ \(([^)]+)\)")


def _total_fell(case: Case) -> bool:
    now, before = case.number("mem.total_mb"), case.before("mem.total_mb")
    return now is not None and before is not None and now < before * TOTAL_FELL and not case.ops


def _balloon_holds(case: Case) -> bool:
    """The balloon driver holds more than a twentieth of what the guest has, and did not before."""
    held, total = case.number("mem.balloon_mb"), case.number("mem.total_mb")
    grew = held is not None and held - (case.before("mem.balloon_mb") or 0.0) > 0.0
    return grew and held is not None and total is not None and held > BALLOON_SHARE * total


def _taken_below(case: Case) -> bool:
    """The layer below took memory back: what is short then was not grown into by us."""
    return _total_fell(case) or (_balloon_holds(case) and not case.ops)


def _ballooned(case: Case) -> Params | None:
    return holds(
        _total_fell(case) and not case.host.is_container,
        now=case.number("mem.total_mb"),
        before=case.before("mem.total_mb"),
    )


def _balloon_grew(case: Case) -> Params | None:
    return holds(_balloon_holds(case) and not case.ops, held=case.number("mem.balloon_mb"))


def _swapped_below(case: Case) -> Params | None:
    """The hypervisor itself tells, by its tools, that it keeps more and more of this guest's memory on its disks (M4)."""
    swapped = case.number("mem.hypervisor_swap_mb")
    return holds(
        swapped is not None and swapped > SWAPPED_MB and not case.host.is_bare_metal, swapped=swapped
    )


def _puffed(case: Case) -> Params | None:
    line = case.has_line(_OUT_OF_PUFF.search)
    return holds(bool(line), line=line[:160])


def _container_shrank(case: Case) -> Params | None:
    fell = _total_fell(case) and case.host.is_container
    return holds(fell, now=case.number("mem.total_mb"), before=case.before("mem.total_mb"))


def _failing(case: Case) -> list[str]:
    """The container's resources that were refused, by the finding of each or by the map of all."""
    counts = case.value("ubc.failcnt")
    named = {h.subject for h in case.held() if h.rule == "container_limit_hit" and h.subject}
    return sorted(named | ({k for k, v in counts.items() if v} if isinstance(counts, dict) else set()))


def _guarantee_broken(case: Case) -> Params | None:
    """The node fails what it guaranteed while the container stays below its limit."""
    held, limit = case.number("ubc.held_mb"), case.number("ubc.limit_mb")
    fails = "oomguarpages" in _failing(case)
    return holds(
        fails and held is not None and limit is not None and held < 0.9 * limit, held=held, limit=limit
    )


def _fails_under_a_guarantee(case: Case) -> bool:
    return _guarantee_broken(case) is not None


def _limit_fell(case: Case) -> Params | None:
    now, before = case.number("ubc.limit_mb"), case.before("ubc.limit_mb")
    return holds(now is not None and before is not None and now < before, now=now, before=before)


def _little_left(case: Case) -> Params | None:
    free = case.number("mem.avail_pct")
    return holds(free is not None and free < AVAILABLE_LOW_PCT and not _taken_below(case), free=free)


def _grew_into_total(case: Case) -> Params | None:
    """Available memory fell while the total stood: our own processes took it."""
    free, before = case.number("mem.avail_pct"), case.before("mem.avail_pct")
    fell = free is not None and before is not None and free < before - 10.0
    return holds(fell and not _taken_below(case), free=free, before=before)


def _pressure(case: Case) -> Params | None:
    share = case.number("psi.mem_full60")
    return holds(share is not None and share > 10.0 and not _taken_below(case), share=share)


def _swaps(case: Case) -> Params | None:
    rate = case.number("swap.out_mbps")
    return holds(rate is not None and rate > 1.0 and not _taken_below(case), rate=rate)


def _cgroup_oom(case: Case) -> Params | None:
    line = case.has_line(_CGROUP_OOM.search)
    found = _CGROUP_OOM.search(line)
    program = next((name for name in found.groups() if name), "?") if found else ""
    return holds(found is not None, program=program)


def _counted_kill(case: Case) -> bool:
    """Whether the kernel's counter of kills rose; it counts those inside a group as well."""
    return (case.number("vm.oom_kills") or 0.0) > (case.before("vm.oom_kills") or 0.0)


def _never_short(case: Case) -> bool:
    """Whether the host had memory to spare, before the kill as after it."""
    free, before = case.number("mem.avail_pct"), case.before("mem.avail_pct")
    is_roomy = free is not None and before is not None and min(free, before) >= ROOMY_PCT
    return is_roomy and _swaps(case) is None and _pressure(case) is None


def _killed_with_room(case: Case) -> Params | None:
    """Somebody was killed for want of memory on a host that never lacked any: a group met its own limit."""
    is_told = bool(case.has_line(_GLOBAL_OOM.search) or case.has_line(_CGROUP_OOM.search))
    killed = _counted_kill(case) and not is_told and not _taken_below(case)
    return holds(killed and _never_short(case), free=case.number("mem.avail_pct"))


def _global_oom(case: Case) -> Params | None:
    line = case.has_line(_GLOBAL_OOM.search)
    found = _GLOBAL_OOM.search(line)
    is_group_s = bool(case.has_line(_CGROUP_OOM.search)) or _never_short(case)
    counted = _counted_kill(case) and not is_group_s
    return holds(
        (found is not None or counted) and not _taken_below(case), program=found.group(1) if found else "?"
    )


def _failcnt(case: Case) -> Params | None:
    failing = _failing(case)
    is_own = _limit_fell(case) is None and not _fails_under_a_guarantee(case)
    return holds(bool(failing) and is_own, resources=", ".join(failing))


def _corrupted(case: Case) -> Params | None:
    count, lost = case.number("hw.edac_ue") or 0.0, case.number("mem.corrupted_kb") or 0.0
    return holds(count > 0 or lost > 0, count=max(count, lost))


MEMORY_ROWS: Sequence[Row] = (
    row(
        "memory.ballooned", "memory virt", "virt.balloon", DECISIVE, "inside", "signals.md 3.2 M3", _ballooned
    ),
    row(
        "memory.balloon_grew",
        "memory virt",
        "virt.balloon",
        DECISIVE,
        "inside",
        "signals.md 3.2 M3",
        _balloon_grew,
    ),
    row(
        "memory.swapped_below",
        "memory virt io cpu",
        "virt.balloon",
        STRONG + WEAK,
        "provider",
        "signals.md 3.2 M4",
        _swapped_below,
    ),
    row(
        "memory.puffed",
        "memory virt kernel",
        "virt.balloon",
        STRONG,
        "kernel",
        "signals.md 4 balloon",
        _puffed,
    ),
    row(
        "memory.container_shrank",
        "memory virt",
        "virt.limits_changed",
        DECISIVE,
        "inside",
        "signals.md 3.2 M3, M5",
        _container_shrank,
        says="memory.limit_fell",
    ),
    row(
        "memory.guarantee_broken",
        "memory virt",
        "virt.limits_changed",
        DECISIVE,
        "inside",
        "signals.md 3.2 M5",
        _guarantee_broken,
    ),
    row(
        "memory.limit_fell",
        "memory virt",
        "virt.limits_changed",
        DECISIVE,
        "inside",
        "signals.md 3.2 M5",
        _limit_fell,
    ),
    row(
        "memory.little_left", "memory", "os.memory_leak", -MEDIUM, "inside", "signals.md 3.2 M1", _little_left
    ),
    row("memory.grew", "memory", "os.memory_leak", -STRONG, "demand", "signals.md 6", _grew_into_total),
    row("memory.pressure", "memory", "os.memory_leak", -MEDIUM, "inside", "signals.md 3.2 M6", _pressure),
    row("memory.swaps", "memory", "os.memory_leak", -MEDIUM, "inside", "signals.md 3.2 M8", _swaps),
    row(
        "memory.oom_cgroup",
        "memory kernel",
        "os.memory_limit",
        -STRONG - MEDIUM - WEAK,
        "kernel",
        "signals.md 3.2 M2, 4",
        _cgroup_oom,
    ),
    row(
        "memory.killed_with_room",
        "memory",
        "os.memory_limit",
        -STRONG,
        "kernel",
        "signals.md 3.2 M2, 4",
        _killed_with_room,
    ),
    row(
        "memory.oom",
        "memory kernel",
        "os.memory_leak",
        -STRONG,
        "kernel",
        "signals.md 3.2 M2, 4",
        _global_oom,
    ),
    row(
        "memory.failcnt",
        "memory",
        "os.memory_limit",
        -STRONG - MEDIUM - WEAK,
        "demand",
        "signals.md 3.2 M5",
        _failcnt,
    ),
    row(
        "memory.corrupted",
        "memory hardware",
        "hw.memory",
        DECISIVE,
        "hardware",
        "signals.md 3.6 H6",
        _corrupted,
    ),
)
