"""A draft of a contract from what the agent found on its server: filled in where something is known, a comment where not.

What only people know (who the client is, who else holds the root password, what was promised) is never guessed: it
stands there as the strictest value with a comment that asks. The draft is YAML that the loader takes as it is.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from collector.tables import hosts, open_findings
from ticketing.promises import DEFAULT_SLA
from ticketing.tables import RowLike

OUTSIDE_PORTS = {25: "tcp", 80: "http", 443: "https", 465: "tcp", 587: "tcp", 993: "tcp", 8080: "http"}
"""Ports that a client's visitors use; a database's is watched from inside only."""

WEB = ("nginx", "httpd", "php-fpm")
GUESTS = ("kvm", "qemu", "xen", "vmware", "microsoft", "lxc", "openvz", "hyper-v", "virtualbox", "vm")
MAX_OPEN = 20

_CLASSES = {
    1: "virtualization, hardware, providers",
    2: "the server itself",
    3: "the whole site or application is down",
    4: "serious application failure",
    5: "single components, attacks, viruses",
    6: "questions and advice",
}


@dataclasses.dataclass(frozen=True)
class Draft:
    """A proposed contract."""

    id: str
    text: str


def draft(conn: Connection, host_id: str, contract_id: str | None = None) -> Draft | None:
    """The draft for an enrolled host; None where there is none of this name."""
    row = conn.execute(select(hosts).where(hosts.c.id == host_id)).mappings().first()
    if row is None:
        return None
    wanted = (
        select(open_findings.c.rule, open_findings.c.subject)
        .where(open_findings.c.host_id == host_id)
        .order_by(open_findings.c.at_ms)
        .limit(MAX_OPEN)
    )
    holds = [f"{found.rule} ({found.subject})" for found in conn.execute(wanted)]
    name = contract_id or _name_for(host_id)
    return Draft(name, "\n".join(_lines(name, row, holds)) + "\n")


def _name_for(host_id: str) -> str:
    """acme-web-1 -> acme: the client's part of the host's name."""
    return re.split(r"[-._]", host_id)[0][:63] or host_id


def _lines(contract_id: str, row: RowLike, holds: Sequence[str]) -> Iterator[str]:
    found: Mapping[str, Any] = row["found"]
    yield f"# Draft for the server {row['id']}, from what its agent found there. Look at each line marked with (?)."
    if not found:
        yield "# The agent has told nothing about this server yet: only what the enrolment says is filled in."
    if row["contract_id"]:
        yield f"# The server is enrolled under the contract {row['contract_id']}."
    for one in holds:
        yield f"# Holds there now: {one}"
    yield f"id: {_word(contract_id)}  # (?) short name; tickets keep it for ever, so never change it"
    yield f"title: {_word(contract_id)}  # (?) the client's name as people say it"
    yield "language: uk  # (?) uk or en"
    yield "lines: 4  # (?) how many support lines the client bought"
    yield ""
    yield "calendar:"
    yield f"  zone: {_word(str(found.get('zone') or 'Europe/Kyiv'))}  # {_zone_note(found)}"
    yield '  # hours: {mon: ["09:00-18:00"]}  # (?) without hours the clocks run around the clock'
    yield ""
    yield "sla:  # (?) the house's times; write what was promised"
    for class_, what in _CLASSES.items():
        times = DEFAULT_SLA[str(class_)]
        yield (
            f'  "{class_}": {{reaction: {_time(times.reaction)}, resolution: {_time(times.resolution)}}}  # {what}'
        )
    yield ""
    yield from _host(row, found)
    yield ""
    yield "applications: []  # (?) the client's sites, portals and programs: what classes 3 to 6 are about"
    yield "services: []  # (?) bought services; without stability class 3 holds no preventive work"
    yield "preventive: note  # (?) a forecast becomes a: note, ticket"


def _zone_note(found: Mapping[str, Any]) -> str:
    return "the server's own time zone" if found.get("zone") else "(?) where the client works"


def _host(row: RowLike, found: Mapping[str, Any]) -> Iterator[str]:
    services = _services(found)
    web = [name for name in WEB if name in services]
    addresses = list(row["addresses"])
    kind, why = _kind(str(found.get("virt") or row["topology"].get("virt") or ""))
    yield "hosts:"
    yield f"  - id: {_word(row['id'])}"
    yield f"    addresses: {json.dumps(addresses)}{'' if addresses else '  # (?) what is probed from outside'}"
    yield f"    kind: {kind}  # {why}"
    note = f"found: {', '.join(web)}" if web else "(?) no web server was found"
    yield f"    web_environment: {'true' if web else 'false'}  # {note}"
    yield "    exclusive_access: false  # (?) true only where the company alone holds full access; class 2 needs it"
    yield f"    interval: {row['interval_s']:g} s"
    yield "    topology:  # what this server shares with others"
    topology = {"provider": "", "site": "", "node": "", **row["topology"]}
    for key, value in (("virt", found.get("virt")), ("os", found.get("os")), ("plan", _plan(found))):
        if value:
            topology[key] = topology.get(key) or value
    for key, value in topology.items():
        yield f"      {key}: {_word(str(value))}{'' if value else '  # (?)'}"
    yield from _checks(services, addresses)


def _plan(found: Mapping[str, Any]) -> str:
    cpus, memory = str(found.get("cpus") or ""), str(found.get("memory_mb") or "")
    if not (cpus.isdigit() and memory.isdigit()):
        return ""
    return f"{cpus} vCPU, {round(int(memory) / 1024, 1):g} GiB"


def _kind(virt: str) -> tuple[str, str]:
    if not virt:
        return "other", "(?) dedicated, vds, shared or other: the agent could not tell"
    if virt in ("bare", "bare-metal", "none"):
        return "dedicated", "(?) no hypervisor is seen below it"
    if virt.startswith(GUESTS):
        return "vds", f"(?) a guest of {virt}"
    return "other", f"(?) {virt} is not known to us"


def _services(found: Mapping[str, Any]) -> dict[str, list[int]]:
    """Services by name with the ports that they listen on."""
    named = {k.partition(".")[2]: v for k, v in found.items() if k.startswith("service.")}
    return {
        name: [int(port) for port in str(ports).split() if port.isdigit()] for name, ports in named.items()
    }


def _checks(services: Mapping[str, Sequence[int]], addresses: Sequence[str]) -> Iterator[str]:
    outside = [(name, port) for name, ports in services.items() for port in ports if port in OUTSIDE_PORTS]
    inside = sorted(
        f"{name} {port}" for name, ports in services.items() for port in ports if port not in OUTSIDE_PORTS
    )
    if outside and addresses:
        yield "    services:  # (?) found listening; better a page's address and a text that must stand in it"
        for name, port in outside:
            check = f"{{type: tcp, host: {_word(addresses[0])}, port: {port}}}"
            yield f"      - {{name: {_word(f'{name}-{port}')}, check: {check}}}"
    if inside:
        yield f"    # watched from inside by the agent itself: {', '.join(inside)}"


def _time(seconds: float) -> str:
    return f"{round(seconds / 3600)} h" if seconds >= 3600 else f"{round(seconds / 60)} min"


def _word(text: str) -> str:
    """A YAML scalar that is text whatever it looks like."""
    return json.dumps(text, ensure_ascii=False)
