"""Arrays of a hardware RAID controller: storcli or perccli through the root-only reader, four times an hour.

Linux itself shows nothing of them. Of other makers' controllers, of a missing tool and of ZFS ``lacks`` says that the
state is unknown; it is never taken for good. Software RAID is the disk sampler's (hw.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Union

from agent.privileged import COMMANDS, program_for
from agent.samplers import platform
from agent.samplers.base import Batch, Errand, why
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.raid import ORDER, parse_storcli
from agent.signals.sample import Sample

SIGNAL = "hw.raid"
EVERY_MS = 900_000
ASKED_DRIVER = "megaraid_sas"
OTHER_DRIVERS = ("mpt3sas", "mpt2sas", "hpsa", "smartpqi", "aacraid", "3w-sas", "3w-9xxx", "arcmsr")


class Raid:
    """Signals hw.raid (of each array, and the worst of them) and agent.reader_hung (``raid``)."""

    name = "raid"
    period_s = 60.0

    def __init__(
        self,
        root: Path = Path("/"),
        host: Optional[platform.Platform] = None,
        ask: Optional[Ask] = None,
        *,
        is_installed: Optional[bool] = None,
    ) -> None:
        self._root = root
        self._ask = ask
        self._is_installed = is_installed
        self._by_nature = platform.lacks(host or platform.detect(root), (SIGNAL,)).get(SIGNAL, "")
        self._errand: Optional[Errand[Union[str, NoAnswer]]] = None
        self._asked_ms: Optional[int] = None
        self._is_hung: Optional[bool] = None
        self._arrays: Dict[str, str] = {}
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        if self._errand is None and (self._asked_ms is None or mono_ms - self._asked_ms >= EVERY_MS):
            self._asked_ms = mono_ms
            self._begin()
        if self._errand is not None and self._errand.is_done:
            answer, self._errand = self._errand.answer(), None
            self._take(answer)
        if self._is_hung is not None:
            batch.add("agent.reader_hung", self._is_hung, "raid")
        # The last word stands until the next one: a finding ends when its subject is gone from sweeps.
        for name, word in self._arrays.items():
            batch.add(SIGNAL, word, name)
        if self._arrays:
            batch.add(SIGNAL, max(self._arrays.values(), key=ORDER.index))
        return batch.samples

    def _begin(self) -> None:
        reason = self._by_nature or absence(self._root, self._is_installed)
        ask = self._ask or asker(self._root)
        if reason or isinstance(ask, NoAnswer):
            self._arrays = {}
            self._lacks[SIGNAL] = reason or (ask.why if isinstance(ask, NoAnswer) else "")
            return
        question = ask
        self._errand = Errand("raid", lambda: question("raid"))

    def _take(self, answer: Union[str, NoAnswer]) -> None:
        if isinstance(answer, NoAnswer):
            # What it said last may be long untrue: unknown is shown as unknown.
            self._is_hung, self._arrays = answer.is_hung, {}
            self._lacks[SIGNAL] = answer.why
            return
        self._is_hung = False
        try:
            self._arrays = parse_storcli(answer)
        except ParseError as error:
            self._arrays = {}
            self._lacks[SIGNAL] = why(error)
            return
        self._lacks.pop(SIGNAL, None)
        if not self._arrays:
            self._lacks[SIGNAL] = "the RAID controller has no arrays: its drives are the kernel's own"


def absence(root: Path, is_installed: Optional[bool] = None) -> str:
    """Why no controller can be asked here, "" where one can."""
    drivers = root / "sys/bus/pci/drivers"
    if (drivers / ASKED_DRIVER).exists():
        installed = program_for(COMMANDS["raid"]) if is_installed is None else is_installed
        missing = f"a RAID controller ({ASKED_DRIVER}) is there, but neither storcli nor perccli: its state is unknown"
        return "" if installed else missing
    for driver in OTHER_DRIVERS:
        if (drivers / driver).exists():
            return f"a RAID controller ({driver}) is there, whose tool is not asked: its state is unknown"
    if (root / "proc/spl/kstat/zfs").exists():
        return "ZFS is there, but zpool is not asked: its state is unknown"
    return "no RAID controller that we know (software RAID is hw.md)"
