"""Asks every provider in its rhythm, and writes what is new by the one door of observations.

One thread a provider: one that hangs until its time-out holds up nobody else. Only the collector that decides asks,
so that two collectors do not ask twice. The cursor (which events were taken) and the count of failures lie in the
store, in the transaction that writes the observations: an event is taken once, over restarts too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from collector.observed import UNTIL, observe
from collector.providers.adapter import Adapter, AdapterFault, Told, plain_text
from collector.providers.http_json import HttpJson
from collector.providers.noted import PersonFile
from collector.providers.terms import ProviderTerms
from collector.store.engine import Store
from collector.tables import hosts
from collector.tick.rows import chunks, remember, remembered
from config.clock import Clock
from config.log import fields
from ticketing import contracts, intake
from ticketing.model import INTERNAL_CONTRACT, Confidence, Reason, Verdict

log = logging.getLogger(__name__)

FIRST_LOOK_BACK_MS = 3_600_000
"""At the very first answer older events than this are history, not news."""

IDS_KEPT = 1_000
FUTURE_MS = 300_000
"""An event dated further ahead than this (announced work) is taken when its time has come."""


@dataclasses.dataclass(frozen=True)
class Cursor:
    """Where we stand with one provider."""

    since_ms: int
    """Events before this are never taken."""
    ids: tuple[str, ...] = ()
    """Ids taken, oldest first."""
    failures: int = 0

    @staticmethod
    def read(tx: Connection, key: str, now_ms: int) -> Cursor:
        raw = remembered(tx, key)
        if raw is None:
            return Cursor(now_ms - FIRST_LOOK_BACK_MS)
        kept = json.loads(raw)
        return Cursor(int(kept["since_ms"]), tuple(kept["ids"]), int(kept["failures"]))

    def write(self, tx: Connection, key: str) -> None:
        remember(tx, key, json.dumps(dataclasses.asdict(self)))


def adapter_of(terms: ProviderTerms) -> Adapter:
    """The adapter that a provider's file asks for."""
    if terms.kind == "file":
        assert terms.path is not None
        return PersonFile(terms.path)
    return HttpJson(terms)


def cursor_key(terms: ProviderTerms) -> str:
    """Key of its cursor in own_state, which holds 64 letters."""
    return f"prov:{terms.kind[0]}:{terms.provider}"[:64]


def take(tx: Connection, terms: ProviderTerms, told: Told, now_ms: int) -> int:
    """Write what is new in an answer; how many observations."""
    key = cursor_key(terms)
    cursor = Cursor.read(tx, key, now_ms)
    known, source = set(cursor.ids), f"provider:{terms.kind}"
    fleet = _known_hosts(tx, {event.host_id for event in told.events} | set(told.states))
    written = 0
    if told.status is not None:
        written += observe(tx, terms.provider, "prov.status", told.status, now_ms, source)
    if told.until_ms is not None:
        written += observe(tx, terms.provider, UNTIL, told.until_ms, now_ms, source)
    fresh: list[str] = []
    for event in sorted(told.events, key=lambda e: e.at_ms):
        if event.id in known or event.at_ms < cursor.since_ms or event.at_ms > now_ms + FUTURE_MS:
            continue
        known.add(event.id)
        fresh.append(event.id)
        # Said of a machine that is not ours: it may still tell of its provider.
        about = event.host_id if event.host_id in fleet else terms.provider
        at_ms = min(event.at_ms, now_ms)
        written += observe(tx, about, "prov.event", event.text, at_ms, source, received_at_ms=now_ms)
    for host_id, state in told.states.items():
        if host_id in fleet:
            written += observe(tx, host_id, "prov.vm_state", state, now_ms, source)
    Cursor(cursor.since_ms, (*cursor.ids, *fresh)[-IDS_KEPT:], 0).write(tx, key)
    _settle_failure(tx, terms, now_ms)
    return written


def take_failure(tx: Connection, terms: ProviderTerms, why: str, now_ms: int) -> int:
    """Count a failed round; after enough of them it is a ticket of our own. The count."""
    key = cursor_key(terms)
    cursor = Cursor.read(tx, key, now_ms)
    failures = cursor.failures + 1
    dataclasses.replace(cursor, failures=failures).write(tx, key)
    if failures == terms.failures:
        params = {"provider": terms.provider, "times": failures, "error": why[:200]}
        verdict = Verdict(
            class_=2,
            root_cause="internal.provider_adapter",
            scope=_subject(terms),
            subject=_subject(terms),
            family="internal",
            affected=(),
            began_at_ms=now_ms,
            confidence=Confidence.HIGH,
            severity="low",
            reasons=(Reason("reason.internal.provider_adapter", params),),
            summary=Reason("summary.internal.provider_adapter", params),
        )
        intake.open_or_join(tx, contracts.current(tx), verdict, str(INTERNAL_CONTRACT), now_ms)
    return failures


