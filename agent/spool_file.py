"""The spool's file format: records, and the state that they add up to. ``agent.spool`` says what may be in them."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from agent.wire import FindingChange, change_from_dict

MAX_RECORD_BYTES = 256 * 1024
"""A change with 16 KiB of evidence is a tenth of this; a longer length in a header is damage, not a record."""

_HEADER = struct.Struct(">II")

Key = Tuple[str, str]


class Entry(NamedTuple):
    """Where an unconfirmed change lies in the file. The change itself is not kept in memory."""

    n: int
    kind: str
    offset: int
    length: int
    is_slim: bool


@dataclasses.dataclass
class State:
    """What the records of a file add up to."""

    stream: str
    next_n: int = 1
    want_n: int = 1
    dropped: int = 0
    entries: List[Entry] = dataclasses.field(default_factory=list)
    openings: Dict[Key, FindingChange] = dataclasses.field(default_factory=dict)
    """Open findings by (rule, subject): the opening, without evidence."""
    newest_ms: Dict[Key, int] = dataclasses.field(default_factory=dict)
    """Wall clock of the newest change of each of those, its opening among them."""


def read_state(path: Path) -> Tuple[Optional[State], int, int]:
    """The state that the file's valid records add up to, where they end, and how long the file is."""
    content = path.read_bytes()
    state: Optional[State] = None
    offset = 0
    while offset + _HEADER.size <= len(content):
        length, _ = _HEADER.unpack_from(content, offset)
        if length > MAX_RECORD_BYTES:
            break
        body = body_of(content[offset : offset + _HEADER.size + length])
        if body is None:
            break
        try:
            state = _apply(state, body, offset, _HEADER.size + length)
        except (KeyError, TypeError, ValueError):
            break  # a valid checksum over what is no record of ours: written by something else
        offset += _HEADER.size + length
    return state, offset, len(content)


def _apply(state: Optional[State], body: Dict[str, Any], offset: int, length: int) -> State:
    kind = body["t"]
    if state is None or kind == "head":
        if kind != "head" or state is not None:
            raise ValueError("a spool begins with its head, once")
        return State(str(body["stream"]), int(body["next_n"]), int(body["want_n"]), int(body["dropped"]))
    if kind == "ack":
        state.want_n = int(body["n"])
        state.entries = [entry for entry in state.entries if entry.n >= state.want_n]
        return state
    change = change_from_dict(body["c"])
    if kind == "open":
        state.openings[(change.rule, change.subject)] = change
        state.newest_ms[(change.rule, change.subject)] = int(body.get("newest_ms", change.at_ms))
    elif kind == "change":
        state.entries.append(Entry(change.n, change.kind, offset, length, is_slim_change(change)))
        state.next_n = max(state.next_n, change.n + 1)
        open_or_close(state, change)
    return state


def open_or_close(state: State, change: FindingChange) -> None:
    key = (change.rule, change.subject)
    if change.kind == "opened":
        state.openings[key] = dataclasses.replace(change, evidence=None)
        state.newest_ms[key] = change.at_ms
    elif change.kind == "closed":
        state.openings.pop(key, None)
        state.newest_ms.pop(key, None)
    elif key in state.openings:
        state.openings[key] = dataclasses.replace(state.openings[key], severity=change.severity)
        state.newest_ms[key] = max(state.newest_ms[key], change.at_ms)


def slim(change: FindingChange) -> FindingChange:
    return dataclasses.replace(change, facts={}, evidence=None)


def is_slim_change(change: FindingChange) -> bool:
    return not change.facts and change.evidence is None


def record_of(body: Dict[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    raw = text.encode("utf-8", errors="replace")
    length = struct.pack(">I", len(raw))
    return length + struct.pack(">I", zlib.crc32(length + raw)) + raw


def body_of(record: bytes) -> Optional[Dict[str, Any]]:
    """The body of one whole record, or None when it is torn or damaged."""
    if len(record) < _HEADER.size:
        return None
    length, crc = _HEADER.unpack_from(record)
    raw = record[_HEADER.size :]
    if len(raw) != length or zlib.crc32(record[:4] + raw) != crc:
        return None
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
