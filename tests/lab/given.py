"""What the programs of a household are given: times, contracts, settings, the hosts' steps. Values and texts alone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.lab import register
from tests.lab.house import ADDRESS, ROUTER, VIP
from tests.lab.provider import PORT as API_PORT

PAIR, WORD = "prim>back", "prim+back"
HOSTS = ("prim", "back")
API = f"http://{ADDRESS['oob']}:{API_PORT}"
Terms = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]
"""Of the pair, other than usual; may be made from the house's folder."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """The times of a case, in seconds; beside each what a contract or our defaults would say."""

    heartbeat: float = 2.0
    """10"""
    look: float = 5.0
    """30: the least that settings allow"""
    dwell: float = 6.0
    """60"""
    rpo: float = 30.0
    """60, scaled less: looks are every 5 s at best, and each may be one behind"""
    rto: float = 300.0
    """1800"""
    check: float = 1.0
    """An agent's check, 15 in shipped rules"""
    resolve: float = 6.0
    """60"""
    gate_ttl: float = 12.0
    """60: the self-fence of ``vartovyi-gate watch``"""


def contracts(scale: Scale, terms: Terms, folder: Path) -> list[dict[str, Any]]:
    """The client's contract with its pair, and our own with the second vantage."""
    host = {"kind": "dedicated", "web_environment": True, "exclusive_access": True}
    host["interval"] = f"{scale.heartbeat:g} s"
    service = {
        "type": "http",
        "url": f"http://{ADDRESS['prim']}:{register.PORT}/",
        "text": "primary",
        "timeout": 2,
    }
    one = {"name": "register", "interval": f"{scale.look:g} s", "check": service}
    acme = {
        "id": "acme",
        "title": "Acme",
        "class2": True,
        "hosts": [
            {"id": "prim", "addresses": [ADDRESS["prim"]], **host, "services": [one],
             "topology": {"provider": "alfa", "site": "a1", "virt": "bare"}},
            {"id": "back", "addresses": [ADDRESS["back"]], **host,
             "topology": {"provider": "beta", "site": "b1", "virt": "bare"}},
        ],
        "failover": {"pairs": [pair_terms(scale, terms, folder)]},
    }  # fmt: skip
    us = {
        "id": "internal",
        "title": "Us",
        "hosts": [{"id": "probe2", "addresses": [ADDRESS["probe2"]], "interval": host["interval"],
                   "topology": {"provider": "gamma", "site": "g1"}}],
    }  # fmt: skip
    return [acme, us]


def pair_terms(scale: Scale, given: Terms, folder: Path) -> dict[str, Any]:
    """The pair as its contract words it; a case may give other terms."""
    route = {"url": f"{API}/ip", "method": "POST"}
    whole = {
        "primary": "prim",
        "backup": "back",
        "mode": "auto",
        "rto": f"{scale.rto:g} s",
        "rpo": f"{scale.rpo:g} s",
        "dwell": f"{scale.dwell:g} s",
        "hold_down": "60 s",
        "switch_time": "30 s",
        "demote": [{"type": "demote.ssh", "options": {"step": "demote-register", "role": "role-register"}}],
        "fence": [[power_fence()]],
        "promote": [
            {
                "type": "promote.script",
                "options": {"script": "promote-register", "role": "role-register"},
                "deadline": "10 s",
            }
        ],
        "traffic": [
            {
                "type": "traffic.floating_ip",
                "deadline": "10 s",
                "options": {
                    "act": {**route, "body": '{"server": "back"}'},
                    "read": {"url": f"{API}/ip"},
                    "path": "ip.server",
                    "done": ["back"],
                    "timeout_s": 3,
                    "back": {"act": {**route, "body": '{"server": "prim"}'}, "done": ["prim"]},
                },
            }
        ],
        "verify": [
            {
                "type": "verify.http",
                "options": {
                    "url": f"http://{VIP}:{register.PORT}/",
                    "text": "primary",
                    "old_url": f"http://{ADDRESS['prim']}:{register.PORT}/",
                },
            }
        ],
    }
    terms = given(folder) if callable(given) else given
    return {**whole, **terms}


def collector_settings(scale: Scale, folder: Path) -> dict[str, Any]:
    """collector.yaml."""
    return {
        "state_dir": str(folder / "state"),
        "contracts": str(folder / "contracts"),
        "providers": str(folder / "providers"),
        "listen": {"address": ADDRESS["coll"], "port": 8440, "tls": "auto"},
        "database": {"lease_s": "6 s"},
        "probes": {
            "timeout_s": "1 s",
            "look_s": "1 s",
            # The router and two other networks: what is outside of the pair and answers.
            "anchors": [f"{ROUTER['coll']}:9", f"{ADDRESS['probe2']}:9", f"{ADDRESS['oob']}:9"],
        },
        # Its end must not wait for those who hold a poll.
        "stop_s": "1 s",
        "vantages": {"hosts": ["probe2"], "every_s": f"{scale.look:g} s"},
        "tick": {"resolve_after_s": f"{scale.resolve:g} s", "flapping_step_s": "20 s"},
        "failover": {
            "ssh_user": "root",
            "ssh_key": str(folder / "collector_key"),
            "known_hosts": str(folder / "known_hosts"),
            "ask_s": 8.0,
        },
    }


