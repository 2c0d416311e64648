"""What may be asked from one machine about another: the closed list of kinds, one run of each, and the wire of asks.

The collector's own probes and the asks that vantage agents answer go through the same code, so that a word means the
same from everywhere. Nothing here decides, and nothing in an ask is a command: kinds are a closed list, checks of the
machine itself (unit, process) are refused, and ``within`` keeps an agent inside the networks that its own file allows,
whatever a name resolves to and wherever a page redirects. Python 3.9.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import urllib.parse
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from agent.checks.answer import STATES
from agent.checks.deadline import only_to
from agent.checks.hops import HOPS_MAX, Hop, Hops, trace
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings, from_dict

ASKS_PATH = "/api/v1/asks"
KINDS = ("icmp", "ssh", "tcp", "service", "trace")
OUTSIDE_TYPES = ("tcp", "http", "ssh", "icmp")
"""Types of a contracted service's check that can be run from another machine."""

ASKS_MAX = 32
"""Most asks in one answer of the collector, and most answers in one message of an agent."""
BODY_MAX = 128 * 1024
TARGET_MAX = 4_000
"""Longest target of an ask, as JSON."""
TIMEOUT_MAX_S = 10.0
PORT_S = 1.0
TRACE_S = 1.0
DETAIL_MAX = 200
_FACTS = ("port", "http_status", "tls_days", "sent", "received", "rtt_ms", "stage")
"""Facts of an answer that travel; what a server said of itself does not."""

Network = Any  # ipaddress.IPv4Network | IPv6Network; a Union alias costs an import-time typing object on 3.9
_NEVER = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Never reached through a wider network: loopback, link-local (where clouds keep their secrets), multicast."""


@dataclasses.dataclass(frozen=True)
class Ask:
    """One question on its way to a vantage."""

    id: int
    kind: str
    target: Mapping[str, Any]
    """{"address", "port"}, or the contracted service's check as ``check_of`` reads it."""
    timeout_s: float


def ask_from_dict(raw: Any) -> Ask:
    """An ask as it came over the wire; raises ValueError where it is none that we answer."""
    if not isinstance(raw, dict):
        raise ValueError("an ask is a mapping")
    number, kind, target = raw.get("id"), raw.get("kind"), raw.get("target")
    timeout_s = raw.get("timeout_s")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("an ask has a number")
    if kind not in KINDS:
        raise ValueError(f"{str(kind)[:20]!r} is none of {', '.join(KINDS)}")
    if not isinstance(target, dict) or len(json.dumps(target)) > TARGET_MAX:
        raise ValueError("the target is no mapping, or too long")
    if not isinstance(timeout_s, (int, float)) or isinstance(timeout_s, bool) or timeout_s != timeout_s:
        raise ValueError("the time-out is no number")
    return Ask(number, str(kind), target, min(max(float(timeout_s), 0.1), TIMEOUT_MAX_S))


def check_of(kind: str, target: Mapping[str, Any], timeout_s: float) -> CheckSettings:
    """The check that a question asks for. Raises ValueError where it is none that can be run from outside."""
    if kind == "service":
        raw = dict(target.get("check") or {})
        raw.setdefault("name", str(target.get("name") or "service"))
        raw["timeout_s"] = float(raw.get("timeout_s") or raw.pop("timeout", None) or timeout_s)
        if raw.get("type") in ("tcp", "ssh", "icmp") and not raw.get("host"):
            raw["host"] = str(target.get("address", ""))
        if raw.get("type") not in OUTSIDE_TYPES:
            raise ValueError(f"a check of type {raw.get('type')} cannot be run from outside")
        return from_dict(raw)
    raw = {"name": kind, "type": kind, "host": str(target.get("address", "")), "timeout_s": timeout_s}
    if target.get("port"):
        raw["port"] = int(target["port"])
    return from_dict(raw)


