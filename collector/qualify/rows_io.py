"""Evidence about disks: is the backend slow, or do we saturate it (the triad of signals.md 3.3)?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case, HostView
from collector.qualify.row import MEDIUM, STRONG, WEAK, Params, Row, holds, row

AWAIT_SLOW_MS = 20.0
AWAIT_FACTOR = 3.0
DEEP_QUEUE = 10.0
PROBE_FACTOR = 5.0
PROBE_SLOW_MS = 10.0
DEMAND_FACTOR = 2.0
CAP_TOLERANCE = 0.05

BLOCK_ERROR = re.compile(
    r"(?:I/O|critical medium|critical target|timeout|protection) error, dev |Buffer I/O error on |"
    r"nvme nvme\d+: (?:I/O \d+.* timeout|controller is down|Device not ready)|"
    r"ata\d+(?:\.\d+)?: (?:exception Emask|hard resetting link|failed command)|"
    r"rejecting I/O to offline device|XFS \([\w-]+\): (?:metadata I/O error|log I/O error)|attempting task abort"
)
"""Kernel lines that say that a block device below the file system failed (signals.md 4: blk_io, nvme, ata_scsi)."""


def _is_slow(case: Case) -> bool:
    now, before = case.number("disk.await_ms"), case.before("disk.await_ms")
    if now is None or now < AWAIT_SLOW_MS:
        return False
    return before is None or now >= AWAIT_FACTOR * before


def _demand_grew(case: Case) -> bool:
    now, before = case.number("disk.iops"), case.before("disk.iops")
    return now is not None and before is not None and now >= DEMAND_FACTOR * max(before, 10.0)


def _at_cap(case: Case) -> bool:
    iops, cap = case.number("disk.iops"), case.plan_number("iops_cap")
    return iops is not None and cap is not None and abs(iops - cap) <= CAP_TOLERANCE * cap


def _little(case: Case) -> float:
    """Queue that the present rate and latency make by themselves (Little's law)."""
    return (case.number("disk.iops") or 0.0) * (case.number("disk.await_ms") or 0.0) / 1000.0


def _backend_slow(case: Case) -> Params | None:
    iops, before, queue = case.number("disk.iops"), case.before("disk.iops"), case.number("disk.qdepth")
    if iops is None or queue is None or not _is_slow(case) or _at_cap(case):
        return None
    not_more = before is not None and iops <= before * 1.1
    is_natural = queue <= max(DEEP_QUEUE, 1.5 * _little(case))
    return holds(not_more and is_natural, wait=case.number("disk.await_ms"), iops=iops, before=before or 0.0)


def _probe_slow(case: Case) -> Params | None:
    now, before = case.number("disk.probe_ms"), case.before("disk.probe_ms")
    slow = now is not None and now > PROBE_SLOW_MS and (before is None or now >= PROBE_FACTOR * before)
    shallow = (case.number("disk.qdepth") or 0.0) <= DEEP_QUEUE
    return holds(slow and shallow, probe=now)


def _saturated(case: Case) -> Params | None:
    queue = case.number("disk.qdepth")
    is_deep = queue is not None and queue > DEEP_QUEUE
    return holds(
        is_deep and _demand_grew(case) and not _at_cap(case), iops=case.number("disk.iops"), queue=queue
    )


def _plan_cap(case: Case) -> Params | None:
    return holds(_at_cap(case), iops=case.number("disk.iops"), cap=case.plan_number("iops_cap"))


def _stalled(case: Case) -> Params | None:
    iops, queue = case.number("disk.iops"), case.number("disk.qdepth")
    return holds(iops == 0 and queue is not None and queue > 0, queue=queue)


def _sibling_is_slow(sibling: HostView) -> bool:
    return (sibling.vitals.get("disk.await_ms") or 0.0) >= AWAIT_SLOW_MS or "io" in sibling.families


def _near_storage(case: Case) -> tuple[HostView, ...]:
    return case.near("storage") if case.host.place("storage") not in ("", "local") else ()


def _sibling_slow(case: Case) -> Params | None:
    moved = [s.id for s in _near_storage(case) if case.is_fresh(s) and _sibling_is_slow(s)]
    return holds(bool(moved), hosts=moved[:5], n=len(moved))


def _sibling_fine(case: Case) -> Params | None:
    near = [s for s in _near_storage(case) if case.is_fresh(s) and "disk.await_ms" in s.vitals]
    fine = [s.id for s in near if not _sibling_is_slow(s)]
    return holds(bool(near) and len(fine) == len(near), hosts=fine[:5], n=len(fine))


def _error_lines(case: Case, on_bare_metal: bool) -> Params | None:
    line = case.has_line(BLOCK_ERROR.search)
    return holds(bool(line) and case.host.is_bare_metal == on_bare_metal, line=line[:160])


def _errors_below_guest(case: Case) -> Params | None:
    return _error_lines(case, on_bare_metal=False)


def _errors_on_metal(case: Case) -> Params | None:
    return _error_lines(case, on_bare_metal=True)


def _io_pressure(case: Case) -> Params | None:
    share = case.number("psi.io_full60")
    return holds(share is not None and share > 20.0, share=share)


IO_ROWS: Sequence[Row] = (
    row(
        "io.backend_slow", "io", "virt.storage_backend", STRONG, "inside", "signals.md 3.3 D5", _backend_slow
    ),
    row("io.probe_slow", "io", "virt.storage_backend", WEAK, "clock", "signals.md 3.3 D6", _probe_slow),
    row("io.stalled", "io fs", "virt.storage_backend", STRONG, "inside", "signals.md 3.3 D7", _stalled),
    row(
        "io.sibling_slow",
        "io fs",
        "virt.storage_backend",
        STRONG,
        "siblings",
        "signals.md 1 rule 5",
        _sibling_slow,
    ),
    row("io.sibling_fine", "io", "", -MEDIUM, "siblings", "signals.md 1 rule 5", _sibling_fine),
    row("io.saturated", "io", "os.io_demand", -STRONG, "demand", "signals.md 3.3 D3, D5", _saturated),
    row("io.plan_cap", "io", "os.plan_limit", -STRONG - MEDIUM, "demand", "signals.md 3.3 D5", _plan_cap),
    row(
        "io.errors_below",
        "io fs kernel",
        "virt.storage_backend",
        STRONG,
        "kernel",
        "signals.md 3.3 D8, 4",
        _errors_below_guest,
    ),
    row(
        "io.errors_disk",
        "io fs kernel hardware",
        "hw.disk",
        STRONG,
        "kernel",
        "signals.md 3.3 D8, 4",
        _errors_on_metal,
    ),
    # Pressure says how much it hurts, never who does it (D10): it argues for neither side.
    row("io.pressure", "io", "", 0.0, "inside", "signals.md 3.3 D10", _io_pressure),
)
