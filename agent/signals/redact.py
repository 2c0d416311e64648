"""What must not leave a server in a line of a log: passwords, tokens, keys, cookies; and no line longer than can be read.

Pure. Better a word too much removed than one too few; but the expressions know forms of secrets, not secrets.
"""

from __future__ import annotations

import re
from typing import Tuple

MAX_LINE = 300

_SECRET_WORD = (
    r"(?:[\w.-]*(?:passw(?:or)?d|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|session[_-]?id|sessid|signature|credentials?|auth))"
)
_REDACTIONS: Tuple[Tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{1,40}KEY-----.*", re.DOTALL), "[key removed]"),
    # user:password@host in any URL
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{0,200}:[^\s/@]{1,200}@"), r"\1[removed]@"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*)(?:(?:basic|bearer|digest|token)\s+)?[^\s,;]+"), r"\1[removed]"),
    (re.compile(r"(?i)\b((?:set-)?cookie\s*[:=]\s*)[^\r\n]+"), r"\1[removed]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 [removed]"),
    (re.compile(rf"(?i)(?<![\w])(--?{_SECRET_WORD}[ =]+)(\"[^\"]*\"|'[^']*'|\S+)"), r"\1[removed]"),
    (re.compile(rf"(?i)(?<![\w])([\"']?{_SECRET_WORD}[\"']?\s*(?:=>|[:=])\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;}}]+)"), r"\1[removed]"),
    (re.compile(r"(?i)\b((?:mysql|mariadb)\w*\b.*?\s-p)[^\s-]\S*"), r"\1[removed]"),
    (re.compile(r"(?i)\b(identified\s+by\s+)(\"[^\"]*\"|'[^']*'|\S+)"), r"\1[removed]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), "[token removed]"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"), "[key removed]"),
)  # fmt: skip


def redact(text: str) -> str:
    """The line without what reads like a password, a token, a key or a cookie; cut to 300 characters."""
    # Cut generously first: the expressions must not be fed a megabyte.
    text = "".join(c if c.isprintable() else " " for c in text[:800])
    for pattern, instead in _REDACTIONS:
        text = pattern.sub(instead, text)
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"
