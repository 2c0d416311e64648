"""The management controller's event log: ipmitool through the root-only reader, once an hour, each entry told once.

The number of the last entry that was told is kept on disk. What lay in the log before we came is history; a log
whose numbers have fallen was cleared, so all of it is new. The file is written after the entries were handed on: a
crash in between tells them twice, which marks an open finding once more; it never loses one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Union

from agent.privileged import COMMANDS, program_for
from agent.samplers import platform
from agent.samplers.base import Batch, Errand, read_or_none, why
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.firmware import SelRecord, parse_sel
from agent.signals.sample import Sample

EVERY_MS = 3_600_000
MAX_TOLD = 50
"""Entries told at once; of a flood the newest."""
DEVICES = ("dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0")


class Controller:
    """Signals hw.sel (an event) and agent.reader_hung (``sel``)."""

    name = "controller"
    period_s = 60.0

    def __init__(
        self,
        root: Path = Path("/"),
        state: Optional[Path] = None,
        host: Optional[platform.Platform] = None,
        ask: Optional[Ask] = None,
        *,
        is_installed: Optional[bool] = None,
    ) -> None:
        self._root = root
        self._state = state
        self._ask = ask
        self._is_installed = is_installed
        self._errand: Optional[Errand[Union[str, NoAnswer]]] = None
        self._asked_ms: Optional[int] = None
        self._is_hung: Optional[bool] = None
        self._to_write: Optional[int] = None
        self._last = _number(read_or_none(state) if state is not None else None)
        self._by_nature = platform.lacks(host or platform.detect(root), ("hw.sel",)).get("hw.sel", "")
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        self._write()
        if self._errand is None and (self._asked_ms is None or mono_ms - self._asked_ms >= EVERY_MS):
            self._asked_ms = mono_ms
            self._begin()
        if self._errand is not None and self._errand.is_done:
            answer, self._errand = self._errand.answer(), None
            self._take(batch, answer)
        if self._is_hung is not None:
            batch.add("agent.reader_hung", self._is_hung, "sel")
        return batch.samples

    def _begin(self) -> None:
        reason = self._by_nature or absence(self._root, self._is_installed)
        ask = self._ask or asker(self._root)
        if reason or isinstance(ask, NoAnswer):
            self._lacks["hw.sel"] = reason or (ask.why if isinstance(ask, NoAnswer) else "")
            return
        question = ask
        self._errand = Errand("sel", lambda: question("sel"))

    def _take(self, batch: Batch, answer: Union[str, NoAnswer]) -> None:
        if isinstance(answer, NoAnswer):
            self._is_hung = answer.is_hung
            self._lacks["hw.sel"] = answer.why
            return
        self._is_hung = False
        try:
            records = parse_sel(answer)
        except ParseError as error:
            self._lacks["hw.sel"] = why(error)
            return
        self._lacks.pop("hw.sel", None)
        for record in news(records, self._last)[-MAX_TOLD:]:
            batch.add("hw.sel", record.text)
        newest = max((record.record for record in records), default=0)
        if newest != self._last:
            self._last = self._to_write = newest

    def _write(self) -> None:
        number, self._to_write = self._to_write, None
        if number is None or self._state is None:
            return
        scratch = self._state.with_name(self._state.name + ".new")
        try:
            scratch.write_text(f"{number}\n", encoding="ascii")
            scratch.replace(self._state)
        except OSError:
            self._to_write = number  # the disk is full or gone: again with the next sweep


def absence(root: Path, is_installed: Optional[bool] = None) -> str:
    """Why a management controller cannot be asked here, "" where it can."""
    if not any((root / device).exists() for device in DEVICES):
        return (
            "no management controller (/dev/ipmi0): none built in, or ipmi_si and ipmi_devintf are not loaded"
        )
    installed = program_for(COMMANDS["sel"]) if is_installed is None else is_installed
    return "" if installed else "ipmitool is not installed"


def news(records: List[SelRecord], last: Optional[int]) -> List[SelRecord]:
    """Entries behind the last one that was told; none at the first look, all where the log was cleared meanwhile."""
    if last is None:
        return []
    if max((record.record for record in records), default=0) < last:
        return records
    return [record for record in records if record.record > last]


def _number(text: Optional[str]) -> Optional[int]:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
