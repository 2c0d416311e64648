"""Guests of a libvirt host, limits of an OpenVZ container, what VMware's tools say of the layer below."""

from __future__ import annotations

import re
from typing import Dict, NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole

MAX_DOMAINS = 1_000
MAX_NAME = 80

_DOMAIN = re.compile(r"^Domain: '(.*)'\s*$")
_NUMBER = re.compile(r"^\s+state\.(state|reason)=(\d{1,6})\s*$")

# virDomainState and its reasons (libvirt-domain.h), in the words of `virsh domstate --reason`.
_STATES = {
    0: "no state", 1: "running", 2: "idle", 3: "paused", 4: "in shutdown", 5: "shut off", 6: "crashed", 7: "pmsuspended",
}  # fmt: skip
_REASONS: Dict[int, Dict[int, str]] = {
    1: {
        1: "booted", 2: "migrated", 3: "restored", 4: "from snapshot", 5: "unpaused", 6: "migration canceled",
        7: "save canceled", 8: "event wakeup", 9: "after a crash", 10: "post-copy",
    },
    3: {
        1: "user", 2: "migrating", 3: "saving", 4: "dumping", 5: "I/O error", 6: "watchdog", 7: "from snapshot",
        8: "shutting down", 9: "creating snapshot", 10: "crashed", 11: "starting up", 12: "post-copy",
        13: "post-copy failed",
    },
    4: {1: "user"},
    5: {
        1: "shutdown", 2: "destroyed", 3: "crashed", 4: "migrated", 5: "saved", 6: "failed", 7: "from snapshot",
        8: "daemon",
    },
    6: {1: "panicked"},
}  # fmt: skip


def parse_domstats(text: str) -> Dict[str, str]:
    """``virsh domstats --state``: domain -> ``paused/I/O error``; an empty host gives an empty map.

    Names are the guests' owners' to choose: they are keys and nothing else, cut to 80 letters.
    """
    found: Dict[str, str] = {}
    name = ""
    numbers: Dict[str, int] = {}
    for line in [*text.split("\n"), "Domain: ''"]:
        domain = _DOMAIN.match(line)
        if domain:
            if name and "state" in numbers:
                found[name] = _word(numbers["state"], numbers.get("reason", 0))
            name = "".join(c if c.isprintable() else "?" for c in domain.group(1))[:MAX_NAME]
            numbers = {}
            if len(found) >= MAX_DOMAINS:
                break
            continue
        number = _NUMBER.match(line)
        if number:
            numbers[number.group(1)] = whole(number.group(2))
    if not found and text.strip():
        raise ParseError("expected \"Domain: 'name'\" and its state")
    return found


def _word(state: int, reason: int) -> str:
    return f"{_STATES.get(state, 'unknown')}/{_REASONS.get(state, {}).get(reason, 'unknown')}"


class Beancounter(NamedTuple):
    """One resource of the container."""

    held: int
    max_held: int
    barrier: int
    limit: int
    failures: int


UNLIMITED = 2**31 - 1
"""Pages from which on a limit is none: 8 TiB, and the largest number of a 32-bit kernel."""
PAGE_BYTES = 4096


def parse_beancounters(text: str) -> Dict[str, Beancounter]:
    """/proc/user_beancounters, version 2.5: resource -> numbers, of the first container in the file (our own)."""
    if not text.startswith("Version: 2.5"):
        raise ParseError("expected 'Version: 2.5'")
    found: Dict[str, Beancounter] = {}
    for line in text.split("\n")[1:]:
        fields = line.split()
        if not fields or fields[0] == "uid":
            continue
        if fields[0].endswith(":"):
            if found:
                break  # on the node itself the others' follow
            fields = fields[1:]
        if len(fields) != 6 or fields[0] == "dummy":
            continue
        found[fields[0]] = Beancounter(*(whole(field) for field in fields[1:]))
    if not found:
        raise ParseError("expected at least one resource")
    return found


_MEGABYTES = re.compile(r"^\s*(\d{1,9})\s*MB\s*$")


def parse_toolbox_mb(text: str) -> int:
    """``vmware-toolbox-cmd stat balloon`` and ``stat swap``: MiB."""
    match = _MEGABYTES.match(text)
    if not match:
        raise ParseError("expected a number of MB")
    return whole(match.group(1))
