"""A step of a plan made ready to be done: where its hosts are, with which pinned key they are spoken to."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, select

from collector.failover.journal import Run
from collector.failover.plan import Plan, Step
from collector.failover.settings import FailoverSettings
from collector.failover.steps.step_type import Order
from collector.ssh import Target
from collector.tables import hosts
from config.clock import Clock

KNOWN_MAX_BYTES = 1024 * 1024


def pinned_keys(path: Path) -> dict[str, str]:
    """Name -> ``type base64`` of a file in the form of known_hosts; a file that is not there pins nothing."""
    try:
        with path.open("rb") as stream:
            text = stream.read(KNOWN_MAX_BYTES).decode("ascii", errors="replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and not line.startswith(("#", "@", "|")):
            for name in words[0].split(","):
                found.setdefault(name, f"{words[1]} {words[2]}")
    return found


def addresses_of(conn: Connection, plan: Plan) -> dict[str, str]:
    """The first address of each host of the pair."""
    wanted = select(hosts.c.id, hosts.c.addresses).where(hosts.c.id.in_((plan.primary, plan.backup)))
    return {row.id: (row.addresses or [row.id])[0] for row in conn.execute(wanted)}


class Orders:
    """Makes orders for steps; reads the pinned keys anew for each, so that a changed file counts at once."""

    def __init__(self, settings: FailoverSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.stopping = threading.Event()

    def of(
        self,
        run_id: str,
        plan: Plan,
        step: Step,
        addresses: Mapping[str, str],
        *,
        epoch: int,
        term: int = 0,
        attempt: int = 1,
        deadline_s: float | None = None,
        waited_s: float = 0.0,
    ) -> Order:
        """One step, now."""
        known = pinned_keys(self._settings.known_hosts)
        settings = self._settings

        def ssh(host: str) -> Target:
            address = addresses.get(host, host)
            key = known.get(host) or known.get(f"[{address}]:{settings.ssh_port}") or known.get(address, "")
            return Target(address, settings.ssh_user, settings.ssh_key, key, settings.ssh_port)

        return Order(
            step=step,
            plan=plan,
            run_id=run_id,
            epoch=epoch,
            term=term,
            attempt=attempt,
            deadline_s=settings.ask_s if deadline_s is None else deadline_s,
            addresses=addresses,
            ssh=ssh,
            pause=self._pause,
            waited_s=waited_s,
        )

    def for_run(
        self, run: Run, step: Step, addresses: Mapping[str, str], term: int, attempt: int, **more: float
    ) -> Order:
        """One step of a run."""
        return self.of(run.id, run.plan, step, addresses, epoch=run.epoch, term=term, attempt=attempt, **more)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._clock.wait(self.stopping, seconds)
