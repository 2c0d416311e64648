"""Is a systemd unit up?"""

from __future__ import annotations

from pathlib import Path

from agent.checks import systemctl
from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.spec import CheckSettings
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.systemd import UnitState, parse_show

GROUPS = (
    "sys/fs/cgroup/system.slice",
    "sys/fs/cgroup/systemd/system.slice",
    "sys/fs/cgroup/unified/system.slice",
)


def run(spec: CheckSettings, timeout_s: float, root: Path = Path("/")) -> CheckAnswer:
    """Ask systemd for the unit's state. Facts: active, sub, result, restarts."""
    deadline = Deadline(timeout_s)
    absent = systemctl.absence(root)
    if absent:
        return CheckAnswer("unknown", absent.why, deadline.spent_ms())
    alive = processes_in(spec.unit, root)
    if alive:
        # systemctl costs a process; that a unit has failed all the same is what svc.unit_failed says.
        return CheckAnswer("ok", f"runs {alive} processes", deadline.spent_ms(), {"processes": alive})
    output = systemctl.show([spec.unit], timeout_s)
    if isinstance(output, systemctl.Unavailable):
        return CheckAnswer("unknown", output.why, deadline.spent_ms())
    try:
        units = parse_show(output)
    except ParseError as error:
        return CheckAnswer("unknown", f"systemctl said something else: {error}", deadline.spent_ms())
    if not units:
        return CheckAnswer("unknown", "systemctl said nothing", deadline.spent_ms())
    return judge(units[0], deadline.spent_ms())


def processes_in(unit: str, root: Path = Path("/")) -> int:
    """How many processes the unit's control group holds; 0 also where it is kept elsewhere than usual."""
    for folder in GROUPS:
        try:
            with open(root / folder / unit / "cgroup.procs", encoding="ascii") as stream:
                return len(stream.read().split())
        except (OSError, UnicodeDecodeError):
            continue
    return 0


def judge(unit: UnitState, ms: float) -> CheckAnswer:
    """The check's answer for a unit's state."""
    facts = {"active": unit.active, "sub": unit.sub, "result": unit.result, "restarts": unit.restarts}
    said = f"is {unit.active} ({unit.sub})"
    if unit.load == "not-found":
        return CheckAnswer("dead", "there is no such unit", ms, facts)
    if unit.active in ("active", "reloading", "refreshing"):
        return CheckAnswer("ok", said, ms, facts)
    if unit.active == "activating" and unit.sub != "auto-restart":
        return CheckAnswer("starting", said, ms, facts)
    return CheckAnswer("dead", said, ms, facts)
