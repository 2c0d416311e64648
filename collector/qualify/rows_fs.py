"""Evidence about file systems: full, out of inodes, or turned read-only."""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import MEDIUM, STRONG, Params, Row, holds, row
from collector.qualify.rows_io import BLOCK_ERROR

FULL_PCT = 90.0


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


def _ro_after_errors(case: Case, on_bare_metal: bool) -> Params | None:
    line = case.has_line(BLOCK_ERROR.search)
    return holds(
        _read_only(case) and bool(line) and case.host.is_bare_metal == on_bare_metal, part=_part(case)
    )


def _ro_below(case: Case) -> Params | None:
    return _ro_after_errors(case, on_bare_metal=False)


def _ro_disk(case: Case) -> Params | None:
    return _ro_after_errors(case, on_bare_metal=True)


def _ro_alone(case: Case) -> Params | None:
    return holds(_read_only(case) and not case.has_line(BLOCK_ERROR.search), part=_part(case))


FS_ROWS: Sequence[Row] = (
    row("fs.full", "fs_space", "os.disk_full", -STRONG, "demand", "signals.md 3.8 F1", _full),
    row("fs.no_inodes", "fs_space", "os.disk_full", -STRONG, "demand", "signals.md 3.8 F2", _no_inodes),
    row("fs.filling", "fs_space", "os.disk_full", -MEDIUM, "inside", "signals.md 3.8 F1", _filling),
    row("fs.ro_below", "fs", "virt.storage_backend", STRONG, "inside", "signals.md 3.3 D9, 6", _ro_below),
    row("fs.ro_disk", "fs", "hw.disk", STRONG, "inside", "signals.md 3.3 D9, 6", _ro_disk),
    row("fs.ro_alone", "fs", "os.fs_error", -STRONG, "inside", "signals.md 3.3 D9, 6", _ro_alone),
)
