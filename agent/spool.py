"""The finding stream on disk: what the collector has not confirmed, what is open, and how the stream is numbered.

One append-only file of records: length (4 bytes), CRC32 over length and body (4 bytes), body as JSON. Kinds of body:

    {"t": "head", stream, next_n, want_n, dropped}    first record; a compacted file begins with the state of the day
    {"t": "open", "c": opening without evidence}      an open finding whose opening was confirmed and deleted
    {"t": "change", "c": change}                      appended with fsync, before anything is sent
    {"t": "ack", "n": want_n}                         not synced: a lost one means a repeat, which the collector drops

Laws, each proved in tests/unit/agent/core/test_spool.py:

- A change that ``append`` returned is on disk. A torn, truncated or corrupt tail costs at most what lies behind it,
  and never the start; a file that is no spool at all is moved aside and a new stream begins.
- Numbers are without gaps, and no number ever means two changes to the collector. After a start we cannot know how
  far it got (a lost tail, a restored disk image), so until its first reply nothing numbered in this run is sent
  (``batch`` is empty). A reply that wants more than we ever numbered, or less than we still have, means that the
  stream does not fit: we *fork* to a new one, announce what is open again with its original time, and bring along
  what the old one cannot have delivered.
- Writing costs bytes only when a finding changes. The file is compacted (new file, fsync, rename, fsync of the
  folder) when most of it is dead.
- The bound: above 80 % of ``max_bytes`` further ``changed`` are refused; to make room, the oldest ``changed`` are
  folded to a bare line (their number must stay, since the collector takes only the next), then the oldest openings
  lose their evidence. Openings and closings are never dropped; one that does not even fit then stays with the
  caller (``SpoolFull``), who holds it in memory and says so. The same on ENOSPC (``OSError``).

One thread only; the sender never sees this file.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from agent.spool_file import (
    MAX_RECORD_BYTES,
    Entry,
    State,
    body_of,
    is_slim_change,
    open_or_close,
    read_state,
    record_of,
    slim,
    sync_folder,
)
from agent.wire import MAX_FINDINGS, FindingChange, change_from_dict, change_to_dict

NAME = "spool.log"
COMPACT_BYTES = 128 * 1024
"""Dead bytes below this are not worth a rewrite."""
CHANGED_SHARE = 0.8


class SpoolFull(Exception):
    """No room within the bound, even after folding. The caller keeps the change and tries again."""


class Spool:
    """The stream. ``Spool.open`` never fails for what the file holds; only for what the folder forbids (OSError)."""

    def __init__(self, path: Path, state: State, end: int, new_id: Callable[[], str], max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.notes: List[str] = []
        """What was found wrong at the start, in words."""
        self.refused = 0
        self._state = state
        self._end = end
        self._new_id = new_id
        self._file = -1
        self._fresh_n = state.next_n
        """Changes from here on were numbered in this run."""
        self._is_sure = False
        self._low_replies = 0
        self._is_unwritten = False
        """The file on disk is not yet what memory holds: rewrite before the next append."""

    @classmethod
    def open(cls, folder: Path, *, new_id: Callable[[], str], max_bytes: int) -> Spool:
        """Read what is there, keep every valid record, and be ready to append."""
        path = folder / NAME
        notes: List[str] = []
        state: Optional[State] = None
        end, size = 0, 0
        if path.exists():
            state, end, size = read_state(path)
            if state is None and size > 0:
                aside = path.with_name(NAME + ".damaged")
                path.replace(aside)
                notes.append(
                    f"spool is no spool ({size} bytes); moved aside to {aside.name}, a new stream begins"
                )
            elif end < size:
                notes.append(
                    f"spool tail lost: {size - end} of {size} bytes are not records and were cut off"
                )
        is_new = state is None
        spool = cls(path, state or State(new_id()), end, new_id, max_bytes)
        spool.notes = notes
        if is_new or end < size:
            try:
                spool._rewrite()
            except OSError as error:
                # A full disk is no reason not to start: the file is made when there is room, findings wait till then.
                spool.notes.append(f"spool cannot be written yet: {error.strerror or error}")
                spool._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                spool._is_unwritten = True
        else:
            spool._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return spool

    @property
    def stream(self) -> str:
        """Random id of this spool's numbering."""
        return self._state.stream

    @property
    def next_n(self) -> int:
        """The number that the next change gets."""
        return self._state.next_n

    @property
    def depth(self) -> int:
        """Changes that the collector has not confirmed."""
        return len(self._state.entries)

    @property
    def dropped(self) -> int:
        """Changes folded or shed of their evidence for want of room, since the stream began."""
        return self._state.dropped

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._end

    @property
    def live_bytes(self) -> int:
        """Bytes of the unconfirmed changes: what the bound counts."""
        return sum(entry.length for entry in self._state.entries)

    @property
    def is_sure(self) -> bool:
        """Whether the collector has answered in this run, so that its place in the stream is known."""
        return self._is_sure

    def open_findings(self) -> List[FindingChange]:
        """Openings of what is open, without evidence."""
        return list(self._state.openings.values())

    def newest_ms(self, opening: FindingChange) -> int:
        """Wall clock of what was told last of this open finding."""
        return self._state.newest_ms.get((opening.rule, opening.subject), opening.at_ms)

    def is_open(self, rule: str, subject: str) -> bool:
        """Whether an opening of this finding stands in the stream without its closing."""
        return (rule, subject) in self._state.openings

    def append(self, change: FindingChange) -> Optional[FindingChange]:
        """Number the change and write it durably. None when it says nothing new (closing what is not open, a
        ``changed`` past the share). Raises SpoolFull or OSError, and then the file is as before."""
        state = self._state
        key = (change.rule, change.subject)
        opening = state.openings.get(key)
        if (change.kind == "opened") == (opening is not None):
            return None
        opening_n = opening.n if opening is not None else state.next_n
        numbered = dataclasses.replace(change, n=state.next_n, opening_n=opening_n)
        record = record_of({"t": "change", "c": change_to_dict(numbered)})
        if len(record) > MAX_RECORD_BYTES:
            numbered = dataclasses.replace(numbered, evidence=None, facts={})
            record = record_of({"t": "change", "c": change_to_dict(numbered)})
            state.dropped += 1
        if change.kind == "changed" and self.live_bytes + len(record) > CHANGED_SHARE * self.max_bytes:
            state.dropped += 1
            return None
        if self._is_unwritten:
            self._rewrite()
        self._make_room(len(record))
        offset = self._write(record, sync=True)
        state.entries.append(Entry(numbered.n, numbered.kind, offset, len(record), is_slim_change(numbered)))
        state.next_n += 1
        open_or_close(state, numbered)
        return numbered

    def batch(self, max_findings: int = MAX_FINDINGS, max_bytes: int = 512 * 1024) -> List[FindingChange]:
        """The oldest unconfirmed changes, in order, at least one if there is one; empty until the first reply."""
        if not self._is_sure:
            return []
        changes: List[FindingChange] = []
        size = 0
        for entry in self._state.entries[:max_findings]:
            size += entry.length
            if changes and size > max_bytes:
                break
            changes.append(self._change_at(entry))
        return changes

    def acknowledge(self, want_n: int) -> bool:
        """The collector holds everything below ``want_n`` durably: forget it. True when the stream was forked."""
        state = self._state
        known_n = state.next_n if self._is_sure else self._fresh_n
        if want_n > known_n:
            # It holds changes under our numbers that we do not know of: a lost tail or a restored image.
            self._fork(0 if self._is_sure else self._fresh_n)
            return True
        first_n = state.entries[0].n if state.entries else state.next_n
        if want_n < first_n:
            # It wants what we deleted on its word: it was restored or replaced. One such reply may be a stray.
            self._low_replies += 1
            if self._low_replies < 2:
                return False
            self._fork(0)
            return True
        self._low_replies = 0
        self._is_sure = True
        if want_n > state.want_n:
            state.want_n = want_n
            state.entries = [entry for entry in state.entries if entry.n >= want_n]
            self._note_ack(want_n)
        return False

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _note_ack(self, want_n: int) -> None:
        dead = self._end - self.live_bytes
        try:
            if self._is_unwritten or (dead > COMPACT_BYTES and dead > self.live_bytes):
                self._rewrite()
            else:
                self._write(record_of({"t": "ack", "n": want_n}), sync=False)
        except OSError:
            # The confirmation is not lost for this run; after a restart we repeat, and the collector drops repeats.
            self.refused += 1

    def _make_room(self, need: int) -> None:
        over = self.live_bytes + need - self.max_bytes
        if over > 0:
            for kind in ("changed", "opened", "closed"):
                over -= self._fold(kind, over)
                if over <= 0:
                    break
            self._rewrite()
            if self.live_bytes + need > self.max_bytes:
                self.refused += 1
                raise SpoolFull(f"{self.depth} findings wait in {self.max_bytes} bytes")
        elif self._end + need > 2 * self.max_bytes:
            self._rewrite()

    def _fold(self, kind: str, over: int) -> int:
        """Mark the oldest of ``kind`` to lose facts and evidence at the next rewrite; bytes won."""
        won = 0
        for i, entry in enumerate(self._state.entries):
            if won >= over:
                break
            if entry.kind != kind or entry.is_slim:
                continue
            bare = record_of({"t": "change", "c": change_to_dict(slim(self._change_at(entry)))})
            if len(bare) < entry.length:
                won += entry.length - len(bare)
                self._state.entries[i] = entry._replace(is_slim=True)
                self._state.dropped += 1
        return won

    def _fork(self, retained_from_n: int) -> None:
        """Begin a new stream with what the old one cannot have delivered, behind fresh openings of what it was about."""
        old = self._state
        retained = [self._change_at(entry) for entry in old.entries if entry.n >= retained_from_n]
        opened_here = {change.n for change in retained if change.kind == "opened"}
        new = State(self._new_id(), dropped=old.dropped)
        changes: List[FindingChange] = []
        number: Dict[int, int] = {}
        orphans: Dict[int, FindingChange] = {
            opening.n: opening for opening in old.openings.values() if opening.n not in opened_here
        }
        for change in retained:
            if (
                change.kind != "opened"
                and change.opening_n not in opened_here
                and change.opening_n not in orphans
            ):
                # It was opened on the old stream and closed since: say both again, the collector joins them.
                orphans[change.opening_n] = dataclasses.replace(slim(change), kind="opened", reason="", n=0)
        for change in [*orphans.values(), *retained]:
            n = len(changes) + 1
            if change.kind == "opened":
                number[change.n if change.n in opened_here else change.opening_n] = n
            opening_n = n if change.kind == "opened" else number[change.opening_n]
            changes.append(dataclasses.replace(change, n=n, opening_n=opening_n))
        new.next_n = len(changes) + 1
        for change in changes:
            open_or_close(new, change)
        self._state = new
        try:
            self._rewrite(changes)
        except OSError:
            self._state = old  # the next reply says the same again, and we try again
            raise
        self._fresh_n = 1
        self._is_sure = False
        self._low_replies = 0

    def _change_at(self, entry: Entry) -> FindingChange:
        body = body_of(os.pread(self._file, entry.length, entry.offset))
        if body is None:
            raise OSError(5, f"spool record {entry.n} cannot be read back")
        change = change_from_dict(body["c"])
        return slim(change) if entry.is_slim else change

    def _write(self, record: bytes, *, sync: bool) -> int:
        """Put the record at the end of what is valid; on failure the file is cut back to there."""
        offset = self._end
        try:
            written = 0
            while written < len(record):
                written += os.pwrite(self._file, record[written:], offset + written)
            if sync:
                os.fsync(self._file)
        except OSError:
            try:
                os.ftruncate(self._file, offset)
            except OSError:
                self.refused += (
                    1  # the next write goes to the same place, and the reader stops at a torn record
                )
            raise
        self._end = offset + len(record)
        return offset

    def _rewrite(self, changes: Optional[Sequence[FindingChange]] = None) -> None:
        """Write state and unconfirmed changes to a new file and put it in the old one's place; atomic."""
        state = self._state
        told = changes if changes is not None else [self._change_at(entry) for entry in state.entries]
        first_n = told[0].n if told else state.next_n
        head = {
            "t": "head",
            "stream": state.stream,
            "next_n": state.next_n,
            "want_n": first_n,
            "dropped": state.dropped,
        }
        records = [record_of(head)]
        known = {change.n for change in told if change.kind == "opened"}
        for opening in state.openings.values():
            if opening.n not in known:
                body = {"t": "open", "c": change_to_dict(opening), "newest_ms": self.newest_ms(opening)}
                records.append(record_of(body))
        offset = sum(map(len, records))
        entries = []
        for change in told:
            record = record_of({"t": "change", "c": change_to_dict(change)})
            entries.append(Entry(change.n, change.kind, offset, len(record), is_slim_change(change)))
            records.append(record)
            offset += len(record)
        fresh = self.path.with_name(NAME + ".new")
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            content = b"".join(records)
            written = 0
            while written < len(content):
                written += os.write(handle, content[written:])
            os.fsync(handle)
            fresh.replace(self.path)
            sync_folder(self.path.parent)
        except OSError:
            os.close(handle)
            raise
        self.close()
        self._file, self._end = handle, offset
        self._is_unwritten = False
        state.entries, state.want_n = entries, first_n
