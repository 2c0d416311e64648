"""Are enough processes of a name alive, and not frozen? Reads /proc; a name is compared, never interpreted."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.spec import CheckSettings
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.pid import parse_stat

COMM_LENGTH = 15
"""The kernel keeps only so many octets of a name."""


def run(spec: CheckSettings, timeout_s: float, root: Path = Path("/")) -> CheckAnswer:
    """Count the processes whose name is ``spec.process``; zombies do not count. Facts: count, stopped."""
    deadline = Deadline(timeout_s)
    counts = _count(spec.process, root / "proc")
    facts = {"count": counts["alive"], "stopped": counts["stopped"]}
    running = counts["alive"] - counts["stopped"]
    if running >= spec.least:
        return CheckAnswer("ok", f"{counts['alive']} alive", deadline.spent_ms(), facts)
    if counts["alive"] >= spec.least:
        return CheckAnswer(
            "stopped", f"{counts['stopped']} of {counts['alive']} are frozen", deadline.spent_ms(), facts
        )
    return CheckAnswer("dead", f"{counts['alive']} alive, {spec.least} needed", deadline.spent_ms(), facts)


def _count(name: str, proc: Path) -> Dict[str, int]:
    short = name.encode("utf-8", "surrogateescape")[:COMM_LENGTH].decode("utf-8", "surrogateescape")
    counts = {"alive": 0, "stopped": 0}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = parse_stat((entry / "stat").read_text(errors="surrogateescape"))
            if stat.comm != short or stat.state in "ZX":
                continue
            if len(name) > COMM_LENGTH and not _has_program(entry, name):
                continue
        except (OSError, ParseError):
            continue  # it ended between listing and reading
        counts["alive"] += 1
        if stat.state in "Tt":
            counts["stopped"] += 1
    return counts


def _has_program(entry: Path, name: str) -> bool:
    """For a name longer than the kernel keeps: does the program's own path end in it?"""
    program = (entry / "cmdline").read_bytes().split(b"\0", 1)[0]
    return program.rsplit(b"/", 1)[-1] == name.encode("utf-8", "surrogateescape")