def _settle_failure(tx: Connection, terms: ProviderTerms, now_ms: int) -> None:
    known = intake.find_open(tx, str(INTERNAL_CONTRACT), f"internal|{_subject(terms)}")
    if known is not None:
        why = Reason("reason.resolved.provider_answers", {"provider": terms.provider})
        intake.resolve(tx, contracts.current(tx), known["id"], why, now_ms)


def _subject(terms: ProviderTerms) -> str:
    return f"collector:provider:{terms.provider}:{terms.kind}"


def _known_hosts(tx: Connection, named: set[str]) -> set[str]:
    found: set[str] = set()
    for part in chunks(sorted(named - {""})):
        found.update(tx.execute(select(hosts.c.id).where(hosts.c.id.in_(part))).scalars())
    return found


class Poller:
    """A thread a provider; each asks, writes, and waits for its next round."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        providers: Sequence[ProviderTerms],
        *,
        decides: Callable[[], bool] = lambda: True,
        poke: Callable[[], None] = lambda: None,
        adapters: Callable[[ProviderTerms], Adapter] = adapter_of,
    ) -> None:
        self._store = store
        self._clock = clock
        self._decides = decides
        self._poke = poke
        self._stopping = threading.Event()
        self.failures: dict[str, int] = {}
        """Provider -> failed rounds in a row."""
        self._peace_s: dict[str, float] = {}
        """Provider -> how long it asked to be left in peace at its last answer."""
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(terms, adapters(terms)),
                name=f"prov-{terms.provider}"[:15],
                daemon=True,
            )
            for terms in providers
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; a request under way is left to its time-out, since the process ends anyway."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=1.0)

    def round(self, terms: ProviderTerms, adapter: Adapter) -> int:
        """Ask once and write; how many observations are new."""
        self._peace_s.pop(terms.provider, None)
        try:
            told = adapter.ask()
        except AdapterFault as fault:
            self._peace_s[terms.provider] = fault.retry_after_s
            return self._failed(terms, plain_text(fault))
        except Exception as error:  # a boundary: a bug in one adapter must not end its thread, nor be silent
            log.exception("A provider's adapter broke. %s", fields(provider=terms.provider))
            return self._failed(terms, f"internal: {type(error).__name__}")
        now_ms = self._clock.now_ms()
        written = self._store.write(lambda tx: take(tx, terms, told, now_ms))
        self.failures[terms.provider] = 0
        if written:
            self._poke()
        return written

    def pause_s(self, terms: ProviderTerms) -> float:
        """Until the next round: the interval, or longer where the provider asked for it."""
        return max(float(terms.interval), self._peace_s.get(terms.provider, 0.0))

    def _failed(self, terms: ProviderTerms, why: str) -> int:
        now_ms = self._clock.now_ms()
        count = self._store.write(lambda tx: take_failure(tx, terms, why, now_ms))
        self.failures[terms.provider] = count
        log.warning(
            "A provider could not be asked. %s", fields(provider=terms.provider, failures=count, why=why)
        )
        return 0

    def _run(self, terms: ProviderTerms, adapter: Adapter) -> None:
        while not self._stopping.is_set():
            if self._decides():
                try:
                    self.round(terms, adapter)
                except Exception:  # a boundary: a store that is away is back at the next round
                    log.exception(
                        "What a provider told could not be written. %s", fields(provider=terms.provider)
                    )
            self._clock.wait(self._stopping, self.pause_s(terms))


def note(
    tx: Connection,
    provider: str,
    text: str,
    now_ms: int,
    *,
    status: str | None = None,
    host_id: str = "",
    until_ms: int | None = None,
) -> Mapping[str, Any]:
    """What a person was told by telephone: an event, a status, the end they expect, or several; what was written."""
    about = host_id or provider
    written = {"provider": provider, "about": about, "event": False, "status": False}
    if text:
        written["event"] = observe(tx, about, "prov.event", plain_text(text), now_ms, "person")
    if status is not None:
        written["status"] = observe(tx, provider, "prov.status", status, now_ms, "person")
    if until_ms is not None:
        written["until"] = observe(tx, provider, UNTIL, until_ms, now_ms, "person")
    return written
