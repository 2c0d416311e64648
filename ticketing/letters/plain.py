"""HTML of a letter as plain text. Pure; linear in its input, which the library's parser is not (CVE-2025-6069).

Only what a person would read is kept: no scripts, styles or hidden heads. Quoted blocks get their ``>`` back, so that
``quotes`` cuts them as it does in plain text. It reads tags well enough to know where lines and quotations end, and
nothing else of HTML.
"""

from __future__ import annotations

import html
import re

_SKIPPED = ("script", "style", "head", "title", "template", "noscript")
_BLOCKS = frozenset(
    {
        "address",
        "article",
        "blockquote",
        "br",
        "div",
        "dd",
        "dl",
        "dt",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
    }
    | {
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tr",
        "ul",
    }
)
_QUOTE_CLASSES = ("gmail_quote", "moz-cite", "yahoo_quoted", "protonmail_quote")

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})([^<>]*)>|<[!?][^<>]*>")
_SPACES = re.compile(r"\s+")


class _Lines:
    """Words gathered into lines, each quoted or not."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._line: list[str] = []
        self._quoting = ""
        """The element that began a quotation; its own kind inside it is counted, so that its end is known."""
        self._depth = 0

    def add(self, text: str) -> None:
        if text:
            self._line.append(text)

    def end(self) -> None:
        text = _SPACES.sub(" ", html.unescape("".join(self._line))).strip()
        self._line = []
        if text or (self.done and self.done[-1]):
            self.done.append(f"> {text}" if self._depth else text)

    def tag(self, name: str, rest: str, is_end: bool) -> None:
        if name in _BLOCKS:
            self.end()
        if is_end:
            self._depth -= bool(self._depth and name == self._quoting)
        elif self._depth:
            self._depth += name == self._quoting and not rest.endswith("/")
        elif name == "blockquote" or any(word in rest for word in _QUOTE_CLASSES):
            self._quoting, self._depth = name, 1


def text_of(page: str) -> str:
    """What a person would read of it."""
    lines = _Lines()
    lowered = page.lower() if len(page.lower()) == len(page) else page
    at = 0
    while at < len(page):
        opening = page.find("<", at)
        if opening < 0:
            opening = len(page)
        lines.add(page[at:opening])
        at = _after(page, lowered, opening, lines)
    lines.end()
    return "\n".join(lines.done).strip()


def _after(page: str, lowered: str, at: int, lines: _Lines) -> int:
    """Where reading goes on behind the ``<`` that stands here."""
    if at >= len(page):
        return at
    if page.startswith("<!--", at):
        end = page.find("-->", at)
        return len(page) if end < 0 else end + 3
    found = _TAG.match(page, at)
    if found is None:
        lines.add("<")
        return at + 1
    name = (found[2] or "").lower()
    if name in _SKIPPED and not found[1]:
        end = lowered.find(f"</{name}", found.end())
        return len(page) if end < 0 else end
    lines.tag(name, found[3] or "", bool(found[1]))
    return found.end()
