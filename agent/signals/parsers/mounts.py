"""/proc/self/mountinfo and /proc/mounts: what is mounted where, and whether it may be written."""

from __future__ import annotations

import re
from typing import List, NamedTuple

from agent.signals.parsers.error import ParseError

_BROKEN = frozenset(("emergency_ro", "shutdown"))
"""ext4 from Linux 6.14 on: after an error it stays ``rw`` by its options, refuses every write and adds one of these."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount."""

    device: str
    """Source as the kernel names it: /dev/vda1, server:/export, tmpfs."""
    point: str
    fs: str
    is_read_only: bool
    """The file system is read-only. Not a mount that is so for us alone: systemd write-protects some for a service."""
    number: str
    """major:minor: the same for bind mounts of one file system; "" from /proc/mounts."""
    root: str
    """The folder of the file system that is mounted; "/" unless it is a bind mount."""
    error_policy: str
    """``errors=`` of the options: what the file system does when it finds itself broken."""
    is_broken: bool
    """The kernel says itself that an error made it read-only: nobody mounts it so on purpose. Older ones only say ro."""


def _unescape(text: str) -> str:
    """Spaces, tabs, newlines and backslashes stand as octal escapes (bytes of UTF-8)."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8) & 0xFF), text)


def parse_mountinfo(text: str) -> List[Mount]:
    """All mounts, in the order of the kernel: of two on one point the later hides the earlier."""
    mounts: List[Mount] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not dash or len(left) < 6 or len(right) < 3:
            raise ParseError("expected six fields, a dash and three fields")
        options = right[2].split(",")
        is_broken = not _BROKEN.isdisjoint(options)
        mounts.append(
            Mount(
                _unescape(right[1]),
                _unescape(left[4]),
                right[0],
                is_broken or "ro" in options,
                left[2],
                _unescape(left[3]),
                _error_policy(left[5].split(",") + options),
                is_broken,
            )
        )
    return mounts


def parse_mounts(text: str) -> List[Mount]:
    """/proc/mounts, for trees that hold no mountinfo."""
    mounts: List[Mount] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        fields = line.split(" ")
        if len(fields) < 4:
            raise ParseError("expected four fields")
        options = fields[3].split(",")
        is_broken = not _BROKEN.isdisjoint(options)
        mounts.append(
            Mount(
                _unescape(fields[0]),
                _unescape(fields[1]),
                fields[2],
                is_broken or "ro" in options,
                "",
                "/",
                _error_policy(options),
                is_broken,
            )
        )
    return mounts


def _error_policy(options: List[str]) -> str:
    return next((option[7:] for option in options if option.startswith("errors=")), "")
