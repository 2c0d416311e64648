"""Which time source the clock follows: asked from chronyd, ntpd or systemd-timesyncd, whichever is there.

chronyd and ntpd answer a packet on loopback; only timesyncd needs a process (timedatectl), so it is asked seldom.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from agent.checks.deadline import Deadline
from agent.checks.systemctl import run_program
from agent.samplers.base import Batch, Errand
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.ntp import (
    CHRONY_TRACKING,
    NTP_VARIABLES,
    UNSYNCED,
    parse_chrony,
    parse_ntp_variables,
)
from agent.signals.sample import Sample

ANSWER_S = 0.5
QUICK_WAIT_S = 0.05
TIMEDATECTL_EVERY_MS = 600_000
TIMEDATECTL_S = 5.0
CHRONY, NTP = ("127.0.0.1", 323), ("127.0.0.1", 123)
_TIMEDATECTL = ("/usr/bin/timedatectl", "/bin/timedatectl")


class TimeSource:
    """Signal clk.ntp_source."""

    name = "time_source"
    period_s = 60.0

    def __init__(
        self,
        root: Path = Path("/"),
        chrony: Tuple[str, int] = CHRONY,
        ntp: Tuple[str, int] = NTP,
        ask_timesyncd: Optional[Callable[[], Optional[str]]] = None,
    ) -> None:
        self._chrony, self._ntp = chrony, ntp
        self._ask_timesyncd = ask_timesyncd or timesyncd
        self._has_timesyncd = root / "run/systemd/timesync"
        self._timesyncd_due_ms: Optional[int] = None
        self._errand: Optional[Errand[Optional[str]]] = None
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        if self._errand is None:
            self._errand = Errand("time-source", self._question(mono_ms))
        self._errand.wait(QUICK_WAIT_S)
        if not self._errand.is_done:
            return []
        errand, self._errand = self._errand, None
        source = errand.answer()
        batch = Batch(mono_ms, {})
        if source is not None:
            self._lacks.clear()
            batch.add("clk.ntp_source", source)
        elif self._timesyncd_due_ms is None:
            self._lacks["clk.ntp_source"] = "no time daemon answers"
        return batch.samples

    def _question(self, mono_ms: int) -> Callable[[], Optional[str]]:
        may_spawn = self._timesyncd_due_ms is None or mono_ms >= self._timesyncd_due_ms

        def ask() -> Optional[str]:
            for place, question, parse in (
                (self._chrony, CHRONY_TRACKING, parse_chrony),
                (self._ntp, NTP_VARIABLES, parse_ntp_variables),
            ):
                found = _ask(place, question, parse)
                if found is not None:
                    return found
            if not may_spawn or not self._has_timesyncd.is_dir():
                return None
            self._timesyncd_due_ms = mono_ms + TIMEDATECTL_EVERY_MS
            return self._ask_timesyncd()

        return ask


def _ask(place: Tuple[str, int], question: bytes, parse: Callable[[bytes], str]) -> Optional[str]:
    """One question over loopback; None where nobody answers, or not in a language that we know."""
    deadline = Deadline(ANSWER_S)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(place)
            sock.send(question)
            sock.settimeout(deadline.left_s())
            return parse(sock.recv(2048))
    except (OSError, ParseError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None


def timesyncd() -> Optional[str]:
    """The server that systemd-timesyncd follows; None where it cannot be asked."""
    program = next((place for place in _TIMEDATECTL if Path(place).exists()), None)
    if program is None:
        return None
    said = run_program([program, "show-timesync", "--property=ServerAddress", "--value"], TIMEDATECTL_S)
    if not isinstance(said, str):
        return None
    name = said.strip()
    return name if name and name.isprintable() and len(name) <= 100 else UNSYNCED
