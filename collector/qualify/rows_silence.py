"""Evidence about silence: what the host answered when it was asked, and who fell silent beside it.

The facts are the collector's own probes (``ext.icmp``, ``ext.tcp22``, ``ext.svc``) and the agent's last word
(``agent.stop_reason``); ``silence.outcome`` is what the pure decision of ``collector.qualify.silence`` made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case, HostView
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_io import is_own_disk
from collector.qualify.rows_said import forced_off

LINK_BEFORE_MS = 300_000
BMC_BEFORE_MS = 600_000
TOGETHER_MS = 60_000
MANY_IOPS = 500.0
"""A disk that does so much in a second does not stand still: who waits there waits behind requests of its own."""
FLOOD_KPPS = 100.0
"""Received packets, thousands a second: a gigabit of amplified answers brings 250, a busy web server a tenth of this."""
GROUP_CAUSES = {
    "node": "virt.node_failure",
    "storage": "virt.storage_backend",
    "rack": "hw.power",
    "site": "net.dc_outage",
    "provider": "net.provider_outage",
}


def _outcome(case: Case) -> str:
    word = str(case.value("silence.outcome") or "")
    return "hung" if word == "agent_gone" and _hangs_since(case) else word


def _tcp(case: Case) -> str:
    return "banner_timeout" if _hangs_since(case) else str(case.value("ext.tcp22") or "")


def _hangs_since(case: Case) -> bool:
    """Whether SSH, which answered when the silence was looked into, has gone mute since: the agent hung first, then all else."""
    muted = [
        h for h in case.beside if h.family == "service" and h.is_outside and h.at_ms >= case.subject.at_ms
    ]
    return any("ext.state" in h.facts and h.facts["ext.state"].now == "banner_timeout" for h in muted)


def _kernel_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and _tcp(case) == "refused")


def _ssh_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and _tcp(case) == "ok")


def _ping_answers(case: Case) -> Params | None:
    return holds(_outcome(case) in ("agent_gone", "hung") and case.value("ext.icmp") == "ok")


def _service_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and case.value("ext.svc") == "ok")


def _service_dead(case: Case) -> Params | None:
    """The host answers, its agent is silent, and what its clients come for does not answer: they fell together.

    A service that failed well before has its own problem, and the agent's silence is another; one that another vantage is
    served by fails to us alone.
    """
    began = case.subject.at_ms
    failed_before = any(
        h.family in ("service", "unit", "process") and began - h.at_ms > TOGETHER_MS for h in case.beside
    )
    is_dead = case.value("silence.mute") is True and case.value("agent.stop_reason") in (None, "", "none")
    is_served = any(
        word in ("ok", "slow")
        for vantage, word in case.seen_now("ext.svc").items()
        if vantage not in ("", "collector")
    )
    return holds(_outcome(case) == "agent_gone" and is_dead and not failed_before and not is_served)


def _service_stop(case: Case) -> Params | None:
    """The agent was stopped in order; that explains its silence, and no silence of the whole machine."""
    is_well = _outcome(case) not in ("down", "hung")
    return holds(case.value("agent.stop_reason") in ("service_stop", "roll_out") and is_well)


def _no_banner(case: Case) -> Params | None:
    """Its programs hang by themselves; with its storage gone they would hang just so (3.7: then siblings decide)."""
    is_hung = _outcome(case) == "hung" and _tcp(case) == "banner_timeout"
    return holds(is_hung and not _struck_beside(case))


def _nothing_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "down" and not case.value("silence.group"))


def _did_not_return(case: Case) -> Params | None:
    is_served = case.value("ext.svc") == "ok" or _tcp(case) == "ok"
    said = case.value("agent.stop_reason") == "host_shutdown" and not is_served
    return holds(said and forced_off(case) is None)


def _storage_silent(case: Case) -> Params | None:
    """It hangs, and so does, or waits for its disks, who stands on the same storage."""
    struck = _struck_beside(case)
    return holds(_outcome(case) == "hung" and bool(struck), hosts=struck[:5], n=len(struck))


def _struck_beside(case: Case) -> list[str]:
    """Neighbours on the same storage that hang or wait for it, where nothing of the host's own tells why it hangs."""
    storage = case.host.place("storage")
    if storage in ("", "local") or _swaps(case):
        return []
    return [s.id for s in case.near("storage") if _is_struck(s)]


def _is_struck(sibling: HostView) -> bool:
    """Silent, or waiting; not one that makes its own queue by asking for much."""
    asks_much = (sibling.vitals.get("disk.iops") or 0.0) >= MANY_IOPS
    return sibling.is_silent or bool(
        sibling.families & {"fs", "silence"} or ("io" in sibling.families and not asks_much)
    )


