"""The witness: keeps the black box, and after a boot tells from what was left behind how the boot before ended.

Told once for each boot (the black box remembers): boot.* and the account (host.gap), together in one sweep, so that a
finding about the boot has them all. Where this agent never saw an earlier boot, only the kernel's name is told: nobody
was there to say what the boot before was.

Files, journal and root-only questions are read in one thread, and the black box is written in another: a disk that
hangs costs two threads and no heartbeat.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

from agent.blackbox import NOTHING, BlackBox, Record
from agent.checks.systemctl import Unavailable, run_program
from agent.forensics import BootSigns, of_boot, of_start, sample_of
from agent.host import boot_id, first_process_ticks
from agent.samplers import controller, platform
from agent.samplers.base import Batch, Errand, LoopNotes, read_or_none, why
from agent.samplers.cpu import TICKS_PER_S
from agent.samplers.disk import whole_devices
from agent.samplers.kernel_log import JOURNALCTL
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.signals.parsers.diskstats import parse_diskstats
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.firmware import parse_restart_cause
from agent.signals.parsers.logs import LogLine, parse_journal
from agent.signals.parsers.wtmp import RECORD_BYTES, last_boot, parse_wtmp
from agent.signals.sample import Sample
from config.clock import Clock, SystemClock

BEAT_MS = 60_000
SUSPICIOUS_BEAT_MS = 30_000
"""A record costs the disk up to two blocks of 4 KiB, its own and the inode's: 16 KiB a minute of the budget's 20. Every 10 s,
as signals.md 5 has it, would be over it, and so was every 15 s."""
SUSPICIOUS_FOR_MS = 15 * 60_000
"""What has been suspicious for longer is no news: the disk is written as seldom as before."""
LAST_LINES = 40
WORDS_KEPT = 15
JOURNAL_TIMEOUT_S = 10.0
WTMP_BYTES = 4096 * RECORD_BYTES
CRASH_AGE_S = 86_400
"""A kernel's log that was left more than a day before the last sign of life belongs to an earlier end."""
BOOT_SLACK_S = 12 * 3600
"""A boot record may be off by a time zone: the hardware clock is read before the zone is known."""
ORDER_AGE_MS = 15 * 60_000
"""An order to go down that is older than this was not the one that was followed."""
SIGNALS = ("boot.wtmp_shutdown", "boot.pstore", "boot.fs_recovery", "boot.restart_cause", "boot.kernel")

Journal = Any
"""(options) -> text or Unavailable; a function, so that tests read a text of their own."""


class _Found(NamedTuple):
    """What the look back brought."""

    samples: List[Sample]
    words: List[Dict[str, Any]]
    lacks: Dict[str, str]