def agent_settings(host: str, pin: str, scale: Scale, folder: Path) -> dict[str, Any]:
    """agent.yaml of that host; its token lies in the folder."""
    token = folder / f"{host}.token"
    checks: list[dict[str, Any]] = []
    every = {"interval_s": scale.check, "timeout_s": 2}
    if host == "prim":
        url = f"http://{ADDRESS['prim']}:{register.PORT}/"
        checks = [{"name": "register", "type": "http", "url": url, "text": "primary", **every}]
    elif host == "back":
        checks = copy_checks(host, scale, folder)
    return {
        "state_dir": str(folder / f"agent-{host}"),
        "interval": f"{scale.heartbeat:g} s",
        "period": "1 s",
        "collector": {
            "url": f"https://{ADDRESS['coll']}:8440", "token_file": str(token), "pin": pin,
            "retry_max": "2 s", "connect_timeout": "2 s", "reply_timeout": "3 s",
        },
        "metrics": {"listen": ""},
        "evidence": False,
        "preset": {"enabled": False},
        "rules_file": str(folder / "rules.yaml"),
        "checks": checks,
        "vantage": {"networks": ["10.90.0.0/16"] if host == "probe2" else []},
    }  # fmt: skip


def copy_checks(host: str, scale: Scale, folder: Path) -> list[dict[str, Any]]:
    """What the agent of a standby looks at: how far it is behind, and that its register listens."""
    path, every = str(folder / f"register-{host}" / "heartbeat"), {"interval_s": scale.check, "timeout_s": 2}
    return [
        {"name": "copy", "type": "replication", "path": path, "max_lag": "30 d", **every},
        {"name": "register", "type": "tcp", "host": ADDRESS[host], "port": register.PORT, **every},
    ]


def other(host: str) -> str:
    return "back" if host == "prim" else "prim"


def power_fence(host: str = "prim", **changes: Any) -> dict[str, Any]:
    """Fence by the provider's power switch, read back; pinned to the machine's name."""
    return {
        "type": "fence.provider",
        "deadline": "10 s",
        "options": {
            "act": {"url": f"{API}/servers/{host}/poweroff", "method": "POST"},
            "read": {"url": f"{API}/servers/{host}"},
            "path": "server.status",
            "done": ["off"],
            "identity_path": "server.name",
            "identity": "prim",
            "timeout_s": 3,
            **changes,
        },
    }


RULES = """
rules:
  - name: check_fails
    family: service
    severity: high
    signal: check.state
    subjects: parts
    raise: {all: ["check.state not in ok slow loss starting dead stopped warning hung"], for: 2 s}
    clear: {all: ["check.state in ok slow loss warning"], for: 2 s}
    facts: [check.ms]
"""
"""The shipped rule with its times scaled; no others, since the machine under the laboratory is everybody's."""

PROMOTE = """
set -eu
cd {folder}
touch begun
case $(cat fault 2>/dev/null) in fails) echo "no" ; exit 1 ;; hangs) sleep 60 ; exit 1 ;; slow) sleep 3 ;; esac
[ "$(cat role)" = "primary $VARTOVYI_EPOCH" ] && {{ echo "primary already"; exit 0; }}
{shipped}/vartovyi-step permit "$VARTOVYI_PAIR" "$VARTOVYI_EPOCH"
echo "$VARTOVYI_KEY $(date +%s%3N)" >> promoted
echo "primary $VARTOVYI_EPOCH" > role.new
mv role.new role
"""

DEMOTE = """
set -eu
cd {folder}
echo standby > role.new
mv role.new role
rm -f "$VARTOVYI_STATE/permit"
"""

SYSTEMCTL = """#!/bin/sh
# As systemctl, for the one unit of this host: the register as primary. A standby is no active primary.
pid=$(cat {pidfile} 2>/dev/null)
case $1 in
is-active) grep -q ^primary {role} && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null ;;
stop) [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null ;;
kill) [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null ;;
*) exit 64 ;;
esac
"""


def port_fence(folder: Path, host: str = "prim") -> dict[str, Any]:
    """Fence at the switch port, by a command of root's folder."""
    options = {"command": "switch", "args": [host], "folder": str(folder)}
    return {"type": "fence.port", "deadline": "10 s", "options": options}


def lease_fence(scale: Scale) -> dict[str, Any]:
    """Fence by waiting until the host's own watch must have stopped the service."""
    options = {"ports": [register.PORT], "ttl": f"{scale.gate_ttl:g} s", "margin": "10 s"}
    return {"type": "fence.lease", "deadline": f"{scale.gate_ttl + 40:g} s", "options": options}


SWITCH = f"""#!{sys.executable}
# switch off|on|status HOST: as root's own command for the switch; the provider's interface is the switch here.
import json, sys, urllib.request
verb, host = sys.argv[1:]
place = "{API}/ports/" + host
if verb == "status":
    print(json.load(urllib.request.urlopen(place, timeout=5))["port"])
else:
    urllib.request.urlopen(place + "/" + verb, data=b"null", timeout=5)
"""
