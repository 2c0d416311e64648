"""Runs a check of any type and sees to what is common: the slow state, and that a check never raises."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

from agent.checks.answer import CheckAnswer
from agent.checks.spec import CheckSettings
from config.clock import Clock


def run_check(
    spec: CheckSettings,
    timeout_s: Optional[float] = None,
    *,
    root: Path = Path("/"),
    clock: Optional[Clock] = None,
) -> CheckAnswer:
    """One run of ``spec``, blocking for at most about ``timeout_s`` (default: the check's own)."""
    limit = spec.timeout_s if timeout_s is None else min(timeout_s, spec.timeout_s)
    try:
        answer = _dispatch(spec, limit, root, clock)
    except OSError as error:
        # What each check could not name: out of descriptors, /proc not mounted. We could not ask.
        answer = CheckAnswer("unknown", f"could not ask: {error.strerror or error}")
    if answer.state == "ok" and spec.slow_ms and answer.ms > spec.slow_ms:
        return dataclasses.replace(answer, state="slow", detail=f"{answer.detail}, after {answer.ms:.0f} ms")
    return answer


def _dispatch(spec: CheckSettings, timeout_s: float, root: Path, clock: Optional[Clock]) -> CheckAnswer:
    # Imported when first asked for: an agent without HTTP checks does not pay the memory of ssl and http.client.
    if spec.type == "tcp":
        from agent.checks import tcp

        return tcp.run(spec, timeout_s)
    if spec.type == "http":
        from agent.checks import http

        return http.run(spec, timeout_s, clock)
    if spec.type == "ssh":
        from agent.checks import ssh

        return ssh.run(spec, timeout_s)
    if spec.type == "icmp":
        from agent.checks import icmp

        return icmp.run(spec, timeout_s)
    if spec.type == "unit":
        from agent.checks import units

        return units.run(spec, timeout_s, root)
    if spec.type == "process":
        from agent.checks import processes

        return processes.run(spec, timeout_s, root)
    if spec.type == "dns":
        from agent.checks import dns

        return dns.run(spec, timeout_s, root)
    if spec.type == "file":
        from agent.checks import files

        return files.run(spec, timeout_s, root, clock)
    if spec.type == "listen":
        from agent.checks import listening

        return listening.run(spec, timeout_s)
    if spec.type == "command":
        from agent.checks import commands

        return commands.run(spec, timeout_s)
    if spec.type == "replication":
        from agent.checks import replication

        return replication.run(spec, timeout_s, root, clock)
    return CheckAnswer("unknown", f"no check is of type {spec.type!r}")
