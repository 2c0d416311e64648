"""Which language a page speaks: what was switched to on this device, else the person's own, else the browser's wish.

The switch comes first because a person's own language stands in people.yaml and is never empty: written over there it
would be lost with the next change of that file, and without the cookie's precedence the switch would do nothing.
"""

from __future__ import annotations

LANGUAGES = ("uk", "en")
DEFAULT = "uk"
COOKIE = "vartovyi_language"


def choose(switched: str | None, own: str | None, accept: str | None) -> str:
    """One of LANGUAGES."""
    for wish in (switched, own):
        if wish in LANGUAGES:
            return wish
    return from_accept_language(accept or "")


def from_accept_language(header: str) -> str:
    """The best of LANGUAGES by RFC 9110's weights; a fault in the header counts as no wish."""
    best, best_weight = DEFAULT, 0.0
    for part in header[:500].split(","):
        tag, _, tail = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = _weight(tail)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(tail: str) -> float:
    name, _, value = tail.strip().partition("=")
    if not name:
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if name.strip() == "q" and 0.0 <= weight <= 1.0 else 0.0
