"""Drives by what they say of themselves: smartctl through the root-only reader, once an hour, one drive after another.

Asked are drives of the kernel's list that are no picture of the layer below. A sleeping drive is not woken; its last
word stands. One whose reader hangs is a finding by that alone (``agent.reader_hung``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

from agent.privileged import COMMANDS, drives, program_for
from agent.samplers import platform
from agent.samplers.base import Batch, Errand, read_or_none, why
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.smart import Drive, parse_smartctl
from agent.signals.sample import Sample

SIGNALS = ("hw.smart", "hw.smart_health", "hw.nvme_cw")
EVERY_MS = 3_600_000
MAX_DRIVES = 128
_PICTURES = ("QEMU", "VMware", "VBOX", "Msft", "Xen", "Virtual", "Google", "IET", "LIO-ORG")
_NOT_DRIVES = ("loop", "ram", "zram", "sr", "fd", "md", "dm-", "nbd", "zd", "vd", "xvd", "drbd", "mmcblk")


class _Told(NamedTuple):
    """What one drive's question brought."""

    drive: Optional[Drive]
    lack: str
    is_hung: bool


class Drives:
    """Signals hw.smart, hw.smart_health, hw.nvme_cw (by drive), agent.reader_hung (``smart sda``)."""

    name = "drives"
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
        self._host = host or platform.detect(root)
        self._ask = ask
        self._is_installed = is_installed
        self._errand: Optional[Errand[Dict[str, _Told]]] = None
        self._asked_ms: Optional[int] = None
        self._told: Dict[str, _Told] = {}
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        names = own_drives(self._root)[:MAX_DRIVES]
        if self._errand is None and (self._asked_ms is None or mono_ms - self._asked_ms >= EVERY_MS):
            self._asked_ms = mono_ms
            self._begin(names)
        if self._errand is not None and self._errand.is_done:
            told, self._errand = self._errand.answer(), None
            self._take(told)
        # A finding ends when its subject is gone from sweeps: so what was told stands in each, until it is told anew.
        for name in names:
            if name in self._told:
                self._add(batch, name, self._told[name])
        return batch.samples

    def settle(self, seconds: float) -> None:
        """Wait until the drives have answered, at most so long; ``once`` asks for it."""
        if self._errand is not None:
            self._errand.wait(seconds)

    def _begin(self, names: List[str]) -> None:
        reason = self._absence(names)
        if reason:
            self._lacks = dict.fromkeys(SIGNALS, reason)
            return
        ask = self._ask or asker(self._root)
        if isinstance(ask, NoAnswer):
            self._lacks = dict.fromkeys(SIGNALS, ask.why)
            return
        question = ask
        self._errand = Errand("smart", lambda: {name: _look(question, name) for name in names})

    def _absence(self, names: List[str]) -> str:
        if self._host.container:
            return f"container ({self._host.container}): drives are the node's"
        if not names:
            return (
                "no drives of its own"
                if self._host.machine == "bare-metal"
                else f"virtual machine ({self._host.machine}): its disks are pictures of the layer below"
            )
        installed = program_for(COMMANDS["smart"]) if self._is_installed is None else self._is_installed
        return "" if installed else "smartctl is not installed (smartmontools)"

    def _take(self, told: Dict[str, _Told]) -> None:
        for name, one in told.items():
            before = self._told.get(name)
            if one.drive is None and before is not None and before.drive is not None:
                one = one._replace(drive=before.drive)  # asleep or mute: its last word stands
            self._told[name] = one
        reasons = {one.lack for one in self._told.values()}
        is_silent = all(one.drive is None for one in self._told.values())
        reason = "; ".join(sorted(reasons)[:3])
        self._lacks = dict.fromkeys(SIGNALS, reason) if is_silent and reason else {}
        if not is_silent and not any(
            one.drive is not None and one.drive.critical_warning is not None for one in self._told.values()
        ):
            self._lacks["hw.nvme_cw"] = "no NVMe drive here"

    def _add(self, batch: Batch, name: str, told: _Told) -> None:
        batch.add("agent.reader_hung", told.is_hung, f"smart {name}")
        drive = told.drive
        if drive is None:
            return
        batch.add("hw.smart_health", drive.verdict, name)
        if drive.raw:
            # The drive stands in the key: a rule judges each counter of each drive by itself.
            batch.add("hw.smart", {f"{name}:{number}": value for number, value in drive.raw.items()}, name)
        batch.add("hw.nvme_cw", drive.critical_warning, name)


def own_drives(root: Path) -> List[str]:
    """Drives of the kernel's list that are hardware: none of virtio, of a hypervisor's make, or made of other drives."""
    found: List[str] = []
    for name in drives(root):
        if name.startswith(_NOT_DRIVES):
            continue
        about = root / "sys/block" / name / "device"
        make = " ".join((read_or_none(about / file) or "").strip() for file in ("vendor", "model"))
        if not any(picture in make for picture in _PICTURES):
            found.append(name)
    return found


def _look(ask: Ask, name: str) -> _Told:
    answer: Union[str, NoAnswer] = ask(f"smart {name}")
    if isinstance(answer, NoAnswer):
        return _Told(None, answer.why, answer.is_hung)
    try:
        drive = parse_smartctl(answer)
    except ParseError as error:
        reason = "smartctl before 7.0 speaks no JSON" if "JSON" in str(error) else why(error)
        return _Told(None, reason, False)
    if drive.is_asleep:
        return _Told(None, "sleeping drives are not woken", False)
    return _Told(drive, "" if drive.verdict != "na" else "the drive tells no SMART", False)
