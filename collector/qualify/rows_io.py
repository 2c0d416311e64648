"""Evidence about disks: is the backend slow, or do we saturate it (the triad of signals.md 3.3)?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case, HostView
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

AWAIT_SLOW_MS = 20.0
AWAIT_FACTOR = 3.0
DEEP_QUEUE = 10.0
PROBE_FACTOR = 5.0
PROBE_SLOW_MS = 10.0
PROBE_HIGH_MS = 50.0
"""A single read that takes so long is slow on any disk (as the rule ``disk_probe_slow``)."""
DEMAND_FACTOR = 2.0
STEADY = 0.9
CAP_TOLERANCE = 0.05

BLOCK_ERROR = re.compile(
    r"(?:I/O|critical medium|critical target|critical nexus|timeout|protection|device resource) error, dev |"
    r"critical space allocation error, dev (?!dm-|md|loop|nbd|drbd)|"
    r"Buffer I/O error on |"
    r"nvme nvme\d+: (?:I/O \d+.* timeout|controller is down|Device not ready|Removing after probe|Abort status)|"
    r"nvme (?:nvme\d+: )?(?:I/O \d+.* timeout|controller is down)|"
    r"ata\d+(?:\.\d+)?: (?:exception Emask|hard resetting link|failed command)|"
    r"FAILED Result: hostbyte=|Sense Key : (?:Medium|Hardware) Error|Device offlined - not ready|"
    r"rejecting I/O to offline device|XFS \([\w-]+\): (?:metadata I/O error|log I/O error)|attempting task abort|"
    r"(?:vmw_pvscsi|mptscsih?|mptbase|storvsc|hv_storvsc|xen-?blkfront|blkfront).*"
    r"(?:abort|reset|timeout|timed out|status)"
)
"""Kernel lines that say that a block device below the file system failed (signals.md 4: blk_io, nvme, ata_scsi, vscsi_abort)."""

_STACKED = re.compile(r"(?:dev|device|on) (?:dm-|loop|nbd|drbd|rbd\d|md\d)")
"""Devices that are made of others, on this host: what they say is not yet the disk's word."""
_NO_SPACE = re.compile(
    r"critical space allocation error, dev (?:dm-|md)|thin pool .*(?:full|out of data space)|No space left on|"
    r"device-mapper: (?:thin|space map).*(?:no free (?:data|metadata) space|out-of-data-space)"
)
_NO_SPACE_BELOW = re.compile(r"critical space allocation error, dev (?!dm-|md|loop|nbd|drbd)")
"""What a disk answers (SCSI: space allocation failed) whose own backing has run full; a volume of ours says it for itself."""
_HUNG_TASK = re.compile(r"INFO: task .+ blocked (?:on .+ )?for more than \d+ seconds")


def device_line(case: Case) -> str:
    """The first line in which a real (or the hypervisor's) block device says that it failed."""
    return case.has_line(lambda text: BLOCK_ERROR.search(text) and not _STACKED.search(text))


def block_line(case: Case) -> str:
    """The first line of a failed block device of any kind."""
    return case.has_line(BLOCK_ERROR.search)


def is_own_disk(case: Case) -> bool:
    """Whether the disks are the machine's own: what fails below its file systems is then hardware, no storage of others."""
    return case.host.is_bare_metal and case.host.place("storage") in ("", "local")


def _on_own_disk(when):
    """The same evidence where it speaks of the machine's own disks."""
    return lambda case: when(case) if is_own_disk(case) else None


def _on_storage(when):
    """The same evidence where the disks belong to the layer below."""
    return lambda case: when(case) if not is_own_disk(case) else None


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


def _is_at_own_maximum(case: Case) -> bool:
    """Whether our own deep queue sat before the disk already, and it does what it did then: a longer queue is more demand.

    By Little's law a longer queue and a longer wait are one thing while the rate stays; only what was before tells them apart.
    """
    iops, rate = case.number("disk.iops"), case.before("disk.iops")
    queue, depth = case.number("disk.qdepth"), case.before("disk.qdepth")
    if iops is None or rate is None or queue is None or depth is None:
        return False
    return depth > DEEP_QUEUE and queue > depth and iops >= STEADY * rate


def _backend_slow(case: Case) -> Params | None:
    iops, before, queue = case.number("disk.iops"), case.before("disk.iops"), case.number("disk.qdepth")
    if case.host.is_container:
        return None  # section 2: these are the node's figures
    if iops is None or queue is None or not _is_slow(case) or _at_cap(case):
        return None
    if _is_at_own_maximum(case):
        return None
    not_more = before is not None and iops <= before * 1.1
    is_natural = queue <= max(DEEP_QUEUE, 1.5 * _little(case))
    return holds(not_more and is_natural, wait=case.number("disk.await_ms"), iops=iops, before=before or 0.0)


