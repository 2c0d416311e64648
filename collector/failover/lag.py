"""How far a backup was behind its primary when that could last be told, out of what its agent reported.

Unknown stays unknown: a host that never told a lag has none. Nothing is judged here; exposure is the guards' to work out.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from collector.failover.facts import LagSample
from collector.tables import observations


def last_lag(conn: Connection, host_id: str) -> LagSample | None:
    """The newest lag of that host (seconds) and when it was true (ms); its age is the caller's clock minus that."""
    wanted = (
        select(observations.c.value, observations.c.at_ms)
        .where(
            observations.c.host_id == host_id,
            observations.c.signal == "repl.lag_s",
            observations.c.vantage == "",
        )
        .order_by(observations.c.at_ms.desc(), observations.c.id.desc())
        .limit(1)
    )
    row = conn.execute(wanted).first()
    return None if row is None else LagSample(float(row.value), row.at_ms)