def _swaps(case: Case) -> bool:
    """Want of memory was the last that was heard from inside: that hangs a host by itself (section 6)."""
    return (case.number("swap.out_mbps") or 0.0) > 1.0 or (case.number("psi.mem_full60") or 0.0) > 10.0


def _hangs_with_storage(case: Case) -> Params | None:
    """The kernel answers and no program speaks, just as on a machine whose disks answer nothing."""
    is_hung = _outcome(case) == "hung" and _tcp(case) in ("banner_timeout", "")
    return holds(is_hung and bool(_struck_beside(case)))


def _waited_for_disks(case: Case) -> Params | None:
    """The last that was seen inside: all waited for a disk that answered nothing or late."""
    wait, before = case.number("disk.await_ms"), case.before("disk.await_ms")
    froze = case.number("disk.iops") == 0 and (case.number("disk.qdepth") or 0.0) > 0.5
    slow = wait is not None and wait >= 500.0 and (before is None or wait >= 10.0 * before)
    is_it = _outcome(case) == "hung" and (froze or slow) and not _swaps(case) and not case.host.is_container
    return holds(is_it and not is_own_disk(case))


def _bmc_went_with_it(case: Case) -> bool:
    """Whether the controller is dead since the host is, or so: one that was dark long before tells nothing of this outage."""
    since: int | None = None
    for said in case.seen:
        if said.signal == "ext.bmc" and said.host_id == case.host.id:
            since = (said.at_ms if since is None else since) if said.value == "dead" else None
    return since is not None and since >= case.subject.at_ms - BMC_BEFORE_MS


def _bmc_dead(case: Case) -> Params | None:
    """Without standby power the management controller is gone too; a neighbour that lives shows that the site is not."""
    is_gone = _bmc_went_with_it(case) and _outcome(case) in ("down", "unknown")
    alive = [s.id for s in case.near("site") if not s.is_silent]
    is_single = not case.value("silence.group") and bool(alive)
    is_rack = str(case.value("silence.group") or "").startswith("rack:")
    return holds(is_gone and case.host.is_bare_metal and (is_single or is_rack))


def _link_was_lost(case: Case) -> Params | None:
    """The card's driver said that its link is gone, on a machine of its own, and the host fell silent with it."""
    began = case.subject.at_ms
    is_lost = any(
        h.rule in ("link_lost", "link_down", "link_flaps") and h.at_ms >= began - LINK_BEFORE_MS
        for h in case.beside
    )
    return holds(is_lost and case.host.is_bare_metal and not case.ops)


def _withdrawn_at_border(case: Case) -> Params | None:
    """Packets end just outside the provider for this address alone: its neighbours answer."""
    hop, provider = last_hop(case), case.host.place("provider")
    at_border = bool(provider) and hop.endswith(f"before-{provider}")
    alive = [s.id for s in case.siblings if s.life == "alive"]
    return holds(_outcome(case) == "down" and at_border and bool(alive), hop=hop, n=len(alive))


def _flooded(case: Case) -> Params | None:
    """A flood of packets was the last that it reported, and the way ends at its provider for it alone (3.7, 3.8 N3)."""
    kpps, hop, provider = case.number("net.in_kpps"), last_hop(case), case.host.place("provider")
    is_there = ends_inside_provider(case, hop) or (bool(provider) and hop.endswith(f"before-{provider}"))
    alive = [s.id for s in case.siblings if s.life == "alive"]
    is_it = _outcome(case) == "down" and kpps is not None and kpps >= FLOOD_KPPS and is_there and bool(alive)
    return holds(is_it and not case.value("silence.group"), kpps=kpps, hop=hop)


def _not_probed(case: Case) -> Params | None:
    return holds(_outcome(case) == "unknown")


def _group_dead(case: Case) -> Params | None:
    return holds(bool(case.value("silence.group")) and _outcome(case) in ("down", "unknown"))


def _group(kind: str):
    def when(case: Case) -> Params | None:
        group = str(case.value("silence.group") or "")
        found, _, name = group.partition(":")
        count, size = case.number("silence.group_silent"), case.number("silence.group_size")
        return holds(found == kind and count is not None, name=name, n=int(count or 0), size=int(size or 0))

    return when


def _seen_elsewhere(case: Case) -> Params | None:
    """Dead to us, alive to another vantage, while our own anchors answer: nothing is down but our way there."""
    is_ours = str(case.value("silence.group") or "").startswith("path:")
    hop = str(case.seen_now("ext.last_hop").get("", "") or "-")
    return holds(_outcome(case) == "path" and is_ours, hop=hop)


def _trace_in_provider(case: Case) -> Params | None:
    hop = last_hop(case)
    return holds(_outcome(case) == "down" and ends_inside_provider(case, hop), hop=hop)


def last_hop(case: Case) -> str:
    """The last hop of a trace from anywhere towards the host, "" when none was made."""
    hops = [str(s.value) for s in case.seen if s.signal == "ext.last_hop" and s.host_id == case.host.id]
    return hops[-1] if hops else ""