def _probe_slow(case: Case) -> Params | None:
    now, before = case.number("disk.probe_ms"), case.before("disk.probe_ms")
    slow = now is not None and now > PROBE_SLOW_MS and (before is None or now >= PROBE_FACTOR * before)
    shallow = (case.number("disk.qdepth") or 0.0) <= DEEP_QUEUE or case.host.is_container
    return holds(slow and shallow, probe=now)


def _saturated(case: Case) -> Params | None:
    queue = case.number("disk.qdepth")
    is_deep = queue is not None and queue > DEEP_QUEUE and not case.host.is_container
    return holds(
        is_deep and _demand_grew(case) and not _at_cap(case), iops=case.number("disk.iops"), queue=queue
    )


def _queue_grew(case: Case) -> Params | None:
    is_ours = _is_at_own_maximum(case) and not case.host.is_container and not _at_cap(case)
    iops, queue, before = case.number("disk.iops"), case.number("disk.qdepth"), case.before("disk.qdepth")
    return holds(is_ours, iops=iops or 0.0, queue=queue or 0.0, before=before or 0.0)


def _plan_cap(case: Case) -> Params | None:
    return holds(_at_cap(case), iops=case.number("disk.iops"), cap=case.plan_number("iops_cap"))


def _stalled(case: Case) -> Params | None:
    iops, queue = case.number("disk.iops"), case.number("disk.qdepth")
    stuck = case.number("disk.stuck_s") or 0.0
    stands = (iops == 0 and queue is not None and queue > 0.5) or stuck >= 30.0
    return holds(stands and not case.host.is_container, queue=queue or 0.0)


def _sibling_is_slow(sibling: HostView) -> bool:
    iops, queue = sibling.vitals.get("disk.iops"), sibling.vitals.get("disk.qdepth") or 0.0
    is_slow = (sibling.vitals.get("disk.await_ms") or 0.0) >= AWAIT_SLOW_MS
    is_slow = is_slow or (sibling.vitals.get("disk.probe_ms") or 0.0) > PROBE_HIGH_MS
    return is_slow or (iops == 0 and queue > 0.5) or bool(sibling.families & {"io", "fs"})


def _near_storage(case: Case) -> tuple[HostView, ...]:
    """Who shares the disks: guests of one storage; containers of one node, whose own disks they are, where none is named."""
    if case.host.place("storage") not in ("", "local"):
        return case.near("storage")
    return case.near("node") if case.host.is_container else ()


def _sibling_slow(case: Case) -> Params | None:
    moved = [s.id for s in _near_storage(case) if case.is_fresh(s) and _sibling_is_slow(s)]
    return holds(bool(moved), hosts=moved[:5], n=len(moved))


def _sibling_fine(case: Case) -> Params | None:
    near = [s for s in _near_storage(case) if case.is_fresh(s) and s.vitals.get("disk.await_ms") is not None]
    fine = [s.id for s in near if not _sibling_is_slow(s)]
    return holds(bool(near) and len(fine) == len(near), hosts=fine[:5], n=len(fine))


def _device_errors(case: Case) -> Params | None:
    line = device_line(case)
    return holds(bool(line), line=line[:160])


def _stacked_errors(case: Case) -> Params | None:
    line = block_line(case)
    return holds(bool(line) and not device_line(case), line=line[:160])


def _pool_full(case: Case) -> Params | None:
    """The device below has no room left, and it is our own volume manager's."""
    line = case.has_line(_NO_SPACE.search)
    return holds(bool(line), line=line[:160])


def _full_below(case: Case) -> Params | None:
    """The disk itself refuses writes for want of room: whoever cut it out of his storage has none left."""
    line = case.has_line(_NO_SPACE_BELOW.search)
    return holds(bool(line), line=line[:160])


def _tasks_wait(case: Case) -> Params | None:
    """Tasks hang on storage that answers nothing, while nobody here asked for more."""
    line = case.has_line(_HUNG_TASK.search)
    swaps = (case.number("swap.out_mbps") or 0.0) > 1.0 or (case.number("psi.mem_full60") or 0.0) > 10.0
    return holds(bool(line) and not _demand_grew(case) and not _at_cap(case) and not swaps, line=line[:160])


