"""Evidence about memory: taken back by the layer below, or grown into by our own processes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, Params, Row, holds, row

AVAILABLE_LOW_PCT = 10.0
TOTAL_FELL = 0.95
"""MemTotal below this share of what it was: the balloon took it (M3)."""

_CGROUP_OOM = re.compile(r"Memory cgroup out of memory: Kill(?:ed)? process \d+ \(([^)]+)\)")
_GLOBAL_OOM = re.compile(r"(?<!cgroup )[Oo]ut of memory: Kill(?:ed)? process \d+ \(([^)]+)\)")


def _total_fell(case: Case) -> bool:
    now, before = case.number("mem.total_mb"), case.before("mem.total_mb")
    return now is not None and before is not None and now < before * TOTAL_FELL and not case.ops


def _ballooned(case: Case) -> Params | None:
    return holds(
        _total_fell(case) and not case.host.is_container,
        now=case.number("mem.total_mb"),
        before=case.before("mem.total_mb"),
    )


def _balloon_grew(case: Case) -> Params | None:
    held, total = case.number("mem.balloon_mb"), case.number("mem.total_mb")
    return holds(held is not None and total is not None and held > 0.05 * total, held=held)


def _limit_fell(case: Case) -> Params | None:
    now, before = case.number("ubc.limit_mb"), case.before("ubc.limit_mb")
    return holds(now is not None and before is not None and now < before, now=now, before=before)


def _little_left(case: Case) -> Params | None:
    free = case.number("mem.avail_pct")
    return holds(free is not None and free < AVAILABLE_LOW_PCT and not _total_fell(case), free=free)


def _grew_into_total(case: Case) -> Params | None:
    """Available memory fell while the total stood: our own processes took it."""
    free, before = case.number("mem.avail_pct"), case.before("mem.avail_pct")
    fell = free is not None and before is not None and free < before - 10.0
    return holds(fell and not _total_fell(case), free=free, before=before)


def _pressure(case: Case) -> Params | None:
    share = case.number("psi.mem_full60")
    return holds(share is not None and share > 10.0 and not _total_fell(case), share=share)


def _swaps(case: Case) -> Params | None:
    rate = case.number("swap.out_mbps")
    return holds(rate is not None and rate > 1.0 and not _total_fell(case), rate=rate)


def _cgroup_oom(case: Case) -> Params | None:
    line = case.has_line(_CGROUP_OOM.search)
    found = _CGROUP_OOM.search(line)
    return holds(found is not None, program=found.group(1) if found else "")


def _global_oom(case: Case) -> Params | None:
    line = case.has_line(_GLOBAL_OOM.search)
    found = _GLOBAL_OOM.search(line)
    counted = (case.number("vm.oom_kills") or 0.0) > (case.before("vm.oom_kills") or 0.0)
    return holds(
        (found is not None or counted) and not _total_fell(case), program=found.group(1) if found else "?"
    )


def _failcnt(case: Case) -> Params | None:
    counts = case.value("ubc.failcnt")
    failing = sorted(k for k, v in counts.items() if v) if isinstance(counts, dict) else []
    return holds(bool(failing) and _limit_fell(case) is None, resources=", ".join(failing))


def _corrupted(case: Case) -> Params | None:
    count = case.number("hw.edac_ue")
    return holds(count is not None and count > 0, count=count)


MEMORY_ROWS: Sequence[Row] = (
    row(
        "memory.ballooned", "memory virt", "virt.balloon", DECISIVE, "inside", "signals.md 3.2 M3", _ballooned
    ),
    row(
        "memory.balloon_grew",
        "memory virt",
        "virt.balloon",
        STRONG,
        "kernel",
        "signals.md 3.2 M3",
        _balloon_grew,
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
        -STRONG,
        "kernel",
        "signals.md 3.2 M2, 4",
        _cgroup_oom,
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
    row("memory.failcnt", "memory", "os.memory_limit", -STRONG, "demand", "signals.md 3.2 M5", _failcnt),
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