def ends_inside_provider(case: Case, hop: str) -> bool:
    """Whether a hop belongs to the host's provider: its names begin with the provider's."""
    provider = case.host.place("provider")
    return bool(provider) and hop.startswith(provider) and hop != case.host.id


def _kex_hangs(case: Case) -> Params | None:
    return holds(_tcp(case) == "kex_timeout")


SILENCE_ROWS: Sequence[Row] = (
    row(
        "silence.tcp_refused",
        "silence",
        "os.agent_down",
        -STRONG,
        "outside",
        "signals.md 3.7 SSH probe",
        _kernel_answers,
    ),
    row(
        "silence.ssh_ok",
        "silence",
        "os.agent_down",
        -STRONG,
        "outside",
        "signals.md 3.7 SSH probe",
        _ssh_answers,
    ),
    row("silence.icmp_ok", "silence", "", -WEAK, "outside", "signals.md 3.7", _ping_answers),
    row(
        "silence.service_ok",
        "silence",
        "os.agent_down",
        -STRONG,
        "outside",
        "signals.md 3.8 S5",
        _service_answers,
    ),
    row(
        "silence.service_dead",
        "silence",
        "os.service_failed",
        -STRONG - MEDIUM,
        "outside",
        "signals.md 3.8 S5, 3.7",
        _service_dead,
    ),
    row(
        "silence.service_stop",
        "silence",
        "os.agent_down",
        -MEDIUM,
        "inside",
        "signals.md 3.8 goodbye",
        _service_stop,
    ),
    row(
        "silence.no_banner",
        "silence",
        "os.userland_hung",
        -STRONG,
        "outside",
        "signals.md 3.7 host hung, 6",
        _no_banner,
    ),
    row(
        "silence.kex_hangs",
        "silence",
        "net.mtu_blackhole",
        STRONG,
        "outside",
        "signals.md 3.7 MTU hole",
        _kex_hangs,
    ),
    row(
        "silence.seen_elsewhere",
        "silence",
        "net.transit_path",
        DECISIVE,
        "outside",
        "signals.md 3.7 one transit to the collector",
        _seen_elsewhere,
    ),
    row(
        "silence.trace_in_provider",
        "silence",
        "net.provider_edge",
        MEDIUM,
        "outside",
        "signals.md 3.7 gateway, uplink",
        _trace_in_provider,
    ),
    row(
        "silence.storage_silent",
        "silence",
        "virt.storage_backend",
        STRONG + MEDIUM,
        "siblings",
        "signals.md 3.7 host hung, 6",
        _storage_silent,
    ),
    row(
        "silence.hangs_with_storage",
        "silence",
        "virt.storage_backend",
        MEDIUM,
        "outside",
        "signals.md 3.7 host hung, 6",
        _hangs_with_storage,
        says="silence.no_banner",
    ),
    row(
        "silence.waited_for_disks",
        "silence",
        "virt.storage_backend",
        STRONG,
        "inside",
        "signals.md 3.3 D7, 6",
        _waited_for_disks,
    ),
    row("silence.bmc_dead", "silence", "hw.power", STRONG, "hardware", "signals.md 5 power", _bmc_dead),
    row(
        "silence.link_was_lost",
        "silence",
        "hw.nic",
        DECISIVE,
        "hardware",
        "signals.md 3.7 NIC, 4 link_down",
        _link_was_lost,
    ),
    row(
        "silence.withdrawn",
        "silence",
        "net.nullroute",
        MEDIUM,
        "outside",
        "signals.md 3.7 null-route",
        _withdrawn_at_border,
    ),
    row(
        "silence.flooded",
        "silence",
        "net.nullroute",
        STRONG,
        "inside",
        "signals.md 3.7 null-route, 3.8 N3",
        _flooded,
    ),
    # Dead from outside alone is class 2 until forensics or the buffered inside view arrive (section 1 rule 7).
    row(
        "silence.nothing_answers",
        "silence",
        "unknown",
        -WEAK,
        "outside",
        "signals.md 1 rule 7",
        _nothing_answers,
    ),
    row(
        "silence.not_returned",
        "silence",
        "os.boot_failure",
        -STRONG - MEDIUM,
        "ops",
        "signals.md 5",
        _did_not_return,
    ),
    row("silence.not_probed", "silence", "", 0.0, "outside", "design.md 7", _not_probed),
    row("silence.group_dead", "silence", "", MEDIUM, "outside", "signals.md 3.7 grouping", _group_dead),
    *(
        row(
            f"silence.group_{kind}",
            "silence",
            cause,
            STRONG,
            "siblings",
            "signals.md 3.7 grouping",
            _group(kind),
        )
        for kind, cause in GROUP_CAUSES.items()
    ),
)
