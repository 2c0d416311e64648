"""Evidence about the network ladder: whose rung is broken?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from collector.qualify.case import Case, as_number
from collector.qualify.row import MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_silence import ends_inside_provider, last_hop
from collector.qualify.subjects import LINK_RULES

FLAPS = 4.0
LIMIT_RULES = frozenset({"pids_gone", "descriptors_gone", "conntrack_full", "ports_gone", "listen_drops"})
"""Rules about one limit each; what only says that some limit was reached may be any of them."""
_TABLE_FULL = re.compile(r"nf_conntrack: table full, dropping packet")
_FLOOD = re.compile(r"Possible SYN flooding on port")
_TX_TIMEOUT = re.compile(r"NETDEV WATCHDOG: \w+ \(\w*\): transmit queue \d+ timed out")


def _link_down(case: Case) -> Params | None:
    is_down = case.value("net.link") == "down" and not case.ops
    return holds(is_down and case.host.is_bare_metal, part=case.subject.subject or case.host.id)


def _link_flaps(case: Case) -> Params | None:
    # The most that any finding says: a first lost link was told with the count of its moment.
    said = [as_number(h.facts["net.flaps"].now) or 0.0 for h in case.held() if "net.flaps" in h.facts]
    flaps = max(said, default=case.number("net.flaps") or 0.0)
    return holds(flaps >= FLAPS and not case.ops, flaps=flaps)


def _link_line(case: Case) -> Params | None:
    """The driver of a real card says that its link is gone; a virtual one only repeats what its host says."""
    is_lost = any(held.rule == "link_lost" for held in case.held())
    return holds(
        is_lost and case.host.is_bare_metal and not case.ops, part=case.subject.subject or case.host.id
    )


def _bond_leg(case: Case) -> Params | None:
    """The kernel has put a leg of a bond out of use, on a machine of its own, and nobody here ordered it."""
    lost = next((held for held in case.held() if held.rule == "bond_leg_lost"), None)
    line = str(lost.facts["kmsg"].now) if lost is not None and "kmsg" in lost.facts else ""
    return holds(lost is not None and case.host.is_bare_metal and not case.ops, line=line[:160])


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


def _rack_flaps(case: Case) -> Params | None:
    """Carriers come and go on neighbours of the rack as well, and no card counts a damaged frame: what they hang on fails."""
    near = [s.id for s in case.near("rack") if "network" in s.families]
    is_clean = not (case.number("net.crc_ps") or 0.0) > 0.0
    return holds(_link_flaps(case) is not None and bool(near) and is_clean, hosts=near[:5], n=len(near))


def _crc(case: Case) -> Params | None:
    rate = case.number("net.crc_ps")
    return holds(rate is not None and rate > 0, rate=rate)


def _link_by_admin(case: Case) -> Params | None:
    return holds(case.value("net.link") == "down" and bool(case.ops), act=case.ops[0] if case.ops else "")


def _gateway_dead(case: Case) -> Params | None:
    return holds(case.value("net.gw") == "dead" and case.value("net.link") != "down")


def _uplink_dead(case: Case) -> Params | None:
    # The finding says that no anchor answered, also where its newest facts show them coming back.
    return holds(case.value("net.gw") == "ok" and _no_way_out(case) and not _passes_hop2(case), anchors=0)


def _no_way_out(case: Case) -> bool:
    return case.number("net.anchors") == 0 or any(h.rule == "no_way_out" for h in case.held())


def _passes_hop2(case: Case) -> bool:
    """Whether the provider's first hops carried our packets while nothing beyond answered."""
    found = next(
        (h.facts["net.hop2"] for h in case.held() if h.rule == "no_way_out" and "net.hop2" in h.facts), None
    )
    return found is not None and found.at_open == "ok"


def _null_routed(case: Case) -> Params | None:
    """Gateway and next hop answer, nothing beyond does, and the neighbours are well: our address alone is withdrawn."""
    is_alone = not any(s.is_silent or "network" in s.families for s in case.near("site"))
    acts = bool(case.ops)
    return holds(
        case.value("net.gw") == "ok" and _no_way_out(case) and _passes_hop2(case) and is_alone and not acts,
        anchors=0,
    )


def _beyond_hop2(case: Case) -> Params | None:
    """The same on all neighbours: the provider's network is cut further out."""
    struck = [s.id for s in case.near("site") if s.is_silent or "network" in s.families]
    cut = case.value("net.gw") == "ok" and _no_way_out(case) and _passes_hop2(case)
    return holds(cut and bool(struck), anchors=0)


def _queue_stuck(case: Case) -> Params | None:
    line = case.has_line(_TX_TIMEOUT.search)
    return holds(bool(line) and case.host.is_bare_metal, line=line[:160])


def _queue_stuck_below(case: Case) -> Params | None:
    """A card that the hypervisor plays does not send: what plays it is stuck, or the way behind it."""
    line = case.has_line(_TX_TIMEOUT.search)
    return holds(bool(line) and not case.host.is_bare_metal, line=line[:160])


def _own_reason_for_loss(case: Case) -> bool:
    """Whether this host itself may drop packets: full tables, a drowned processor, a bad card."""
    return (
        (case.number("net.conntrack_pct") or 0.0) >= 85.0
        or (case.number("net.ports_pct") or 0.0) >= 80.0
        or (case.number("cpu.softirq_pct") or 0.0) >= 30.0
        or (case.number("net.missed_ps") or 0.0) > 1.0
        or (case.number("net.crc_ps") or 0.0) > 0.0
    )