def port_check(spec: CheckSettings) -> Optional[CheckSettings]:
    """A bare connection to where the check goes; None for a check that goes to no port."""
    if spec.type == "tcp":
        return CheckSettings(name=spec.name, type="tcp", host=spec.host, port=spec.port)
    if spec.type != "http":
        return None
    parts = urllib.parse.urlsplit(spec.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return CheckSettings(name=spec.name, type="tcp", host=parts.hostname or "", port=port)


def ask_once(kind: str, target: Mapping[str, Any], timeout_s: float) -> Dict[str, Any]:
    """Ask once; ``{"state", "detail", "ms", "facts"}``, a trace's facts hold its raw ``hops``. Does not raise."""
    if kind == "trace":
        return _traced(str(target.get("address", "")), min(timeout_s, TRACE_S))
    if kind == "bmc":
        from agent.checks import bmc  # asked by the collector alone: management networks are nobody else's

        return bmc.run(
            str(target.get("address", "")), timeout_s, int(target.get("port") or bmc.PORT)
        ).to_dict()
    try:
        spec = check_of(kind, target, timeout_s)
    except (ValueError, TypeError) as error:
        return _unknown(str(error))
    answer = run_check(spec, timeout_s)
    told = answer.to_dict()
    port = port_check(spec) if kind == "service" and answer.state == "timeout" else None
    if port is not None:
        # No answer in time is a filter on the way or a program that hangs: the bare port tells which.
        told["facts"] = {**told["facts"], "port": run_check(port, min(timeout_s, PORT_S)).state}
    return told


def ask_within(ask: Ask, networks: Sequence[Network]) -> Dict[str, Any]:
    """Answer an ask of the collector, but reach no address outside ``networks``; an answer with the ask's ``id``."""
    with only_to(lambda address: is_allowed(address, networks)):
        told = ask_once(ask.kind, ask.target, ask.timeout_s)
    facts = {name: value for name, value in told["facts"].items() if name in (*_FACTS, "hops")}
    return {**told, "id": ask.id, "detail": str(told["detail"])[:DETAIL_MAX], "facts": facts}


def refused(ask_id: int, why: str) -> Dict[str, Any]:
    """The answer to an ask that is not asked: no evidence either way, with the reason."""
    return {**_unknown(why), "id": ask_id}


def is_allowed(address: str, networks: Sequence[Network]) -> bool:
    """Whether the address lies in one of the networks; loopback and its like only where a network names just them."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    special = [net for net in _NEVER if net.version == ip.version and ip in net]
    return any(
        ip.version == net.version and ip in net and all(net.subnet_of(one) for one in special)
        for net in networks
    )


def answer_from_dict(kind: str, raw: Mapping[str, Any]) -> Dict[str, Any]:
    """An agent's answer as the collector keeps it, every field of a known shape; raises ValueError where it is none.

    The agent runs on somebody else's server: nothing of its answer is taken but words of closed lists, numbers and
    one bounded sentence.
    """
    state, ms, facts = raw.get("state"), raw.get("ms", 0.0), raw.get("facts") or {}
    if state not in STATES or not isinstance(facts, dict):
        raise ValueError("not an answer")
    if not isinstance(ms, (int, float)) or isinstance(ms, bool) or not 0 <= ms < 1e6:
        raise ValueError("not a time")
    detail = "".join(c if c.isprintable() else " " for c in str(raw.get("detail", "")))[:DETAIL_MAX]
    kept = {name: facts[name] for name in _FACTS if _is_fact(name, facts.get(name))}
    return {"state": state, "detail": detail, "ms": round(float(ms), 1), "facts": kept}


def _is_fact(name: str, value: Any) -> bool:
    if name == "port":
        return value in STATES
    if name == "stage":
        return value in ("banner", "kex", "done")
    return isinstance(value, (int, float)) and abs(value) < 1e9


def hops_of(raw: Mapping[str, Any]) -> Hops:
    """A trace out of an agent's answer; what is misshapen in it is left out."""
    facts = raw.get("facts")
    rows = facts.get("hops") if isinstance(facts, dict) else None
    found: List[Hop] = []
    for row in rows[:HOPS_MAX] if isinstance(rows, list) else ():
        hop = _hop(row)
        if hop is not None:
            found.append(hop)
    state = "ok" if raw.get("state") == "ok" else "unknown"
    return Hops(state, tuple(sorted(found)), str(raw.get("detail", ""))[:DETAIL_MAX])


def _hop(row: Any) -> Optional[Hop]:
    if not isinstance(row, list) or len(row) != 3 or row[2] not in ("transit", "host", "stop"):
        return None
    ttl, address, kind = row
    if not isinstance(ttl, int) or not 1 <= ttl <= HOPS_MAX or not isinstance(address, str):
        return None
    try:
        return Hop(ttl, str(ipaddress.ip_address(address.partition("%")[0])), kind)
    except ValueError:
        return None


def _traced(address: str, timeout_s: float) -> Dict[str, Any]:
    try:
        found = trace(address, timeout_s)
    except OSError as error:
        return _unknown(f"could not ask: {error.strerror or error}")
    state = "ok" if found.state == "ok" else "unknown"
    hops: List[Tuple[int, str, str]] = [(hop.ttl, hop.address, hop.kind) for hop in found.hops]
    return {"state": state, "detail": found.detail, "ms": 0.0, "facts": {"hops": [list(hop) for hop in hops]}}


def _unknown(why: str) -> Dict[str, Any]:
    return {"state": "unknown", "detail": why[:DETAIL_MAX], "ms": 0.0, "facts": {}}
