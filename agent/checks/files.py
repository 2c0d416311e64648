"""Is a file there, young enough and large enough? A backup that was not written, a lock that nobody lets go of.

A path with * means the newest that matches. Looked at by its own name only: contents are never read. A look at a dead
mount hangs; whoever runs checks leaves it alone and says so.
"""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import Iterator, Optional, Tuple

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.spec import CheckSettings
from config.clock import Clock, SystemClock

MAX_MATCHES = 10_000
"""A folder with more than that is not searched to its end."""


def run(
    spec: CheckSettings, timeout_s: float, root: Path = Path("/"), clock: Optional[Clock] = None
) -> CheckAnswer:
    """Look at the file (the newest of those that match). Facts: age_s, bytes, files."""
    deadline = Deadline(timeout_s)
    path = spec.path if root == Path("/") else f"{root}{spec.path}"
    try:
        count, newest = _newest(path)
    except PermissionError as error:
        return CheckAnswer("unknown", f"may not be looked at: {error.strerror}", deadline.spent_ms())
    if newest is None:
        return CheckAnswer("missing", "is not there", deadline.spent_ms(), {"files": 0})
    now_s = (clock or SystemClock()).now_ms() / 1000.0
    # A stamp in the future is a clock's fault, not the file's: as young as can be.
    age_s = max(0.0, now_s - newest.st_mtime)
    facts = {"age_s": round(age_s), "bytes": newest.st_size, "files": count}
    if age_s > spec.max_age:
        return CheckAnswer("old", f"was written {_span(age_s)} ago", deadline.spent_ms(), facts)
    if newest.st_size < spec.least_bytes:
        return CheckAnswer("small", f"holds {newest.st_size} octets only", deadline.spent_ms(), facts)
    return CheckAnswer("ok", f"was written {_span(age_s)} ago", deadline.spent_ms(), facts)


def _newest(path: str) -> Tuple[int, Optional[os.stat_result]]:
    best: Optional[os.stat_result] = None
    count = 0
    for name in _matches(path):
        try:
            found = Path(name).stat()
        except FileNotFoundError:
            continue  # rotated away between listing and looking
        if not stat.S_ISREG(found.st_mode):
            continue
        count += 1
        if best is None or found.st_mtime > best.st_mtime:
            best = found
        if count >= MAX_MATCHES:
            break
    return count, best


def _matches(path: str) -> Iterator[str]:
    if not glob.has_magic(path):
        return iter((path,))
    return glob.iglob(path)  # noqa: PTH207 - the pattern is one text, with its folders


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
