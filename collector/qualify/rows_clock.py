"""Evidence about resolvers, clocks and pauses: whose time and whose names are wrong, and did the guest run at all?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

OFFSET_HIGH_MS = 500.0
PAUSE_LONG_S = 10.0
PAUSE_SHORT_S = 1.0
"""Below this a pause is recorded only: a live migration of 300 ms is nothing (signals.md 3.4)."""
_STUB = re.compile(r"resolved|dnsmasq|unbound|named|nscd|bind9?\b|pdns|knot")
TIME_UNIT = re.compile(r"chrony|ntpd?\b|timesyncd|openntpd")
"""Units that keep the clock."""


def _stub_failed(case: Case) -> Params | None:
    failed = [h.subject for h in case.held() if h.family in ("unit", "process") and _STUB.search(h.subject)]
    return holds(bool(failed), units=", ".join(sorted(set(failed))))


def _time_service_failed(case: Case) -> Params | None:
    failed = [
        h.subject for h in case.held() if h.family in ("unit", "process") and TIME_UNIT.search(h.subject)
    ]
    return holds(bool(failed), units=", ".join(sorted(set(failed))))


_SET_BY_HAND = re.compile(r"\bdate\s+(?:-s|--set|-u\s+-s|\d)|timedatectl set-time|hwclock .*(?:-s|--hctosys)")


def _suspended(case: Case) -> Params | None:
    """Boot time ran on while monotonic time stood: the machine was saved, or moved (P4)."""
    step = case.number("clk.bt_mono_step_s")
    acts = case.done_by_operator(re.compile(r"suspend|hibernate").search)
    return holds(
        step is not None and step >= PAUSE_SHORT_S and not case.host.is_bare_metal and not acts, step=step
    )


def _public_answers(case: Case) -> Params | None:
    return holds(case.value("net.dns_sys") == "fail" and case.value("net.dns_pub") == "ok")


def _resolver_siblings(case: Case):
    mine = case.host.place("resolver") or case.host.place("provider")
    key = "resolver" if case.host.place("resolver") else "provider"
    return [s for s in case.siblings if mine and s.place(key) == mine]


def _siblings_fail_dns(case: Case) -> Params | None:
    failing = [s.id for s in _resolver_siblings(case) if "dns" in s.families]
    return holds(bool(failing), hosts=failing[:5], n=len(failing))


def _siblings_resolve(case: Case) -> Params | None:
    fine = [s.id for s in _resolver_siblings(case) if case.is_fresh(s) and "dns" not in s.families]
    is_alone = bool(fine) and _siblings_fail_dns(case) is None
    return holds(is_alone, hosts=fine[:5], n=len(fine))


def _clock_off(case: Case) -> Params | None:
    worst = max(
        (abs(case.number(s) or 0.0) for s in ("clk.ntp_offset_ms", "clk.true_offset_ms")), default=0.0
    )
    return holds(worst > OFFSET_HIGH_MS or case.value("clk.synced") is False, offset=worst)


def _clock_stepped(case: Case) -> Params | None:
    step = case.number("clk.wall_step_s")
    stood = _did_not_run(case) is not None or _suspended(case) is not None
    stood = stood or case.ran_above("clk.offset_step_s", 0.5)
    return holds(step is not None and abs(step) >= 1.0 and not stood, step=step)


def _ntp_siblings(case: Case) -> Params | None:
    if case.done_by_operator(_SET_BY_HAND.search):
        return None
    drifting = [s.id for s in case.siblings if "clock" in s.families]
    local = case.number("clk.ntp_offset_ms")
    same = bool(drifting) and local is not None and abs(local) < 50.0 and _clock_off(case) is not None
    return holds(same, hosts=drifting[:5], n=len(drifting))


def _stood_still(case: Case) -> Params | None:
    step = case.number("clk.offset_step_s")
    return holds(step is not None and step >= PAUSE_SHORT_S, step=step)


def _did_not_run_long(case: Case) -> Params | None:
    """So long, or so often, that no doubt is left: a starved agent's guest would have gone on switching tasks."""
    gap = case.number("agent.gap_s") or 0.0
    is_often = case.subject.rule in ("guest_paused_often", "guest_stutters")
    return _did_not_run(case) if gap >= PAUSE_LONG_S or is_often else None


def _did_not_run(case: Case) -> Params | None:
    gap, progress = case.number("agent.gap_s"), case.number("agent.gap_progress")
    paused = gap is not None and gap >= PAUSE_SHORT_S and progress is not None and progress <= 0.3
    return holds(paused, gap=gap, progress=progress)


CLOCK_ROWS: Sequence[Row] = (
    row("dns.public_answers", "dns", "svc3.dns", MEDIUM, "inside", "signals.md 3.8 N1", _public_answers),
    row("dns.siblings_fail", "dns", "svc3.dns", STRONG, "siblings", "signals.md 3.8 N1", _siblings_fail_dns),
    row(
        "dns.siblings_resolve",
        "dns",
        "os.resolver",
        -STRONG,
        "siblings",
        "signals.md 3.8 N1",
        _siblings_resolve,
    ),
    row("dns.stub_failed", "dns", "os.resolver", -STRONG, "inside", "signals.md 3.8 N1", _stub_failed),
    row(
        "clock.service_failed",
        "clock",
        "os.clock",
        -MEDIUM,
        "inside",
        "signals.md 3.8 T1",
        _time_service_failed,
        says="dns.stub_failed",
    ),
    row("clock.off", "clock", "os.clock", -MEDIUM, "inside", "signals.md 3.8 T1, T2", _clock_off),
    row("clock.stepped", "clock", "os.clock", -STRONG, "clock", "signals.md 3.4 P3", _clock_stepped),
    row(
        "clock.ntp_siblings", "clock", "svc3.ntp", DECISIVE, "siblings", "signals.md 3.8 T2, 6", _ntp_siblings
    ),
    row("virt.stood_still", "virt clock", "virt.pause", DECISIVE, "clock", "signals.md 3.4 P2", _stood_still),
    row("virt.suspended", "virt clock", "virt.pause", DECISIVE, "clock", "signals.md 3.4 P4", _suspended),
    row(
        "virt.did_not_run_long",
        "virt agent clock",
        "virt.pause",
        DECISIVE,
        "clock",
        "signals.md 3.4 P1",
        _did_not_run_long,
    ),
    row(
        "virt.did_not_run",
        "virt agent",
        "virt.pause",
        STRONG + WEAK,
        "clock",
        "signals.md 3.4 P1",
        _did_not_run,
    ),
)
