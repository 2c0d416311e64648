"""Lines of programs' logs that argue: from the system's log file where we may read it, else from the journal.

A file is followed for the price of a look at its length. The journal costs a process, so it is asked every two minutes,
for warnings and worse only. Lines pass a table of patterns, lose what reads like a secret, and are told at most
LINES_MAX a sweep: a log that storms says the same thing again and again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Optional, Union

from agent.checks.systemctl import Unavailable, run_program
from agent.samplers.base import Batch, Errand, why
from agent.samplers.tail import Tails
from agent.signals.log_lines import ProgramLine, argues, parse_syslog
from agent.signals.parsers.logs import parse_cursor
from agent.signals.sample import Sample

FILES = ("var/log/messages", "var/log/syslog")
JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")
JOURNAL_EVERY_MS = 120_000
JOURNAL_TIMEOUT_S = 10.0
JOURNAL_LINES = 500
LINES_MAX = 20

Answer = Union[str, Unavailable]


class ProgramLog:
    """Signal log, an event: for the host, and with the program as its part."""

    name = "program_log"
    period_s = 10.0

    def __init__(self, root: Path = Path("/"), journal: Optional[Callable[[str], Answer]] = None) -> None:
        self._files = [root / name for name in FILES]
        self._tails = Tails(from_end=True)
        self._journal = journal or ask_journal
        self._cursor = ""
        self._asked_ms: Optional[int] = None
        self._errand: Optional[Errand[Answer]] = None
        self._lacks: Dict[str, str] = {}
        self.passed_over = 0
        """Lines that argued and were too many."""

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        lines = self._from_files()
        if lines is None:
            lines = self._from_journal(mono_ms)
        batch = Batch(mono_ms, {})
        told = list(dict.fromkeys(line for line in map(parse_syslog, lines) if line and argues(line)))
        self.passed_over += max(0, len(told) - LINES_MAX)
        for line in told[-LINES_MAX:]:
            text = _text(line)
            batch.add("log", text)
            batch.add("log", text, line.program)
        return batch.samples

    def _from_files(self) -> Optional[List[str]]:
        """New lines of the first file that we may read; None where there is none."""
        reason = ""
        for file in self._files:
            try:
                text = self._tails.new_text(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = f"/{file.name}: {why(error)}"
                continue
            self._lacks.pop("log", None)
            return text.split("\n")
        self._lacks.setdefault("log", reason or "no log of programs is kept here")
        return None

    def _from_journal(self, mono_ms: int) -> List[str]:
        is_due = self._asked_ms is None or mono_ms - self._asked_ms >= JOURNAL_EVERY_MS
        if self._errand is None and is_due:
            self._asked_ms = mono_ms
            cursor = self._cursor
            self._errand = Errand("journalctl", lambda: self._journal(cursor))
            self._errand.wait(0.2)
        if self._errand is None or not self._errand.is_done:
            return []
        errand, self._errand = self._errand, None
        answer = errand.answer()
        if isinstance(answer, Unavailable):
            self._lacks["log"] = answer.why
            return []
        self._lacks.pop("log", None)
        self._cursor = parse_cursor(answer) or self._cursor
        return answer.split("\n")


def _text(line: ProgramLine) -> str:
    from agent.signals.redact import redact  # its expressions cost memory that most days nobody needs

    return redact(f"{line.program}: {line.text}")


def ask_journal(cursor: str) -> Answer:
    """Warnings and worse of programs since the cursor; without one those of the last quarter of an hour."""
    program = next((place for place in JOURNALCTL if Path(place).exists()), None)
    if program is None:
        return Unavailable("no log of programs is kept here")
    since = f"--after-cursor={cursor}" if cursor else "--since=-15min"
    command = [
        program, "-q", "--no-pager", "--output=short-iso", "--show-cursor", "--priority=warning",
        f"--lines={JOURNAL_LINES}", since,
    ]  # fmt: skip
    return run_program(command, JOURNAL_TIMEOUT_S)
