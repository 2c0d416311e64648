"""Evidence from the hardware's own logs and from the kernel: enough alone for class 1 (signals.md 1 rule 4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_io import block_line

_PANIC = re.compile(r"Kernel panic - not syncing")
_OOPS = re.compile(r"BUG: unable to handle|kernel BUG at|Oops:|general protection fault.*\[#\d+\]")
_MACHINE_CHECK = re.compile(
    r"\[Hardware Error\]|[Mm]achine [Cc]heck|EDAC MC\d+: \d+ UE |Memory failure: 0x|MCE 0x[0-9a-f]+: "
)
_CORRECTED = re.compile(r"EDAC MC\d+: \d+ CE ")
_PCIE = re.compile(r"AER: (?:Multiple )?(?:Uncorrected|Uncorrectable)|PCIe Bus Error: severity=Uncorrected")
_CARD_DRIVER = re.compile(
    r"\b(?:i40e|ice|ixgbe|igb|igc|e1000e?|bnx2x?|bnxt_en|tg3|mlx[45]_core|be2net|cxgb4|qede|qlcnic|sfc|atlantic|r8169|nfp) "
    r"[\da-f:.]+: "
)
_HOT = re.compile(r"temperature above threshold, cpu clock throttled")
_TOO_HOT = re.compile(r"[Cc]ritical temperature reached")
_SEL_COOLING = re.compile(r"(?i)\bfan\b|temperature|thermal|overheat")
_SEL_MEMORY = re.compile(r"(?i)\becc\b|memory .*(?:error|fail)|dimm")
_SEL_DISK = re.compile(
    r"(?i)drive (?:fault|fail|slot.*fault)|predictive failure|disk .*fail|hdd.*fault|in failed array"
)
_SEL_RESET = re.compile(r"(?i)(?:reset|power (?:off|cycle|down)).*\b(?:by|via)\b.*(?:user|bmc|ipmi|chassis)")
_BY_COMMAND = re.compile(
    r"(?i)chassis (?:power )?control|chassis power|ipmi command|reset (?:button|command)|power.?button"
)
_WATCHDOG = re.compile(r"(?i)watchdog")
_MDADM = re.compile(
    r"\bmdadm\b|\bstorcli|\bMegaCli|\bssacli|\barcconf|\bzpool (?:offline|replace|detach)", re.IGNORECASE
)
_SEGFAULT = re.compile(r"(?:^|\s)([^\s\[]+)\[\d+\]: segfault at |traps: ([^\s\[]+)\[\d+\] ")
SEGFAULT_PROGRAMS = 3
_POWER = re.compile(r"(?i)ac lost|power supply.*(?:lost|fail|assert)|power unit.*(?:lost|off)")
_RESTORE = re.compile(r"(?i)power.?(?:up|on)?.*restore|ac lost|power loss")
_SOFT_LOCKUP = re.compile(r"BUG: soft lockup - CPU#\d+ stuck for \d+s!|hard LOCKUP|detected stalls? on CPU")


def is_taken_out(case: Case) -> bool:
    """Whether an operator took the disk out of its array."""
    return bool(case.done_by_operator(_MDADM.search))


def _log_entries(case: Case) -> list[str]:
    """What the hardware's log said lately, on all findings of the host."""
    found = [str(h.facts["hw.sel"].now) for h in case.held() if "hw.sel" in h.facts and h.facts["hw.sel"].now]
    return list(dict.fromkeys(found))


def _entry(pattern: re.Pattern[str]):
    def when(case: Case) -> Params | None:
        entry = next((text for text in _log_entries(case) if pattern.search(text)), "")
        return holds(bool(entry), line=entry[:160])

    return when


def _restart_cause(case: Case) -> str:
    return str(case.value("boot.restart_cause") or "")


def _watchdog(case: Case) -> Params | None:
    """The watchdog reset a machine that hung; where storage had stopped before, that is why it hung."""
    why = _restart_cause(case)
    return holds(bool(_WATCHDOG.search(why)) and not block_line(case), line=why[:160])


def _reset_by_command(case: Case) -> Params | None:
    why = _restart_cause(case)
    entry = next((text for text in _log_entries(case) if _SEL_RESET.search(text)), "")
    told = why if _BY_COMMAND.search(why) else entry
    return holds(bool(told), line=told[:160])


