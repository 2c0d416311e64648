"""Evidence by a second pair of eyes: what vantages elsewhere see of a host that is silent, or fails from outside.

Facts: ``silence.dead_to`` (vantages to which nothing of it answers), and for a service that fails from outside
``ext.elsewhere`` (vantage -> what it saw), ``ext.icmp``, ``ext.tcp22``, ``ext.last_hop`` of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collector.qualify.case import Case
from collector.qualify.row import MEDIUM, STRONG, Params, Row, holds, row
from collector.qualify.rows_silence import last_hop

HANGING = frozenset({"kex_timeout"})


def _outcome(case: Case) -> str:
    return str(case.value("silence.outcome") or "")


def _dead_to(case: Case) -> list[str]:
    found = case.value("silence.dead_to")
    return [str(vantage) for vantage in found] if isinstance(found, list) else []


def _both_dead(case: Case) -> Params | None:
    """Nothing of it answers another vantage either: it is not our way that is broken."""
    vantages = _dead_to(case)
    return holds(_outcome(case) == "down" and bool(vantages), vantages=", ".join(vantages))


def _alone(case: Case) -> Params | None:
    """Only we could look: what we take for a dead host may be our way to it."""
    is_alone = not _dead_to(case) and not case.value("silence.alive_to")
    return holds(_outcome(case) == "down" and is_alone)


def _elsewhere(case: Case) -> dict[str, Mapping[str, Any]]:
    found = case.value("ext.elsewhere")
    if not isinstance(found, Mapping):
        return {}
    return {str(vantage): seen for vantage, seen in found.items() if isinstance(seen, Mapping)}


def _dead_there_too(case: Case) -> Params | None:
    """The service does not answer another vantage either."""
    vantages = sorted(vantage for vantage, seen in _elsewhere(case).items() if seen.get("ext.svc") == "dead")
    return holds(bool(vantages), vantages=", ".join(vantages))


def _large_lost(case: Case) -> Params | None:
    """Connections and small packets come through, a key exchange does not: by what stands, and by what was asked just now."""
    vantages = {*case.seen_as("ext.tcp22", HANGING)}
    vantages.update(v for v, seen in _elsewhere(case).items() if seen.get("ext.tcp22") in HANGING)
    return holds(bool(vantages), vantages=", ".join(sorted(vantages)))


def _neighbours_answer(case: Case) -> Params | None:
    """The way ends before the provider for this address alone, while a neighbour of the same rack reports."""
    hop, provider = last_hop(case), case.host.place("provider")
    is_before = bool(provider) and hop.endswith(f"before-{provider}")
    near = [s.id for s in case.near("rack") if s.life == "alive"]
    return holds(_outcome(case) == "down" and is_before and bool(near), hop=hop, hosts=near[:5])


def _port_swallowed(case: Case) -> Params | None:
    """This port alone takes no connection, while the same kernel answers at others: something drops it before a program.

    A full backlog drops connections too; then the kernel counts them (``net.listen_drops_ps``), and it is no filter.
    """
    answers = case.value("ext.tcp22") in ("ok", "refused") or case.value("ext.icmp") == "ok"
    is_swallowed = case.subject.is_outside and case.value("ext.port") == "timeout"
    is_full = (case.number("net.listen_drops_ps") or 0.0) > 0.0
    return holds(is_swallowed and answers and not is_full, part=case.subject.subject or case.host.id)


VANTAGE_ROWS: Sequence[Row] = (
    row("vantage.both_dead", "silence", "", 0.0, "outside", "design.md 7 confirmation", _both_dead),
    row("vantage.alone", "silence", "", 0.0, "outside", "design.md 7 confirmation", _alone),
    row(
        "vantage.dead_there_too",
        "service",
        "",
        0.0,
        "outside",
        "design.md 7 outside probe",
        _dead_there_too,
    ),
    row(
        "vantage.port_swallowed",
        "service",
        "os.firewall",
        -MEDIUM,
        "outside",
        "signals.md 3.7 local firewall",
        _port_swallowed,
    ),
    row(
        "vantage.large_lost",
        "network service",
        "net.mtu_blackhole",
        STRONG,
        "outside",
        "signals.md 3.7 MTU hole",
        _large_lost,
    ),
    row(
        "vantage.neighbours_answer",
        "silence",
        "net.nullroute",
        STRONG,
        "siblings",
        "signals.md 3.7 null-route",
        _neighbours_answer,
    ),
)
