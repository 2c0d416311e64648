"""Evidence from the hardware's own logs and from the kernel: enough alone for class 1 (signals.md 1 rule 4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case, as_number
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, Params, Row, holds, row

_PANIC = re.compile(r"Kernel panic - not syncing|BUG: unable to handle|kernel BUG at|Oops:")
_MACHINE_CHECK = re.compile(
    r"\[Hardware Error\]|Machine [Cc]heck (?:[Ee]xception|events logged)|EDAC MC\d+: \d+ UE "
)
_POWER = re.compile(r"(?i)ac lost|power supply.*(?:lost|fail|assert)|power unit.*(?:lost|off)")
_RESTORE = re.compile(r"(?i)power.?(?:up|on)?.*restore|ac lost|power loss")
_SOFT_LOCKUP = re.compile(r"BUG: soft lockup - CPU#\d+ stuck for \d+s!")


def _smart_failed(case: Case) -> Params | None:
    return holds(case.value("hw.smart_health") == "FAILED", part=case.subject.subject)


def _smart_grows(case: Case) -> Params | None:
    found = case.fact("hw.smart")
    now, before = (found.now, found.before) if found else (None, None)
    if not isinstance(now, dict) or not isinstance(before, dict):
        return None
    grown = sorted(k for k in now if (as_number(now[k]) or 0.0) > (as_number(before.get(k)) or 0.0))
    is_ticket = any(k in grown for k in ("187", "197", "198")) or len(grown) >= 2
    return holds(is_ticket, attributes=", ".join(grown))


def _smart_rule(case: Case) -> Params | None:
    grown = sorted({h.subject for h in case.held() if h.rule in ("smart_grows", "sectors_reallocated")})
    return holds(bool(grown), attributes=", ".join(grown))


def _raid_line(case: Case) -> Params | None:
    lost = next((h for h in case.held() if h.rule == "raid_member_lost"), None)
    line = str(lost.facts["kmsg"].now) if lost is not None and "kmsg" in lost.facts else ""
    return holds(lost is not None and not case.ops, line=line[:160])


def _power_log(case: Case) -> Params | None:
    entry = str(case.value("hw.sel") or "")
    return holds(bool(_POWER.search(entry)), line=entry[:160])


def _power_came_back(case: Case) -> Params | None:
    why = str(case.value("boot.restart_cause") or "")
    return holds(bool(_RESTORE.search(why)), line=why[:160])


def _nvme(case: Case) -> Params | None:
    bits = case.number("hw.nvme_cw")
    return holds(bits is not None and bits > 0, bits=bits)


def _array(case: Case) -> Params | None:
    state = next(
        (v for v in (case.value("hw.md"), case.value("hw.raid")) if v in ("degraded", "failed", "inactive")),
        "",
    )
    return holds(bool(state) and not case.ops, state=state, part=case.subject.subject)


def _ecc_rate(case: Case) -> Params | None:
    rate = case.number("hw.edac_ce_h")
    return holds(rate is not None and rate > 10, rate=rate)


def _machine_check(case: Case) -> Params | None:
    line = case.has_line(_MACHINE_CHECK.search)
    return holds(bool(line), line=line[:160])


def _panic(case: Case) -> Params | None:
    line = case.has_line(_PANIC.search) or str(case.value("boot.pstore") or "")
    return holds(bool(line) and line != "none" and not case.has_line(_MACHINE_CHECK.search), line=line[:160])


def _soft_lockup(case: Case) -> Params | None:
    line = case.has_line(_SOFT_LOCKUP.search)
    return holds(bool(line) and case.host.is_bare_metal, line=line[:160])


HARDWARE_ROWS: Sequence[Row] = (
    row(
        "hw.smart_failed",
        "hardware io fs",
        "hw.disk",
        DECISIVE,
        "hardware",
        "signals.md 3.6 H1",
        _smart_failed,
    ),
    row("hw.smart_grows", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H1", _smart_grows),
    row("hw.smart_rule", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H1", _smart_rule),
    row("hw.raid_line", "hardware", "hw.disk", STRONG, "hardware", "signals.md 4 md_fail", _raid_line),
    row(
        "hw.power_log", "hardware kernel", "hw.power", STRONG, "hardware", "signals.md 3.6 H9, 5", _power_log
    ),
    row("hw.power_back", "kernel hardware", "hw.power", STRONG, "hardware", "signals.md 5", _power_came_back),
    row("hw.nvme", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H2", _nvme),
    row("hw.array", "hardware io", "hw.disk", STRONG, "hardware", "signals.md 3.6 H3, H5", _array),
    row("hw.ecc_rate", "hardware memory", "hw.memory", STRONG, "hardware", "signals.md 3.6 H6", _ecc_rate),
    row(
        "hw.machine_check",
        "hardware kernel",
        "hw.memory",
        STRONG,
        "hardware",
        "signals.md 4 mce, edac",
        _machine_check,
    ),
    row("kernel.panic", "kernel", "os.kernel_panic", -STRONG, "kernel", "signals.md 4 panic, 5", _panic),
    row(
        "kernel.soft_lockup", "kernel", "os.kernel_bug", -MEDIUM, "kernel", "signals.md 3.4 P6", _soft_lockup
    ),
)
