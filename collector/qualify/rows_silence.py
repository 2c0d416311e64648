"""Evidence about silence: what the host answered when it was asked, and who fell silent beside it.

The facts are the collector's own probes (``ext.icmp``, ``ext.tcp22``, ``ext.svc``) and the agent's last word
(``agent.stop_reason``); ``silence.outcome`` is what the pure decision of ``collector.qualify.silence`` made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

GROUP_CAUSES = {
    "node": "virt.node_failure",
    "storage": "virt.storage_backend",
    "rack": "hw.power",
    "site": "net.dc_outage",
    "provider": "net.provider_outage",
}


def _outcome(case: Case) -> str:
    return str(case.value("silence.outcome") or "")


def _tcp(case: Case) -> str:
    return str(case.value("ext.tcp22") or "")


def _kernel_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and _tcp(case) == "refused")


def _ssh_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and _tcp(case) == "ok")


def _ping_answers(case: Case) -> Params | None:
    return holds(_outcome(case) in ("agent_gone", "hung") and case.value("ext.icmp") == "ok")


def _service_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "agent_gone" and case.value("ext.svc") == "ok")


def _service_stop(case: Case) -> Params | None:
    """The agent was stopped in order; that explains its silence, and no silence of the whole machine."""
    is_well = _outcome(case) not in ("down", "hung")
    return holds(case.value("agent.stop_reason") in ("service_stop", "roll_out") and is_well)


def _no_banner(case: Case) -> Params | None:
    return holds(_outcome(case) == "hung" and _tcp(case) == "banner_timeout")


def _nothing_answers(case: Case) -> Params | None:
    return holds(_outcome(case) == "down" and not case.value("silence.group"))


def _did_not_return(case: Case) -> Params | None:
    return holds(case.value("agent.stop_reason") == "host_shutdown" and _outcome(case) in ("down", "unknown"))


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
        "silence.not_returned", "silence", "os.boot_failure", -STRONG, "ops", "signals.md 5", _did_not_return
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
