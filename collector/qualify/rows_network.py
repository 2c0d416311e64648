"""Evidence about the network ladder, resolvers and clocks: whose rung is broken?"""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_silence import ends_inside_provider, last_hop

FLAPS = 4.0
OFFSET_HIGH_MS = 500.0
PAUSE_LONG_S = 10.0
PAUSE_SHORT_S = 1.0
"""Below this a pause is recorded only: a live migration of 300 ms is nothing (signals.md 3.4)."""


def _link_down(case: Case) -> Params | None:
    is_down = case.value("net.link") == "down" and not case.ops
    return holds(is_down and case.host.is_bare_metal, part=case.subject.subject)


def _link_flaps(case: Case) -> Params | None:
    flaps = case.number("net.flaps")
    return holds(flaps is not None and flaps >= FLAPS and not case.ops, flaps=flaps)


def _link_line(case: Case) -> Params | None:
    """The driver of a real card says that its link is gone; a virtual one only repeats what its host says."""
    is_lost = any(held.rule == "link_lost" for held in case.held())
    return holds(
        is_lost and case.host.is_bare_metal and not case.ops, part=case.subject.subject or case.host.id
    )


def _dark_outside(case: Case) -> Params | None:
    """While the host itself ran, nobody outside could reach it, or traces ended inside its provider's network."""
    dead = [s.vantage or "collector" for s in case.happened("ext.icmp", 60_000, 120_000) if s.value == "dead"]
    hop = last_hop(case)
    is_dark = bool(dead) or ends_inside_provider(case, hop)
    return holds(is_dark and case.value("net.link") != "down", vantages=", ".join(sorted(set(dead))) or hop)


def _way_to_us(case: Case) -> Params | None:
    is_cut = case.value("net.collector") == "dead" or any(
        h.rule == "collector_unreachable" for h in case.held()
    )
    is_only_us = is_cut and (case.number("net.anchors") or 0.0) >= 2
    return holds(is_only_us, anchors=case.number("net.anchors"))


def _crc(case: Case) -> Params | None:
    rate = case.number("net.crc_ps")
    return holds(rate is not None and rate > 0, rate=rate)


def _link_by_admin(case: Case) -> Params | None:
    return holds(case.value("net.link") == "down" and bool(case.ops), act=case.ops[0] if case.ops else "")


def _gateway_dead(case: Case) -> Params | None:
    return holds(case.value("net.gw") == "dead" and case.value("net.link") != "down")


def _uplink_dead(case: Case) -> Params | None:
    # The finding says that no anchor answered, also where its newest facts show them coming back.
    is_dark = case.number("net.anchors") == 0 or any(h.rule == "no_way_out" for h in case.held())
    return holds(case.value("net.gw") == "ok" and is_dark, anchors=0)


def _segment_too(case: Case) -> Params | None:
    near = [s.id for s in case.near("site") if s.is_silent or "network" in s.families]
    return holds(bool(near) and case.value("net.link") != "down", hosts=near[:5], n=len(near))


def _big_packets(case: Case) -> Params | None:
    return holds(case.value("net.bigpkt") == "fail")


def _conntrack(case: Case) -> Params | None:
    used = case.number("net.conntrack_pct")
    return holds(used is not None and used >= 90.0, used=used)


def _ports(case: Case) -> Params | None:
    used = case.number("net.ports_pct")
    return holds(used is not None and used >= 80.0, used=used)


def _syn_flood(case: Case) -> Params | None:
    rate = case.number("net.cookies_ps")
    return holds(rate is not None and rate > 1.0, rate=rate)


def _limit_used(signal: str):
    def when(case: Case) -> Params | None:
        used = case.number(signal)
        return holds(used is not None and used >= 90.0, used=used)

    return when


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
    return holds(
        step is not None and abs(step) >= 1.0 and not case.ran_above("clk.offset_step_s", 0.5), step=step
    )


def _ntp_siblings(case: Case) -> Params | None:
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


NETWORK_ROWS: Sequence[Row] = (
    row("net.link_down", "network hardware", "hw.nic", MEDIUM, "inside", "signals.md 3.7 NIC", _link_down),
    row(
        "net.link_flaps", "network hardware", "hw.nic", STRONG, "hardware", "signals.md 3.6 H10", _link_flaps
    ),
    row(
        "net.link_line",
        "network hardware",
        "hw.nic",
        STRONG,
        "hardware",
        "signals.md 4 link_down",
        _link_line,
    ),
    row("net.crc", "network hardware", "hw.nic", STRONG, "hardware", "signals.md 3.6 H10", _crc),
    row(
        "net.link_by_admin",
        "network",
        "os.firewall",
        -STRONG,
        "ops",
        "signals.md 3.7, 1 rule 9",
        _link_by_admin,
    ),
    row(
        "net.gateway_dead",
        "network",
        "net.provider_edge",
        STRONG,
        "inside",
        "signals.md 3.7 gateway",
        _gateway_dead,
    ),
    row(
        "net.uplink_dead",
        "network",
        "net.provider_edge",
        STRONG,
        "inside",
        "signals.md 3.7 uplink",
        _uplink_dead,
    ),
    row(
        "net.dark_outside",
        "network",
        "net.provider_edge",
        MEDIUM,
        "outside",
        "signals.md 3.7 uplink",
        _dark_outside,
    ),
    row(
        "net.way_to_us",
        "network",
        "net.transit_path",
        STRONG,
        "inside",
        "signals.md 3.7 one transit to the collector",
        _way_to_us,
    ),
    row(
        "net.segment_too",
        "network",
        "",
        STRONG,
        "siblings",
        "signals.md 1 rule 5",
        _segment_too,
    ),
    row(
        "net.big_packets",
        "network",
        "net.mtu_blackhole",
        STRONG,
        "inside",
        "signals.md 3.7 MTU hole",
        _big_packets,
    ),
    row(
        "net.conntrack", "network limits", "os.conntrack", -STRONG, "demand", "signals.md 3.8 L3", _conntrack
    ),
    row("net.ports", "network limits", "os.port_exhaustion", -STRONG, "demand", "signals.md 3.8 L4", _ports),
    row(
        "net.syn_flood",
        "network limits",
        "os.syn_flood",
        -STRONG - WEAK,
        "demand",
        "signals.md 3.8 N3",
        _syn_flood,
    ),
    row(
        "limits.fds",
        "limits",
        "os.service_failed",
        -MEDIUM,
        "demand",
        "signals.md 3.8 L1",
        _limit_used("fd.used_pct"),
    ),
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
    row("clock.off", "clock", "os.clock", -MEDIUM, "inside", "signals.md 3.8 T1, T2", _clock_off),
    row("clock.stepped", "clock", "os.clock", -STRONG, "clock", "signals.md 3.4 P3", _clock_stepped),
    row(
        "clock.ntp_siblings", "clock", "svc3.ntp", DECISIVE, "siblings", "signals.md 3.8 T2, 6", _ntp_siblings
    ),
    row("virt.stood_still", "virt clock", "virt.pause", DECISIVE, "clock", "signals.md 3.4 P2", _stood_still),
    row(
        "virt.did_not_run_long",
        "virt agent",
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
