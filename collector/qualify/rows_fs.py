"""Evidence about file systems: full, out of inodes, or turned read-only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_io import block_line, is_own_disk

FULL_PCT = 90.0
_REMOUNT = re.compile(r"mount .*remount.*\bro\b|mount .*-o ro|fsfreeze")
_OWN_FAULT = re.compile(
    r"Corruption of in-memory (?:meta)?data|XFS \([\w-]+\): (?:Metadata (?:corruption|CRC error)|Internal error|Corruption) |"
    r"XFS \([\w-]+\): (?:corrupt (?:dinode|inode)|Corruption detected)|EXT4-fs (?:error|warning)|"
    r"BTRFS (?:error|critical).*(?:forced readonly|corrupt leaf|parent transid)"
)


def _part(case: Case) -> str:
    return case.subject.subject or "/"


def _full(case: Case) -> Params | None:
    used = case.number("fs.used_pct")
    return holds(used is not None and used >= FULL_PCT, part=_part(case), used=used)


def _no_inodes(case: Case) -> Params | None:
    used = case.number("fs.inode_pct")
    return holds(used is not None and used >= FULL_PCT, part=_part(case), used=used)


def _filling(case: Case) -> Params | None:
    growth = case.number("fs.growth_gb_h")
    return holds(growth is not None and growth > 0.5, part=_part(case), growth=growth)


def _read_only(case: Case) -> bool:
    return bool(case.value("fs.ro")) or case.subject.rule == "fs_read_only"


def _ro_after_errors(case: Case) -> Params | None:
    return holds(_read_only(case) and bool(block_line(case)), part=_part(case))


def _ro_below(case: Case) -> Params | None:
    return None if is_own_disk(case) else _ro_after_errors(case)


def _ro_disk(case: Case) -> Params | None:
    return _ro_after_errors(case) if is_own_disk(case) else None


def _ro_alone(case: Case) -> Params | None:
    frozen = (case.number("disk.iops") == 0) and (case.number("disk.qdepth") or 0.0) > 0.5
    return holds(_read_only(case) and not block_line(case) and not frozen, part=_part(case))


def _ro_by_admin(case: Case) -> Params | None:
    act = case.done_by_operator(_REMOUNT.search)
    return holds(_read_only(case) and bool(act), act=act[:160])


def _corrupt_in_memory(case: Case) -> Params | None:
    line = case.has_line(_OWN_FAULT.search)
    return holds(bool(line) and not block_line(case), line=line[:160])


def _guests_stopped(case: Case) -> Params | None:
    """Guests of a hypervisor of ours stopped for want of room on it: its administrator must act."""
    return holds(
        any(h.rule == "guest_down" for h in case.held()) and _full(case) is not None, part=_part(case)
    )


FS_ROWS: Sequence[Row] = (
    row("fs.full", "fs_space", "os.disk_full", -STRONG, "demand", "signals.md 3.8 F1", _full),
    row("fs.no_inodes", "fs_space", "os.disk_full", -STRONG, "demand", "signals.md 3.8 F2", _no_inodes),
    row("fs.filling", "fs_space", "os.disk_full", -MEDIUM, "inside", "signals.md 3.8 F1", _filling),
    row("fs.ro_below", "fs", "virt.storage_backend", STRONG, "inside", "signals.md 3.3 D9, 6", _ro_below),
    row("fs.ro_disk", "fs", "hw.disk", STRONG, "inside", "signals.md 3.3 D9, 6", _ro_disk),
    row("fs.ro_alone", "fs", "os.fs_error", -STRONG, "inside", "signals.md 3.3 D9, 6", _ro_alone),
    row("fs.ro_by_admin", "fs", "os.fs_error", -STRONG, "ops", "signals.md 3.3 D9, 1 rule 9", _ro_by_admin),
    row(
        "fs.own_fault",
        "fs kernel io",
        "os.fs_error",
        -STRONG,
        "kernel",
        "signals.md 4 xfs_corrupt_mem",
        _corrupt_in_memory,
    ),
    row(
        "fs.guests_stopped",
        "fs_space virt",
        "os.disk_full",
        -STRONG - WEAK,
        "demand",
        "signals.md 3.5",
        _guests_stopped,
    ),
)
