"""Reply tokens: what lets an answer find its ticket, and that nobody can make up. Pure.

``t12-<80 bits, base32>`` stands in the address that an answer goes to, or in the subject where the mail server knows no
addresses with a plus. The bits are an HMAC over purpose, ticket and its creation time, so that a token of one
installation, ticket or purpose is worth nothing for another. Purpose ``t`` is a word to the desk, ``p`` the provider's.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import re
from collections.abc import Iterable

TICKET, PROVIDER = "t", "p"

_DIGEST_BYTES = 10
_TOKEN = re.compile(r"(?<![A-Za-z0-9])([tp])(\d{1,15})-([a-z2-7]{16})(?![A-Za-z0-9])", re.IGNORECASE)

MAX_FOUND = 20
"""Most tokens that one letter is searched for."""


@dataclasses.dataclass(frozen=True)
class Token:
    """A token as it was found, not yet believed."""

    purpose: str
    ticket_id: int
    digest: str


def make(key: bytes, purpose: str, ticket_id: int, created_at_ms: int) -> str:
    """The token of a ticket for one purpose."""
    said = f"vartovyi-reply/1|{purpose}|{ticket_id}|{created_at_ms}".encode()
    digest = hmac.new(key, said, hashlib.sha256).digest()[:_DIGEST_BYTES]
    return f"{purpose}{ticket_id}-{base64.b32encode(digest).decode().lower()}"


def find(texts: Iterable[str]) -> list[Token]:
    """Whatever looks like a token in these texts (addresses, subject), each once, in order."""
    found: dict[Token, None] = {}
    for text in texts:
        for purpose, number, digest in _TOKEN.findall(text):
            found[Token(purpose.lower(), int(number), digest.lower())] = None
            if len(found) >= MAX_FOUND:
                return list(found)
    return list(found)


def is_genuine(key: bytes, token: Token, created_at_ms: int) -> bool:
    """Whether we made this token for the ticket that was created then."""
    made = make(key, token.purpose, token.ticket_id, created_at_ms)
    return hmac.compare_digest(made, f"{token.purpose}{token.ticket_id}-{token.digest}")


def tagged(address: str, token: str) -> str:
    """The address that carries the token: ``desk@x`` -> ``desk+t12-...@x``."""
    local, _, domain = address.rpartition("@")
    return f"{local}+{token}@{domain}"