def _lone_hang(case: Case) -> Params | None:
    """A task hangs and the disks are well: a lock of the kernel's, or of one driver."""
    line = case.has_line(_HUNG_TASK.search)
    well = not _is_slow(case) and _stalled(case) is None and not block_line(case)
    wait, pressure = case.number("disk.await_ms"), case.number("psi.io_full60") or 0.0
    return holds(bool(line) and well and wait is not None and pressure < 10.0, line=line[:160])


def _io_pressure(case: Case) -> Params | None:
    share = case.number("psi.io_full60")
    return holds(share is not None and share > 20.0, share=share)


STORAGE, DISK = "virt.storage_backend", "hw.disk"

IO_ROWS: Sequence[Row] = (
    row("io.backend_slow", "io", STORAGE, STRONG, "inside", "signals.md 3.3 D5", _on_storage(_backend_slow)),
    row(
        "io.disk_slow",
        "io hardware",
        DISK,
        STRONG,
        "inside",
        "signals.md 3.3 D5",
        _on_own_disk(_backend_slow),
        says="io.backend_slow",
    ),
    row("io.probe_slow", "io", STORAGE, WEAK, "clock", "signals.md 3.3 D6", _on_storage(_probe_slow)),
    row(
        "io.disk_probe_slow",
        "io hardware",
        DISK,
        WEAK,
        "clock",
        "signals.md 3.3 D6",
        _on_own_disk(_probe_slow),
        says="io.probe_slow",
    ),
    row("io.stalled", "io fs silence", STORAGE, STRONG, "inside", "signals.md 3.3 D7", _on_storage(_stalled)),
    row(
        "io.disk_stalled",
        "io fs hardware",
        DISK,
        STRONG,
        "inside",
        "signals.md 3.3 D7",
        _on_own_disk(_stalled),
        says="io.stalled",
    ),
    row("io.sibling_slow", "io fs", STORAGE, STRONG, "siblings", "signals.md 1 rule 5", _sibling_slow),
    row("io.sibling_fine", "io", "", -MEDIUM, "siblings", "signals.md 1 rule 5", _sibling_fine),
    row("io.saturated", "io", "os.io_demand", -STRONG, "demand", "signals.md 3.3 D3, D5", _saturated),
    row("io.queue_grew", "io", "os.io_demand", -STRONG, "demand", "signals.md 3.3 D5", _queue_grew),
    row("io.plan_cap", "io", "os.plan_limit", -STRONG - MEDIUM, "demand", "signals.md 3.3 D5", _plan_cap),
    # A device's own complaint is the hardware's word, or the hypervisor's that plays the hardware (rule 4).
    row(
        "io.errors_below",
        "io fs kernel silence",
        STORAGE,
        STRONG,
        "hardware",
        "signals.md 3.3 D8, 4",
        _on_storage(_device_errors),
    ),
    row(
        "io.errors_disk",
        "io fs kernel hardware silence",
        DISK,
        STRONG,
        "hardware",
        "signals.md 3.3 D8, 4",
        _on_own_disk(_device_errors),
    ),
    row(
        "io.errors_stacked",
        "io fs kernel",
        STORAGE,
        MEDIUM,
        "kernel",
        "signals.md 3.3 D8",
        _on_storage(_stacked_errors),
        says="io.errors_below",
    ),
    row(
        "io.errors_stacked_disk",
        "io fs kernel",
        DISK,
        MEDIUM,
        "kernel",
        "signals.md 3.3 D8",
        _on_own_disk(_stacked_errors),
        says="io.errors_disk",
    ),
    row(
        "io.pool_full",
        "io fs kernel",
        "os.disk_full",
        -DECISIVE,
        "kernel",
        "signals.md 3.3 D8, 4",
        _pool_full,
    ),
    row(
        "io.full_below",
        "io fs kernel",
        STORAGE,
        STRONG + MEDIUM,
        "hardware",
        "signals.md 3.3 D8, 4",
        _full_below,
        says="io.pool_full",
    ),
    row(
        "io.tasks_wait",
        "io fs",
        STORAGE,
        MEDIUM,
        "kernel",
        "signals.md 4 hung_task",
        _on_storage(_tasks_wait),
    ),
    row(
        "io.tasks_wait_disk",
        "io fs",
        DISK,
        MEDIUM,
        "kernel",
        "signals.md 4 hung_task",
        _on_own_disk(_tasks_wait),
        says="io.tasks_wait",
    ),
    row("io.lone_hang", "io", "os.kernel_bug", -STRONG, "inside", "signals.md 4 hung_task", _lone_hang),
    # Pressure says how much it hurts, never who does it (D10): it argues for neither side.
    row("io.pressure", "io", "", 0.0, "inside", "signals.md 3.3 D10", _io_pressure),
)
