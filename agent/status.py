"""How the agent is, as `vartovyi-agent status` shows it: plain values out of a running daemon, no secret among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict

from agent.findings import Now

if TYPE_CHECKING:
    from agent.daemon import Daemon


def snapshot(daemon: Daemon, now: Now) -> Dict[str, Any]:
    """The page's content; instants are wall clock milliseconds."""
    core, spool, given = daemon.core, daemon.spool, daemon.given
    return {
        "written_at_ms": now.wall_ms,
        "pid": os.getpid(),
        "version": core.identity.agent,
        "collector": given.settings.collector.url,
        "last_reply_at_ms": None if daemon.last_reply_ms is None else now.wall_of(daemon.last_reply_ms),
        "last_error": daemon.last_error,
        "interval_s": daemon.interval_s,
        "spool": {
            "stream": spool.stream,
            "depth": spool.depth,
            "held": core.held,
            "dropped": spool.dropped,
        },
        "settings": {"version": given.version, "fault": given.fault},
        "findings": [
            {"rule": f.rule, "subject": f.subject, "severity": f.severity, "at_ms": f.at_ms}
            for f in core.open_findings()
        ],
        "samplers": {
            name: {"age_s": round(age, 1), "stuck": daemon.sweeps.stuck().get(name, False)}
            for name, age in daemon.sweeps.ages_s(now.mono_ms).items()
        },
    }
