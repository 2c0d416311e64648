"""Which host looks at which for us, and what peers' words are worth. Pure: values in, values out.

A vantage stands at another provider, or at another site, than the host it looks at; where either is not known it
proves nothing and is not asked. Our own vantages are witnesses. A peer (a client's host whose contract lends it) is
weak evidence: asked only where no vantage of ours can be, and heard only when peers of several contracts say the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ticketing.contracts import Book

OWN_ASKED = 2
PEERS_ASKED = 4
"""Most vantages asked about one suspect; of peers one a contract."""


@dataclasses.dataclass(frozen=True)
class Vantage:
    """A host that can look now."""

    id: str
    provider: str = ""
    site: str = ""
    peer_of: str = ""
    """The contract that lends it; "" = ours."""

    def is_elsewhere(self, provider: str, site: str) -> bool:
        """Whether it is known to stand apart from a host of that provider and site."""
        if self.provider and provider and self.provider != provider:
            return True
        return bool(self.site and site and self.site != site)


def named_in(book: Book, own: Iterable[str]) -> dict[str, str]:
    """Every host that may be asked: id -> the contract that lends it, "" for ours."""
    found = {host_id: contract.id for contract in book.contracts.values() for host_id in contract.peers}
    return found | dict.fromkeys(own, "")


def choose(
    host_id: str,
    topology: Mapping[str, str],
    standing: Iterable[Vantage],
    most: int = OWN_ASKED,
    *,
    with_peers: bool = True,
) -> list[Vantage]:
    """Who looks at this host: ours first, another provider before another site, the same ones each time."""
    provider, site = str(topology.get("provider") or ""), str(topology.get("site") or "")
    fit = [v for v in standing if v.id != host_id and v.is_elsewhere(provider, site)]
    fit.sort(key=lambda v: (not v.provider or v.provider == provider, _draw(host_id, v.id)))
    own = [v for v in fit if not v.peer_of][:most]
    if own or not with_peers:
        return own
    by_contract: dict[str, Vantage] = {}
    for peer in fit:
        by_contract.setdefault(peer.peer_of, peer)
    return list(by_contract.values())[:PEERS_ASKED]


def agreed(words: Sequence[tuple[str, str]], contracts: int) -> str:
    """The word that peers of at least so many contracts saw, "" where they do not agree. ``words``: (contract, word)."""
    said: dict[str, set[str]] = {}
    for contract_id, word in words:
        if word not in ("", "unknown"):
            said.setdefault(word, set()).add(contract_id)
    enough = [word for word, who in said.items() if len(who) >= contracts]
    # Two camps that are both large enough agree on nothing.
    return enough[0] if len(enough) == 1 else ""


def _draw(host_id: str, vantage_id: str) -> bytes:
    """A lot that spreads hosts over vantages and stays when others come and go."""
    return hashlib.sha256(f"{host_id} {vantage_id}".encode()).digest()[:8]
