"""One local program within a deadline: an argument list, never a shell; its whole process group ends with it.

Secrets are handed over by file or environment, never as an argument: any user of the machine can read those (I17).
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

OUT_MAX = 64 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of it."""

    state: str
    """ok (it ended by itself; ``rc`` says how), late (killed at the deadline), absent (no such program)."""
    rc: int | None = None
    out: str = ""
    err: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it ended well."""
        return self.state == "ok" and self.rc == 0

    @property
    def detail(self) -> str:
        """Its last words, for a person."""
        words = (self.err or self.out).strip().splitlines()
        return f"{self.state}, exit {self.rc}: {words[-1] if words else 'said nothing'}"[:300]


def run(argv: Sequence[str], deadline_s: float, env: Mapping[str, str] | None = None) -> Ran:
    """Run it; after ``deadline_s`` seconds it is killed with everything it started."""
    whole = {"PATH": os.environ.get("PATH", PATH), "LC_ALL": "C", **(env or {})}
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=whole,
            start_new_session=True,
        )
    except OSError as error:
        return Ran("absent", None, "", f"{argv[0]}: {error.strerror}")
    try:
        out, err = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        return Ran("late", None, _text(out), _text(err))
    return Ran("ok", child.returncode, _text(out), _text(err))


def _text(octets: bytes) -> str:
    return octets[:OUT_MAX].decode(errors="replace")