def _lost_on_the_way(case: Case) -> Params | None:
    loss = case.number("net.loss_pct")
    return holds(loss is not None and loss > 5.0 and not _own_reason_for_loss(case), loss=loss)


def _lossy_outside(case: Case) -> Params | None:
    lossy = case.seen_as("ext.icmp", frozenset({"loss"}))
    return holds(bool(lossy) and not _own_reason_for_loss(case), vantages=", ".join(lossy))


def _missed(case: Case) -> Params | None:
    """The card received them well (no CRC errors) and our processor did not take them."""
    rate = case.number("net.missed_ps")
    return holds(rate is not None and rate > 50.0 and not (case.number("net.crc_ps") or 0.0) > 0.0, rate=rate)


def _segment_too(case: Case) -> Params | None:
    near = [s.id for s in case.near("site") if s.is_silent or "network" in s.families]
    return holds(bool(near) and case.value("net.link") != "down", hosts=near[:5], n=len(near))


def _big_packets(case: Case) -> Params | None:
    return holds(case.value("net.bigpkt") == "fail")


def _of_traffic(when: Callable[[Case], Params | None], *rules: str) -> Callable[[Case], Params | None]:
    """The same evidence where it speaks of this problem: what traffic does to the host damages no card and its wire.

    Of the system's limits each is a problem of its own; ``rules`` = those that this evidence is about (none = any of them).
    """
    others = LIMIT_RULES - set(rules) if rules else frozenset[str]()

    def of_problem(case: Case) -> Params | None:
        return None if case.subject.rule in LINK_RULES | others else when(case)

    return of_problem


def _conntrack(case: Case) -> Params | None:
    used = case.number("net.conntrack_pct")
    return holds(used is not None and used >= 90.0, used=used)


def _line_of(pattern: re.Pattern[str]):
    """The kernel's own word on one of its limits."""

    def when(case: Case) -> Params | None:
        line = case.has_line(pattern.search) or next(
            (
                str(h.facts["kmsg"].now)
                for h in case.held()
                if "kmsg" in h.facts and pattern.search(str(h.facts["kmsg"].now))
            ),
            "",
        )
        return holds(bool(line), line=line[:160])

    return when


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
    row(
        "net.bond_leg",
        "hardware",
        "hw.nic",
        STRONG,
        "hardware",
        "signals.md 3.6 H11",
        _bond_leg,
        says="net.kernel_says",
    ),
    row(
        "net.rack_flaps",
        "network",
        "net.provider_edge",
        STRONG + WEAK,
        "siblings",
        "signals.md 1 rule 5, 3.6 H10",
        _rack_flaps,
        says="net.segment_too",
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
        "net.null_routed",
        "network",
        "net.nullroute",
        STRONG,
        "inside",
        "signals.md 3.7 null-route",
        _null_routed,
    ),
    row(
        "net.beyond_hop2",
        "network",
        "net.provider_edge",
        STRONG,
        "inside",
        "signals.md 3.7 uplink",
        _beyond_hop2,
        says="net.uplink_dead",
    ),
    row(
        "net.queue_stuck",
        "network hardware",
        "hw.nic",
        STRONG,
        "hardware",
        "signals.md 4 tx_timeout",
        _queue_stuck,
    ),
    row(
        "net.queue_stuck_below",
        "network",
        "net.provider_edge",
        MEDIUM,
        "kernel",
        "signals.md 4 tx_timeout",
        _queue_stuck_below,
        says="net.queue_stuck",
    ),
    row(
        "net.lost_on_the_way",
        "network",
        "net.provider_edge",
        MEDIUM,
        "inside",
        "signals.md 3.7",
        _lost_on_the_way,
    ),
    row(
        "net.lossy_outside",
        "network",
        "net.provider_edge",
        MEDIUM + WEAK,
        "outside",
        "signals.md 3.7",
        _lossy_outside,
    ),
    row(
        "net.missed",
        "network",
        "os.softirq",
        -STRONG,
        "demand",
        "signals.md 3.6 H10",
        _of_traffic(_missed),
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
        "network service silence",
        "net.mtu_blackhole",
        STRONG,
        "inside",
        "signals.md 3.7 MTU hole",
        _big_packets,
    ),
    row(
        "net.conntrack",
        "network limits",
        "os.conntrack",
        -STRONG,
        "demand",
        "signals.md 3.8 L3",
        _of_traffic(_conntrack, "conntrack_full"),
    ),
    row(
        "net.conntrack_line",
        "network limits",
        "os.conntrack",
        -STRONG,
        "kernel",
        "signals.md 4 conntrack",
        _of_traffic(_line_of(_TABLE_FULL), "conntrack_full"),
        says="net.kernel_says",
    ),
    row(
        "net.flood_line",
        "network limits service",
        "os.syn_flood",
        -STRONG - MEDIUM,
        "kernel",
        "signals.md 4 synflood",
        _of_traffic(_line_of(_FLOOD)),
        says="net.kernel_says",
    ),
    row(
        "net.ports",
        "network limits",
        "os.port_exhaustion",
        -STRONG,
        "demand",
        "signals.md 3.8 L4",
        _of_traffic(_ports, "ports_gone"),
    ),
    row(
        "net.syn_flood",
        "network limits",
        "os.syn_flood",
        -STRONG - WEAK,
        "demand",
        "signals.md 3.8 N3",
        _of_traffic(_syn_flood),
    ),
    row(
        "limits.fds",
        "limits",
        "os.service_failed",
        -MEDIUM,
        "demand",
        "signals.md 3.8 L1",
        _of_traffic(_limit_used("fd.used_pct"), "descriptors_gone"),
    ),
)