def _went_down_alone(case: Case) -> Params | None:
    """It went down without a word and nothing is known: most often its own kernel, told with little confidence."""
    alone = case.subject.rule == "unclean_boot" and not _restart_cause(case).replace("unknown", "")
    return holds(alone and not case.value("silence.group"))


def _segfault_storm(case: Case) -> Params | None:
    """Programs that have nothing in common crash: memory or the disk that they are read from (signals.md 4)."""
    found = [m for h in case.held() for line in h.lines for m in [_SEGFAULT.search(line)] if m]
    programs = sorted({m.group(1) or m.group(2) for m in found})
    is_short = (case.number("vm.oom_kills") or 0.0) > (case.before("vm.oom_kills") or 0.0)
    return holds(len(programs) >= SEGFAULT_PROGRAMS and not is_short, programs=", ".join(programs[:5]))


def _corrected(case: Case) -> Params | None:
    line = case.has_line(_CORRECTED.search)
    return holds(bool(line), line=line[:160])


def _pcie(case: Case) -> Params | None:
    line = case.has_line(_PCIE.search)
    return holds(bool(line) and _pcie_card(case) is None, line=line[:160])


def _pcie_card(case: Case) -> Params | None:
    """The device that complains is a network card, by its driver."""
    line = case.has_line(lambda text: _PCIE.search(text) and _CARD_DRIVER.search(text))
    return holds(bool(line), line=line[:160])


def _hot_line(case: Case) -> Params | None:
    off = case.has_line(_TOO_HOT.search)
    line = off or case.has_line(_HOT.search)
    slowed = (case.number("cpu.mhz_pct") or 100.0) < 80.0
    return holds(bool(line) and case.host.is_bare_metal and (bool(off) or slowed), line=line[:160])


def _smart_failed(case: Case) -> Params | None:
    return holds(case.value("hw.smart_health") == "FAILED", part=case.subject.subject)


def _smart_rule(case: Case) -> Params | None:
    grown = sorted({h.subject for h in case.held() if h.rule in ("smart_grows", "sectors_reallocated")})
    return holds(bool(grown), attributes=", ".join(grown))


def _raid_line(case: Case) -> Params | None:
    lost = next((h for h in case.held() if h.rule == "raid_member_lost"), None)
    line = str(lost.facts["kmsg"].now) if lost is not None and "kmsg" in lost.facts else ""
    return holds(lost is not None and not is_taken_out(case), line=line[:160])


def _raid_event(case: Case) -> Params | None:
    """The controller's own log names what failed: a volume, a disk, its battery, itself (H5)."""
    told = next((h for h in case.held() if h.rule == "raid_event"), None)
    line = str(told.facts["kmsg"].now) if told is not None and "kmsg" in told.facts else ""
    return holds(told is not None and not is_taken_out(case), line=line[:160])


def _power_log(case: Case) -> Params | None:
    entry = str(case.value("hw.sel") or "")
    return holds(bool(_POWER.search(entry)) and not _left_trace(case, _PANIC), line=entry[:160])


def _power_came_back(case: Case) -> Params | None:
    why = str(case.value("boot.restart_cause") or "")
    # A kernel that left a trace of its end was down before its power was (section 5: panic is asked first).
    return holds(bool(_RESTORE.search(why)) and not _left_trace(case, _PANIC), line=why[:160])


def _nvme(case: Case) -> Params | None:
    bits = case.number("hw.nvme_cw")
    return holds(bits is not None and bits > 0, bits=bits)


def _array(case: Case) -> Params | None:
    state = next(
        (v for v in (case.value("hw.md"), case.value("hw.raid")) if v in ("degraded", "failed", "inactive")),
        "",
    )
    return holds(bool(state) and not is_taken_out(case), state=state, part=case.subject.subject)


def _ecc_rate(case: Case) -> Params | None:
    rate = case.number("hw.edac_ce_h")
    return holds(rate is not None and rate > 10, rate=rate)


def _machine_check(case: Case) -> Params | None:
    line = case.has_line(_MACHINE_CHECK.search) or _left_trace(case, _MACHINE_CHECK)
    return holds(bool(line), line=line[:160])


def _left_trace(case: Case, pattern: re.Pattern[str]) -> str:
    """What the last boot left behind, where it matches."""
    trace = str(case.value("boot.pstore") or "")
    return trace if trace != "none" and pattern.search(trace) else ""


