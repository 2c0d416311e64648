"""Logging: one event one line, a sentence first, then ``key=value``; to stderr, where journald takes it.

No time stamp of our own under systemd (the journal has one). Secrets are never passed to a log call.
"""

from __future__ import annotations

import logging
import os
import sys


class _LineFormatter(logging.Formatter):
    """Keeps an event on one line: a traceback's newlines become `` | ``, so that no reader loses half of it."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", " | ")
        # Names in it come from others: an escape sequence must not reach the terminal of whoever reads the log.
        return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


def set_up(level: str = "INFO") -> None:
    """Send records of ``level`` and above to stderr, one line each."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    stamp = "" if under_systemd else "%(asctime)s "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter(f"{stamp}%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def fields(**values: object) -> str:
    """``a=1 b="two words"`` for the end of a log line; strings with spaces or quotes are quoted."""
    parts = []
    for key, value in values.items():
        text = str(value)
        if not text or any(c in text for c in ' "=\n'):
            text = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        parts.append(f"{key}={text}")
    return " ".join(parts)
