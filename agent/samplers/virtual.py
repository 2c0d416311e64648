"""Virtualization seen from both ends: the guests of a libvirt host, an OpenVZ container's limits, VMware's own word.

What a guest is told here is decisive (a limit that fell, a balloon, memory that the hypervisor swapped out), and none
of it stands in /proc/meminfo. Commands and root-only files are asked in a thread, once a minute.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional, Union

from agent.checks.systemctl import Unavailable, run_program
from agent.privileged import COMMANDS, program_for
from agent.samplers import platform
from agent.samplers.base import MIB, Batch, Errand, read_or_none, why
from agent.samplers.root_only import Ask, NoAnswer, asker
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.virtual import (
    PAGE_BYTES,
    UNLIMITED,
    Beancounter,
    parse_beancounters,
    parse_domstats,
    parse_toolbox_mb,
)
from agent.signals.sample import Sample

UBC = ("ubc.failcnt", "ubc.limit_mb", "ubc.held_mb")
VMWARE = ("mem.balloon_mb", "mem.hypervisor_swap_mb")
TOOLBOX = ("/usr/bin/vmware-toolbox-cmd", "/bin/vmware-toolbox-cmd")
TOOLBOX_TIMEOUT_S = 5.0
LIBVIRT = ("run/libvirt/libvirt-sock-ro", "var/run/libvirt/libvirt-sock-ro", "run/libvirt/virtqemud-sock-ro")
BEANCOUNTERS = "proc/user_beancounters"

Said = Union[str, NoAnswer]


class Virtual:
    """Signals virt.dom, ubc.failcnt, ubc.limit_mb, ubc.held_mb, and of VMware mem.balloon_mb, mem.hypervisor_swap_mb."""

    name = "virtual"
    period_s = 60.0

    def __init__(
        self,
        root: Path = Path("/"),
        host: Optional[platform.Platform] = None,
        ask: Optional[Ask] = None,
        toolbox: Optional[Ask] = None,
    ) -> None:
        self._root = root
        self._host = host or platform.detect(root)
        self._ask = ask
        self._toolbox = toolbox
        self._errand: Optional[Errand[Dict[str, Said]]] = None
        self._failures: Optional[Dict[str, int]] = None
        self._lacks: Dict[str, str] = {}
        self._hung: Dict[str, bool] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        if self._errand is None:
            self._begin()
        if self._errand is not None and self._errand.wait(0.1):
            said, self._errand = self._errand.answer(), None
            for question, answer in said.items():
                self._take(batch, question, answer)
        for question, is_hung in self._hung.items():
            batch.add("agent.reader_hung", is_hung, question)
        return batch.samples

    def _begin(self) -> None:
        calls: Dict[str, Ask] = {}
        ask = self._ask or asker(self._root)
        if any((self._root / place).exists() for place in LIBVIRT) and program_for(COMMANDS["domains"]):
            self._want(calls, "domains", ask, ("virt.dom",))
        else:
            self._lacks["virt.dom"] = "no libvirt here"
        if self._host.container == "openvz":
            text = read_or_none(self._root / BEANCOUNTERS)
            if text:
                calls["beancounters"] = lambda question: text
            else:
                self._want(calls, "beancounters", ask, UBC)
        else:
            self._lacks.update(dict.fromkeys(UBC, "no OpenVZ container"))
        if self._host.machine == "vmware":
            calls["balloon"] = calls["swap"] = self._toolbox or ask_toolbox
        else:
            self._lacks["mem.hypervisor_swap_mb"] = "only VMware's tools tell it"
        if calls:
            self._errand = Errand("virtual", lambda: {name: call(name) for name, call in calls.items()})

    def _want(
        self, calls: Dict[str, Ask], question: str, ask: Union[Ask, NoAnswer], signals: tuple[str, ...]
    ) -> None:
        if isinstance(ask, NoAnswer):
            self._lacks.update(dict.fromkeys(signals, ask.why))
        else:
            calls[question] = ask

    def _take(self, batch: Batch, question: str, answer: Said) -> None:
        signals = {
            "domains": ("virt.dom",), "beancounters": UBC, "balloon": VMWARE[:1], "swap": VMWARE[1:],
        }[question]  # fmt: skip
        if isinstance(answer, NoAnswer):
            self._hung[question] = answer.is_hung
            self._lacks.update(dict.fromkeys(signals, answer.why))
            return
        self._hung[question] = False
        try:
            if question == "domains":
                batch.add("virt.dom", parse_domstats(answer))
            elif question == "beancounters":
                self._add_beancounters(batch, parse_beancounters(answer))
            else:
                batch.add(signals[0], parse_toolbox_mb(answer))
        except ParseError as error:
            self._lacks.update(dict.fromkeys(signals, why(error)))
            return
        for signal in signals:
            self._lacks.pop(signal, None)

    def _add_beancounters(self, batch: Batch, counters: Dict[str, Beancounter]) -> None:
        physical = counters.get("physpages")
        if physical is not None:
            batch.add("ubc.held_mb", physical.held * PAGE_BYTES / MIB)
            # With vSwap physpages is the limit; containers from before it are held by privvmpages alone.
            limit = next(
                (
                    one.limit
                    for one in (physical, counters.get("privvmpages"))
                    if one and one.limit < UNLIMITED
                ),
                None,
            )
            if limit is not None:
                batch.add("ubc.limit_mb", limit * PAGE_BYTES / MIB)
        before, self._failures = self._failures, {name: one.failures for name, one in counters.items()}
        if before is not None:
            grown = {
                name: count - before[name]
                for name, count in self._failures.items()
                if name in before and count > before[name]
            }
            if grown:
                batch.add("ubc.failcnt", grown)


def ask_toolbox(question: str) -> Said:
    """``vmware-toolbox-cmd stat QUESTION``: VMware answers any user."""
    program = next((place for place in TOOLBOX if os.access(place, os.X_OK)), None)
    if program is None:
        return NoAnswer("VMware's tools are not installed (open-vm-tools)")
    answer = run_program([program, "stat", question], TOOLBOX_TIMEOUT_S)
    return NoAnswer(answer.why) if isinstance(answer, Unavailable) else answer
