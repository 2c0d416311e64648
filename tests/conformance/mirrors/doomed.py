"""A real worker process that delivers until it is killed: started by fork from a process that has everything imported.

It kills itself with SIGKILL inside its n-th write to the store, before or after the commit, where its plan says so; kills
during a request come from outside, by the proxy.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from collector.mirrors import MirrorLooks
from collector.settings import CollectorSettings, OutboxSettings
from collector.store.engine import Store
from collector.workers import OutboxWorkers
from config import loader
from config.clock import SystemClock
from ticketing import contracts, tables
from ticketing.mirrors.delivery import Mirrors
from ticketing.mirrors.desks import Desks
from ticketing.mirrors.terms import DeskTerms

CLAIM_S = 0.3
ENDS_AFTER_S = 60


@dataclasses.dataclass(frozen=True)
class Doom:
    """At which write to die."""

    at_write: int = 0
    """0 = at none."""
    is_after: bool = False
    """After the commit; else before it."""


class MortalStore(Store):
    """A store whose process dies at one of its writes."""

    doom = Doom()
    writes = 0

    def write(self, fn: Callable[[Any], Any], *, first: bool = False) -> Any:
        self.writes += 1
        is_now = self.writes == self.doom.at_write
        if is_now and not self.doom.is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().write(fn, first=first)
        if is_now:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def work(url: str, desk: str, terms: DeskTerms, doom: Doom) -> None:
    """Deliver everything, look until nothing is to be looked at, end."""
    store = MortalStore(url)
    store.doom = doom
    with store.read() as conn:
        book = contracts.current(conn)
    clock = SystemClock()
    settings = dataclasses.replace(
        loader.defaults(CollectorSettings), outbox=OutboxSettings(claim_s=loader.Duration(CLAIM_S))
    )
    mirrors = Mirrors(
        store.write, lambda: book, Desks({desk: terms}, clock), clock, "https://desk.example.org"
    )
    outbox = OutboxWorkers(store, clock, settings, f"worker{os.getpid()}", mirrors=mirrors)
    looks = MirrorLooks(store, clock, mirrors, settings.outbox)
    looks.prepare()
    never = threading.Event()
    end_ms = clock.mono_ms() + 1000 * ENDS_AFTER_S
    while clock.mono_ms() < end_ms:
        if outbox.round("w") or looks.round():
            continue
        if is_done(store):
            store.close()
            return
        clock.wait(never, 0.05)
    raise SystemExit(3)


def is_done(store: Store) -> bool:
    """Whether nothing waits to be sent or looked at."""
    with store.read() as conn:
        rows, links = tables.outbox, tables.mirrored
        pending = conn.execute(select(rows.c.id).where(rows.c.state == "pending").limit(1)).first()
        due = conn.execute(select(links.c.id).where(links.c.look_at_ms.is_not(None)).limit(1)).first()
    return pending is None and due is None
