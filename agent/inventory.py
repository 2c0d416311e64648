"""What this server is, in a few words: system, machine, size, time zone, services. For the draft of its contract.

Told to the collector once a run and when it changes; nothing is judged by it. It names no user, file or process, and
refuses to ask anything but files and the kernel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, Dict, List

from agent.checks.sock_diag import Listener, listeners
from agent.preset import look
from agent.samplers.platform import detect

FIRST_AFTER_MS = 30_000
"""The first report must not wait for it."""
AGAIN_MS = 24 * 3_600_000
MAX_WORD = 120

_QUOTED = re.compile(r"^PRETTY_NAME=(.*)$", re.MULTILINE)
_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE)
_ZONE = re.compile(r"/zoneinfo/([A-Za-z0-9_+/-]+)$")


class Inventory:
    """The words, read again once a day: not on every report."""

    def __init__(self, root: Path, born_ms: int) -> None:
        self._root = root
        self._due_ms = born_ms + FIRST_AFTER_MS
        self._words: Dict[str, str] = {}

    def words(self, now_ms: int) -> Dict[str, str]:
        """What is known now; {} in the first seconds."""
        if now_ms >= self._due_ms:
            self._due_ms = now_ms + AGAIN_MS
            self._words = inventory(self._root)
        return self._words


def inventory(root: Path = Path("/"), ask: Callable[[], List[Listener]] = listeners) -> Dict[str, str]:
    """``os``, ``virt``, ``cpus``, ``memory_mb``, ``zone``, and ``service.NAME`` with its ports; what is unknown is left out."""
    host = detect(root)
    words = {
        "os": _first(_QUOTED, _text(root / "etc/os-release")).strip("\"'"),
        "virt": host.container or host.machine,
        "cpus": str(os.cpu_count() or ""),
        "memory_mb": str(int(_first(_TOTAL, _text(root / "proc/meminfo")) or 0) // 1024 or ""),
        "zone": _zone(root),
    }
    for one in look(root, ask):
        if not one.is_off:
            words[f"service.{one.name}"] = " ".join(str(port) for port in one.ports)
    return {key: word[:MAX_WORD] for key, word in words.items() if word or key.startswith("service.")}


def _zone(root: Path) -> str:
    try:
        return _first(_ZONE, str((root / "etc/localtime").readlink()))
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(16384)
    except OSError:
        return ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""
