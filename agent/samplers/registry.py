"""Every sampler of the agent, made for one machine. To add a sampler: its file, a line here, its catalogue rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from agent.preset import Finder
from agent.samplers import platform
from agent.samplers.base import LoopNotes, Rungs, Sampler
from agent.samplers.controller import Controller
from agent.samplers.cpu import Cpu
from agent.samplers.disk import Disk
from agent.samplers.disk_probe import DiskProbe
from agent.samplers.drives import Drives
from agent.samplers.filesystems import Filesystems
from agent.samplers.hardware import Hardware
from agent.samplers.kernel_log import KernelLog
from agent.samplers.ladder import Ladder
from agent.samplers.memory import Memory
from agent.samplers.network import Network
from agent.samplers.operators import Operators
from agent.samplers.own import Own
from agent.samplers.processes import Processes
from agent.samplers.program_log import ProgramLog
from agent.samplers.raid import Raid
from agent.samplers.sockets import Sockets
from agent.samplers.spin import Spin
from agent.samplers.throttle import CpuLimit
from agent.samplers.time_source import TimeSource
from agent.samplers.timekeeping import Timekeeping
from agent.samplers.units import Units
from agent.samplers.virtual import Virtual
from agent.samplers.wakeups import Wakeups
from agent.samplers.watching import Checks
from agent.samplers.witness import Witness

if TYPE_CHECKING:
    from agent.settings import AgentSettings


FIRST = frozenset(("cpu", "memory", "disk", "filesystems", "network"))
"""Samplers that read counters of /proc only: the first report waits a moment for their numbers, and for no others."""


def make_samplers(
    settings: AgentSettings, root: Path = Path("/"), notes: Optional[LoopNotes] = None
) -> List[Sampler]:
    """The samplers that the settings let run, cheap and telling ones first.

    ``notes`` come from the daemon; who looks only once leaves no trace in the state folder.
    """
    host = platform.detect(root)
    rungs = Rungs()
    every: List[Sampler] = [
        Cpu(root, host, settings.period, notes),
        Memory(root, host),
        Disk(root, host),
        Filesystems(root, settings.mounts),
        Network(root, notes, rungs),
        Ladder(root, settings.ladder, notes, rungs),
        Sockets(root),
        Units(root),
        Processes(root),
        Timekeeping(root),
        KernelLog(root, settings.state_dir / "kernel_log" if notes is not None else None, host),
        Operators(root),
        Hardware(root, host),
        Drives(root, host),
        Raid(root, host),
        Controller(root, settings.state_dir / "sel" if notes is not None else None, host),
        Virtual(root, host),
        Witness(root, settings.state_dir / "black_box" if notes is not None else None, notes, host),
        ProgramLog(root),
        TimeSource(root),
        CpuLimit(root),
        Own(),
    ]
    if notes is not None:
        every += [DiskProbe(settings.state_dir), Spin(settings.state_dir, root), Wakeups()]
    finder = Finder(settings.preset, root) if settings.preset.enabled else None
    if settings.checks or finder:
        every.append(Checks(settings.checks, root, find=finder.checks if finder else None))
    return [sampler for sampler in every if sampler.name not in settings.without]


def sampled_by(settings: AgentSettings) -> Tuple[object, ...]:
    """The part of the settings that the samplers are made of: where it changes, they are made again."""
    return (
        settings.checks,
        settings.preset,
        settings.ladder,
        settings.mounts,
        settings.without,
        settings.period,
        settings.deadline,
    )