def _panic(case: Case) -> Params | None:
    trace = str(case.value("boot.pstore") or "")
    line = case.has_line(_PANIC.search) or (trace if trace != "none" else "")
    return holds(bool(line) and _machine_check(case) is None, line=line[:160])


def _oops(case: Case) -> Params | None:
    """The kernel found itself broken and went on."""
    line = case.has_line(_OOPS.search)
    return holds(bool(line) and _panic(case) is None and _machine_check(case) is None, line=line[:160])


def _siblings_fell(case: Case) -> Params | None:
    """Neighbours of the same node were gone too: no kernel's own doing (signals.md 4, panic)."""
    near = [s.id for s in case.near("node") if s.is_silent or s.families & {"silence", "kernel"}]
    return holds(bool(near) and not case.host.is_bare_metal, hosts=near[:5], n=len(near))


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
    row("hw.smart_rule", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H1", _smart_rule),
    row("hw.raid_line", "hardware", "hw.disk", STRONG, "hardware", "signals.md 4 md_fail", _raid_line),
    row("hw.raid_event", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H5", _raid_event),
    row(
        "hw.power_log", "hardware kernel", "hw.power", STRONG, "hardware", "signals.md 3.6 H9, 5", _power_log
    ),
    row("hw.power_back", "kernel hardware", "hw.power", STRONG, "hardware", "signals.md 5", _power_came_back),
    row("hw.nvme", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H2", _nvme),
    row("hw.array", "hardware io fs", "hw.disk", STRONG, "hardware", "signals.md 3.6 H3, H5", _array),
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
    row("hw.corrected", "hardware", "hw.memory", WEAK, "hardware", "signals.md 4 edac", _corrected),
    row("hw.pcie", "hardware kernel", "", STRONG, "hardware", "signals.md 3.6 H7, 4 aer", _pcie),
    row(
        "hw.pcie_card",
        "hardware kernel network",
        "hw.nic",
        STRONG,
        "hardware",
        "signals.md 3.6 H7, 4 aer",
        _pcie_card,
        says="hw.pcie",
    ),
    row("hw.hot_line", "hardware cpu", "hw.thermal", STRONG, "hardware", "signals.md 3.6 H8, 4", _hot_line),
    row(
        "hw.log_cooling",
        "hardware cpu kernel",
        "hw.thermal",
        STRONG,
        "hardware",
        "signals.md 3.6 H9",
        _entry(_SEL_COOLING),
        says="hw.log_entry",
    ),
    row(
        "hw.log_memory",
        "hardware memory kernel",
        "hw.memory",
        STRONG,
        "hardware",
        "signals.md 3.6 H6, H9",
        _entry(_SEL_MEMORY),
        says="hw.log_entry",
    ),
    row(
        "hw.log_disk",
        "hardware io fs",
        "hw.disk",
        STRONG,
        "hardware",
        "signals.md 3.6 H9",
        _entry(_SEL_DISK),
        says="hw.log_entry",
    ),
    row(
        "hw.segfaults",
        "unit service process hardware kernel memory",
        "hw.memory",
        MEDIUM,
        "kernel",
        "signals.md 4 storm rules",
        _segfault_storm,
    ),
    row("kernel.panic", "kernel", "os.kernel_panic", -STRONG, "kernel", "signals.md 4 panic, 5", _panic),
    row("kernel.oops", "kernel", "os.kernel_bug", -STRONG, "kernel", "signals.md 4 panic", _oops),
    row(
        "kernel.siblings_fell",
        "kernel",
        "virt.node_failure",
        STRONG + WEAK,
        "siblings",
        "signals.md 4 panic, 5",
        _siblings_fell,
    ),
    row(
        "kernel.went_down",
        "kernel",
        "os.kernel_panic",
        -WEAK,
        "inside",
        "signals.md 5 alone",
        _went_down_alone,
    ),
    row(
        "kernel.watchdog", "kernel", "os.userland_hung", -STRONG, "inside", "signals.md 5 watchdog", _watchdog
    ),
    row(
        "kernel.reset_by_command",
        "kernel hardware",
        "os.user_reset",
        -STRONG,
        "hardware",
        "signals.md 5 reset by BMC user",
        _reset_by_command,
    ),
    row(
        "kernel.soft_lockup", "kernel", "os.kernel_bug", -MEDIUM, "kernel", "signals.md 3.4 P6", _soft_lockup
    ),
)
