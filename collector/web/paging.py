"""Addresses of list pages: the filter in the query, the page's mark in ``after``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode


def url(path: str, values: Mapping[str, object], after: str | None = None) -> str:
    """``path`` with what is not empty of ``values``, and the mark."""
    query = {key: str(value) for key, value in values.items() if value not in ("", None, False, 0)}
    if after:
        query["after"] = after
    return f"{path}?{urlencode(query)}" if query else path


def number(text: str | None, low: int, high: int) -> int | None:
    """A whole number in bounds, or None: an address that somebody mistyped filters nothing and breaks nothing."""
    if text and text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high:
        return int(text)
    return None
