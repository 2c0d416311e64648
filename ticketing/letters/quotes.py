"""The new words of an answer, without what it quotes. Pure, and timid: only what is surely a quotation goes.

A quotation is cut where a line that introduces it ("On ... wrote:", "... пише:", a block of From/Sent/To/Subject, the
"Original Message" rule) is followed by nothing but quotation, or where the letter ends in lines with ``>``. A ``>`` with
words after it stays: somebody answers between the lines. When nothing would be left, everything stays. The letter itself
is kept as it came, so a wrong cut loses no word.
"""

from __future__ import annotations

import re

_WROTE = re.compile(
    r"\b(wrote|writes|пише|пишет|написав|написала|написали|написал|schrieb|napisał|napisała|a écrit|escribió)\b"
    r"[^:\n]{0,80}:\s*$",
    re.IGNORECASE,
)
_OPENS = re.compile(
    r"\s*(on|am|le|el|w dniu|у|в|пн|вт|ср|чт|пт|сб|нд|пон|вів|сер|чет|п.ят|суб|нед|\d{1,4})\b", re.IGNORECASE
)
"""How an introduction begins: with its date."""

_RULE = re.compile(
    r"^\s*-{2,}\s*(original message|forwarded message|початкове повідомлення|вихідне повідомлення|"
    r"исходное сообщение|ursprüngliche nachricht|переслане повідомлення)\s*-{2,}\s*$",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"^\s*\*?(from|sent|date|to|cc|subject|від|кому|копія|дата|надіслано|тема|от|отправлено|von|gesendet|an|betreff)"
    r"\s*:\*?\s*\S",
    re.IGNORECASE,
)
_SIGNATURE = "-- "
_UNDERLINE = re.compile(r"^\s*_{10,}\s*$")

MAX_SIGNATURE_LINES = 12


def new_words(text: str) -> str:
    """What the sender wrote now."""
    lines = text.splitlines()
    cut = min(_quotation(lines), _header_block(lines), _old_rule(lines))
    kept = _without_signature(lines[:cut])
    found = "\n".join(kept).strip()
    return found or text.strip()


def _is_quoted(line: str) -> bool:
    return line.lstrip().startswith(">")


def _quotation(lines: list[str]) -> int:
    """Where quoted lines run to the end; the line that introduces them goes too."""
    start = len(lines)
    while start and (_is_quoted(lines[start - 1]) or not lines[start - 1].strip()):
        start -= 1
    if not any(_is_quoted(line) for line in lines[start:]):
        return len(lines)
    # The introduction may be broken over lines by the sender's program.
    for back in (1, 2, 3):
        if start - back < 0:
            break
        said = " ".join(line.strip() for line in lines[start - back : start])
        if _WROTE.search(said) and len(said) < 400:
            above = start - back
            while above and back < 3 and lines[above - 1].strip() and not _OPENS.match(lines[above]):
                above, back = above - 1, back + 1
            return above if _OPENS.match(lines[above]) else start - 1
    return start


def _header_block(lines: list[str]) -> int:
    """Three header lines one after the other: how Outlook begins what it quotes."""
    for at in range(len(lines) - 2):
        if all(_HEADER.match(line) for line in lines[at : at + 3]):
            before = at
            while before and (not lines[before - 1].strip() or _UNDERLINE.match(lines[before - 1])):
                before -= 1
            return before
    return len(lines)


def _old_rule(lines: list[str]) -> int:
    return next((at for at, line in enumerate(lines) if _RULE.match(line)), len(lines))


def _without_signature(lines: list[str]) -> list[str]:
    for at in range(len(lines) - 1, max(-1, len(lines) - 2 - MAX_SIGNATURE_LINES), -1):
        if lines[at] == _SIGNATURE:
            return lines[:at]
    return lines
