"""/etc/resolv.conf: which resolvers the programs of this host ask, in the order in which glibc asks them."""

from __future__ import annotations

import ipaddress
from typing import List

MAX_SERVERS = 3
"""glibc's own bound (MAXNS): a fourth line is never asked."""


def parse_resolvers(text: str) -> List[str]:
    """Addresses of ``nameserver`` lines; what is no address is left out, as glibc does. Empty: nobody is named."""
    found: List[str] = []
    for line in text.split("\n"):
        fields = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(fields) < 2 or fields[0] != "nameserver":
            continue
        try:
            ipaddress.ip_address(fields[1].split("%", 1)[0])
        except ValueError:
            continue
        if fields[1] not in found:
            found.append(fields[1])
    return found[:MAX_SERVERS]
