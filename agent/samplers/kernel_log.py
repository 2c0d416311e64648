"""The kernel's log, read as it grows: /dev/kmsg by sequence numbers, else journalctl by its cursor.

Theory of operation. The ring numbers its records from boot on. We read what is new without waiting, remember the
last number, and never read the ring twice: after a restart within the same boot reading goes on behind the number in
the state file. A jump in the numbers is what the ring dropped before we came: counted (``kmsg.lost``), never guessed.
The state is written one sweep *after* lines were handed on (and once in WRITE_EVERY_MS where the ring moved): a crash
in between tells a line twice, which marks an open finding once more; it never loses one. Without a state file (first
start in this boot) only records of the last LOOK_BACK_MS are told: what happened weeks ago is history.

Where /dev/kmsg may not be read (no CAP_SYSLOG) journalctl is asked once a minute, in a thread. In a container that
shows the node's log, or none, the signal is lacking.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, Callable, Dict, List, NamedTuple, Optional, Union

from agent.checks.systemctl import Unavailable, run_program
from agent.samplers import platform
from agent.samplers.base import Errand, read_or_none, why
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.logs import LogLine, parse_cursor, parse_journal, parse_kmsg
from agent.signals.patterns import DETAIL, KernelWatch
from agent.signals.redact import redact
from agent.signals.sample import Sample

LOOK_BACK_MS = 15 * 60_000
MAX_RECORDS = 20_000
"""Read in one sweep at most; the rest stays in the ring for the next one."""
RECORD_BYTES = 8192
WRITE_EVERY_MS = 3_600_000
JOURNAL_EVERY_MS = 60_000
JOURNAL_TIMEOUT_S = 10.0
JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")

_NUMBER = re.compile(r"-1|[0-9]{1,19}")

Journal = Callable[[str], Union[str, Unavailable]]


class Place(NamedTuple):
    """How far the log was read, in this boot."""

    boot_id: str
    sequence: int = -1
    cursor: str = ""

    def text(self) -> str:
        return f"{self.boot_id} {self.sequence} {self.cursor}\n"

    @staticmethod
    def from_text(text: str, boot_id: str) -> Place:
        """The place, or the beginning where the text is torn or speaks of another boot."""
        fields = text.split()
        if len(fields) < 2 or not boot_id or fields[0] != boot_id or not _NUMBER.fullmatch(fields[1]):
            return Place(boot_id)
        return Place(boot_id, int(fields[1]), fields[2] if len(fields) > 2 else "")


class KernelLog:
    """Signals kmsg (the line; for the host, and with the cause as its part) and kmsg.lost."""

    name = "kernel_log"
    period_s = 5.0

    def __init__(
        self,
        root: Path = Path("/"),
        state: Optional[Path] = None,
        host: Optional[platform.Platform] = None,
        journal: Optional[Journal] = None,
    ) -> None:
        self._path = f"{root / 'dev/kmsg'}"
        self._state = state
        self._journal = journal or ask_journal
        self._watch = KernelWatch()
        self._ring: Optional[BinaryIO] = None
        self._errand: Optional[Errand[Union[str, Unavailable]]] = None
        self._asked_ms: Optional[int] = None
        self._lost = 0
        self._lacks: Dict[str, str] = {}
        self._uses_journal = False
        boot_id = (read_or_none(root / "proc/sys/kernel/random/boot_id") or "").strip()
        self._place = Place.from_text(read_or_none(state) or "" if state else "", boot_id)
        self._is_first = self._place.sequence < 0 and not self._place.cursor
        self._to_write: Optional[Place] = None
        self._written_ms: Optional[int] = None
        container = (host or platform.detect(root)).container
        if container:
            self._lacks["kmsg"] = f"container ({container}): shows the node's log, or none"
        else:
            self._open()

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        """Lines of a known cause that came since the last sweep; the first sweep also tells the last quarter of an hour."""
        self._write_place()
        if self._uses_journal:
            lines = self._from_journal(mono_ms)
        elif self._ring is not None:
            lines = self._from_ring(self._ring.fileno())
        else:
            return []
        samples: List[Sample] = []
        for line in lines:
            at_ms = min(mono_ms, line.at_us // 1000) if line.sequence else mono_ms
            if self._is_first and mono_ms - at_ms > LOOK_BACK_MS:
                continue
            for told in self._watch.take(line.text, at_ms):
                text = redact(told.line)
                if told.match.weight != DETAIL:
                    samples.append(Sample("kmsg", "", text, told.at_ms))
                samples.append(Sample("kmsg", told.match.id, text, told.at_ms))
        if lines:
            is_late = self._written_ms is None or mono_ms - self._written_ms >= WRITE_EVERY_MS
            if samples or self._is_first or is_late:
                self._to_write = self._place
                self._written_ms = mono_ms
            self._is_first = False
        samples.append(Sample("kmsg.lost", "", self._lost, mono_ms))
        return samples

    def _open(self) -> None:
        try:
            # A file object, so that a sampler that new settings replace lets go of the ring.
            self._ring = open(self._path, "rb", buffering=0, opener=_open_without_waiting)  # noqa: SIM115
        except OSError as error:
            if any(Path(place).exists() for place in JOURNALCTL) or self._journal is not ask_journal:
                self._uses_journal = True
            else:
                self._lacks["kmsg"] = f"/dev/kmsg cannot be read ({why(error)}), and there is no journalctl"

    def _from_ring(self, ring: int) -> List[LogLine]:
        lines: List[LogLine] = []
        for _ in range(MAX_RECORDS):
            try:
                record = os.read(ring, RECORD_BYTES)
            except BrokenPipeError:
                continue  # overwritten before we read it: the next record's number says how many
            except BlockingIOError:
                break  # the end of the ring
            except OSError as error:
                self._lacks["kmsg"] = f"/dev/kmsg cannot be read: {why(error)}"
                break
            if not record:
                break
            try:
                line = parse_kmsg(record.decode("utf-8", "replace"))
            except ParseError:
                continue
            if line.sequence <= self._place.sequence:
                continue  # read before a restart
            if self._place.sequence >= 0 and line.sequence > self._place.sequence + 1:
                self._lost += line.sequence - self._place.sequence - 1
            self._place = self._place._replace(sequence=line.sequence)
            lines.append(line)
        return lines

    def _from_journal(self, mono_ms: int) -> List[LogLine]:
        is_due = self._asked_ms is None or mono_ms - self._asked_ms >= JOURNAL_EVERY_MS
        if self._errand is None and is_due:
            self._asked_ms = mono_ms
            cursor = self._place.cursor
            self._errand = Errand("journalctl", lambda: self._journal(cursor))
            self._errand.wait(0.3)
        if self._errand is None or not self._errand.is_done:
            return []
        answer, self._errand = self._errand.answer(), None
        if isinstance(answer, Unavailable):
            self._lacks["kmsg"] = f"/dev/kmsg may not be read, and {answer.why}"
            return []
        try:
            lines = parse_journal(answer)
        except ParseError as error:
            self._lacks["kmsg"] = f"journalctl said something else: {error}"
            return []
        self._lacks.pop("kmsg", None)
        self._place = self._place._replace(cursor=parse_cursor(answer) or self._place.cursor)
        return lines

    def _write_place(self) -> None:
        place, self._to_write = self._to_write, None
        if place is None or self._state is None:
            return
        scratch = self._state.with_name(self._state.name + ".new")
        try:
            scratch.write_text(place.text(), encoding="ascii")
            scratch.replace(self._state)
        except OSError:
            self._to_write = place  # the disk is full or gone: again with the next sweep


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def ask_journal(cursor: str) -> Union[str, Unavailable]:
    """New kernel lines from the journal, with the cursor at the end; without a cursor those of the last minutes."""
    program = next((place for place in JOURNALCTL if Path(place).exists()), None)
    if program is None:
        return Unavailable("journalctl is not installed")
    since = [f"--after-cursor={cursor}"] if cursor else [f"--since=-{LOOK_BACK_MS // 60_000}min"]
    command = [
        program,
        "-k",
        "-q",
        "--no-pager",
        "--output=short-iso",
        "--show-cursor",
        "--lines=2000",
        *since,
    ]
    return run_program(command, JOURNAL_TIMEOUT_S)