class Witness:
    """Signals boot.* and host.gap; without a state file (``once``) it keeps and tells nothing."""

    name = "witness"
    period_s = 5.0

    def __init__(
        self,
        root: Path = Path("/"),
        state: Optional[Path] = None,
        notes: Optional[LoopNotes] = None,
        host: Optional[platform.Platform] = None,
        *,
        clock: Optional[Clock] = None,
        ask: Optional[Ask] = None,
        journal: Optional[Journal] = None,
    ) -> None:
        self._root = root
        self._notes = notes or LoopNotes()
        self._host = host or platform.detect(root)
        self._clock = clock or SystemClock()
        self._ask = ask
        self._journal = journal or read_journal
        self._box = BlackBox(state) if state is not None else None
        self._boot_id = boot_id(root)
        self._look: Optional[Errand[_Found]] = None
        self._is_told = self._box is None or self._notes.is_accounted
        self._writing: Optional[Errand[None]] = None
        self._wrote_ms: Optional[int] = None
        self._suspicious_since_ms: Optional[int] = None
        self._kind_due = ""
        self._lacks = platform.lacks(self._host, SIGNALS)
        self._notes.goodbye = self.goodbye

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        if self._box is None:
            return []
        found = self._told(mono_ms)
        self._beat(mono_ms)
        return found

    def goodbye(self, reason: str) -> None:
        """The last record of this run, within a moment or not at all: the host may be going down."""
        if self._box is not None and (self._writing is None or self._writing.is_done):
            record = self._record(reason)
            box = self._box
            Errand("black box", lambda: box.write(record)).wait(1.0)

    # --- the account -------------------------------------------------------------------------------------------------

    def _told(self, mono_ms: int) -> List[Sample]:
        if self._is_told:
            return []
        if self._look is None:
            self._look = Errand("witness", self._look_back)
            self._look.wait(0.2)
        if not self._look.is_done:
            return []
        found, self._look, self._is_told = self._look.answer(), None, True
        self._notes.is_accounted = True
        self._lacks.update(found.lacks)
        self._notes.last_words = found.words
        # Written with the next beat, when the samples have been taken: a crash in between tells the account twice.
        self._kind_due = "accounted"
        return [sample._replace(at_ms=min(mono_ms, sample.at_ms)) for sample in found.samples]

    def _look_back(self) -> _Found:
        assert self._box is not None
        records = self._box.read()
        mine = [record for record in records if record.boot_id == self._boot_id]
        earlier = next((r for r in reversed(records) if r.boot_id != self._boot_id), None)
        if any(record.kind == "accounted" for record in mine):
            account = of_start(mine[-1], self._clock.now_ms())
            told = [] if account is None else [sample_of(account, self._clock.mono_ms())]
            return _Found(
                [Sample("boot.kernel", "", self._host.kernel, self._clock.mono_ms()), *told], [], {}
            )
        if earlier is None:
            return _Found([Sample("boot.kernel", "", self._host.kernel, self._clock.mono_ms())], [], {})
        return self._boot_found(earlier)

    def _boot_found(self, earlier: Record) -> _Found:
        lacks: Dict[str, str] = {}
        # Loaded once in a boot's life: every other start of the agent does without them.
        from agent.evidence import redact
        from agent.signals.parsers.boots import ending_of

        born_ms = born_mono_ms(self._root)
        booted_ms = self._clock.now_ms() - (self._clock.mono_ms() - born_ms)
        lines = self._last_lines(booted_ms)
        ending = ending_of(line.text for line in lines)
        orders = ending.orders or self._orders(booted_ms)
        signs = BootSigns(
            booted_ms,
            self._host.kernel,
            earlier,
            wtmp_shutdown=self._wtmp(earlier, lacks),
            ended_in_order=ending.is_orderly if lines else None,
            orders=[redact(order) for order in orders],
            panic=self._panic(earlier, lacks),
            fs_recovery=self._fs_recovery(lacks),
            restart_cause=self._restart_cause(lacks),
        )
        batch = Batch(born_ms, {})
        batch.add(
            "boot.pstore", signs.panic or ("none" if "boot.pstore" not in self._all_lacks(lacks) else None)
        )
        batch.add("boot.fs_recovery", signs.fs_recovery)
        batch.add("boot.restart_cause", signs.restart_cause or None)
        batch.add("boot.kernel", signs.kernel or None)
        batch.samples.append(sample_of(of_boot(signs), born_ms))
        was_shut = signs.was_shut_down()
        if was_shut is None:
            lacks["boot.wtmp_shutdown"] = "neither wtmp nor the logs reach back to the boot before"
        else:
            lacks.pop("boot.wtmp_shutdown", None)
        batch.add("boot.wtmp_shutdown", was_shut)
        words = [
            {"at_ms": line.at_us // 1000, "source": "last boot", "text": redact(line.text)}
            for line in lines[-WORDS_KEPT:]
        ]
        return _Found(batch.samples, words, lacks)

    def _all_lacks(self, lacks: Dict[str, str]) -> Dict[str, str]:
        return {**platform.lacks(self._host, SIGNALS), **lacks}

    def _asked(self, question: str) -> Union[str, NoAnswer]:
        ask = self._ask or asker(self._root)
        return ask if isinstance(ask, NoAnswer) else ask(question)

    def _last_lines(self, booted_ms: int) -> List[LogLine]:
        """Of the boot before: the journal's where it outlives a boot, else those of syslog's file."""
        text = self._journal(["--boot=-1", f"--lines={LAST_LINES}"])
        if isinstance(text, str):
            try:
                lines = parse_journal(text)
                if lines:
                    return lines[-LAST_LINES:]
            except ParseError:
                pass  # an old journalctl's stamp: syslog's file is asked instead
        return self._syslog("messages", booted_ms)

    def _orders(self, booted_ms: int) -> List[str]:
        """Who asked for it by sudo or a key, where that stands in a log of its own (CentOS)."""
        from agent.signals.parsers.boots import ending_of

        lines = self._syslog("secure", booted_ms)
        return ending_of(line.text for line in lines if line.at_us // 1000 >= booted_ms - ORDER_AGE_MS).orders

    def _syslog(self, question: str, booted_ms: int) -> List[LogLine]:
        """The last lines of a file of syslog's that were written before the boot."""
        from agent.signals.parsers.boots import syslog_before

        answer = self._asked(question)
        if isinstance(answer, NoAnswer):
            return []
        now_s = self._clock.now_ms() / 1000.0
        local = dt.datetime.fromtimestamp(now_s, dt.timezone.utc).astimezone().tzinfo or dt.timezone.utc
        return syslog_before(answer, booted_ms / 1000.0, now_s, local, LAST_LINES)

    def _wtmp(self, earlier: Record, lacks: Dict[str, str]) -> Optional[bool]:
        try:
            with open(self._root / "var/log/wtmp", "rb") as stream:
                stream.seek(0, 2)
                size = stream.tell()
                stream.seek(max(0, (size - WTMP_BYTES) // RECORD_BYTES * RECORD_BYTES))
                boot, was_shut = last_boot(parse_wtmp(stream.read()))
        except (OSError, ParseError) as error:
            lacks["boot.wtmp_shutdown"] = f"/var/log/wtmp: {why(error)}"
            return None
        if boot is None or boot.at_s < earlier.wall_ms // 1000 - BOOT_SLACK_S:
            return None  # this boot was not written down
        return was_shut

    def _panic(self, earlier: Record, lacks: Dict[str, str]) -> str:
        from agent.signals.parsers.boots import panic_in

        if "boot.pstore" in platform.lacks(self._host, ("boot.pstore",)):
            return ""
        answer = self._asked("crashes")
        if isinstance(answer, NoAnswer):
            lacks["boot.pstore"] = answer.why
            return ""
        try:
            found = [(int(one["at_s"]), str(one["path"]), str(one["text"])) for one in json.loads(answer)]
        except (ValueError, KeyError, TypeError):
            lacks["boot.pstore"] = "the root-only reader said something else"
            return ""
        for at_s, path, text in found:
            said = panic_in(text) if at_s >= earlier.wall_ms // 1000 - CRASH_AGE_S else ""
            if said:
                return f"{'vmcore' if 'crash' in path else 'pstore'}: {said}"[:300]
        return ""

    def _fs_recovery(self, lacks: Dict[str, str]) -> Optional[bool]:
        from agent.signals.parsers.boots import is_replayed

        if "boot.fs_recovery" in platform.lacks(self._host, ("boot.fs_recovery",)):
            return None
        text = self._journal(["--dmesg", "--lines=5000"])
        if isinstance(text, Unavailable):
            lacks["boot.fs_recovery"] = text.why
            return None
        try:
            lines = parse_journal(text)
        except ParseError as error:
            lacks["boot.fs_recovery"] = why(error)
            return None
        if not lines:
            lacks["boot.fs_recovery"] = "the journal holds no kernel lines of this boot"
            return None
        return is_replayed(line.text for line in lines)

    def _restart_cause(self, lacks: Dict[str, str]) -> str:
        if "boot.restart_cause" in platform.lacks(self._host, ("boot.restart_cause",)):
            return ""
        reason = controller.absence(self._root, True if self._ask else None)
        answer = NoAnswer(reason) if reason else self._asked("restart_cause")
        if isinstance(answer, NoAnswer):
            lacks["boot.restart_cause"] = answer.why
            return ""
        try:
            return parse_restart_cause(answer)
        except ParseError as error:
            lacks["boot.restart_cause"] = why(error)
            return ""

    # --- the black box ---------------------------------------------------------------------------------------------

    def _beat(self, mono_ms: int) -> None:
        if not self._is_told or (self._writing is not None and not self._writing.is_done):
            return  # the box is read before it is written; and a write that hangs is not followed by another
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                writing.answer()
                self._lacks.pop("host.gap", None)
            except OSError as error:
                self._lacks["host.gap"] = f"the black box cannot be written: {why(error)}"
        is_suspicious = self._notes.is_suspicious
        if not is_suspicious:
            self._suspicious_since_ms = None
        elif self._suspicious_since_ms is None:
            self._suspicious_since_ms = mono_ms
        since = self._suspicious_since_ms
        is_news = since is not None and mono_ms - since < SUSPICIOUS_FOR_MS
        every_ms = SUSPICIOUS_BEAT_MS if is_news else BEAT_MS
        if self._wrote_ms is not None and mono_ms - self._wrote_ms < every_ms and not self._kind_due:
            return
        kind, self._kind_due = self._kind_due or "beat", ""
        self._wrote_ms = mono_ms
        record = self._record(kind)
        box = self._box
        assert box is not None
        self._writing = Errand("black box", lambda: box.write(record))

    def _record(self, kind: str) -> Record:
        def number(signal: str) -> float:
            value = self._notes.newest(signal)
            return float(value) if isinstance(value, (int, float)) else NOTHING

        return Record(
            self._clock.now_ms(),
            self._clock.mono_ms(),
            self._clock.boottime_ms(),
            self._boot_id,
            kind,
            number("load.per_cpu"),
            number("mem.avail_pct"),
            number("cpu.steal_pct"),
            number("psi.io_full60"),
            in_flight(self._root),
            int(number("net.ladder")),
        )


def in_flight(root: Path) -> int:
    """Requests that all disks have under way; -1 where nobody tells."""
    try:
        return sum(
            d.in_flight for d in whole_devices(parse_diskstats(read_or_none(root / "proc/diskstats") or ""))
        )
    except ParseError:
        return -1


def born_mono_ms(root: Path) -> int:
    """When process 1 began, on the monotonic clock: 0 on a machine of its own, later in a container."""
    return first_process_ticks(root) * 1000 // TICKS_PER_S


def read_journal(options: List[str]) -> Union[str, Unavailable]:
    """journalctl's lines with these options, without a pager and without waiting for long."""
    program = next((place for place in JOURNALCTL if Path(place).exists()), None)
    if program is None:
        return Unavailable("journalctl is not installed")
    return run_program([program, "--quiet", "--no-pager", "--output=short-iso", *options], JOURNAL_TIMEOUT_S)
