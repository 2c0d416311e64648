"""A desk under test with everything a test wants of it: our adapter through the breaking proxy, a person who works there.

Also our side: a store with a contract that mirrors into the desk, and the real workers and looks over a clock of the test.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from collector.mirrors import MirrorLooks
from collector.settings import CollectorSettings, OutboxSettings
from collector.store.engine import Store
from collector.tables import metadata
from collector.workers import OutboxWorkers
from config import loader
from config.clock import FixedClock, SystemClock
from tests.conformance.mirrors.proxy import FaultProxy
from tests.conformance.mirrors.roots import Started
from ticketing import acts, contracts, queries, tables
from ticketing.mirrors import view
from ticketing.mirrors.delivery import Mirrors
from ticketing.mirrors.desk import Desk, Draft, Wanted, marker_in
from ticketing.mirrors.desks import KINDS, Desks
from ticketing.mirrors.terms import DeskTerms
from ticketing.queries import Viewer

DESK = "office"
OLENA = Viewer("olena", "engineer")
NOW_MS = 1_796_000_000_000
_SIDES = itertools.count(1)

STATUSES = {
    "redmine": {
        "new": "New", "in_work": "In Progress", "waiting_client": "Feedback", "resolved": "Resolved", "closed": "Closed",
    },
    "rt": {
        "new": "new", "in_work": "open", "waiting_client": "stalled", "resolved": "resolved", "closed": "rejected",
    },
}  # fmt: skip


@dataclasses.dataclass
class Rig:
    """One external desk."""

    kind: str
    terms: DeskTerms
    """Through the proxy."""
    proxy: FaultProxy
    desk: Desk
    """Ours, through the proxy."""
    human: Desk
    """Olena's, past the proxy: a person who works there."""
    given: Mapping[str, str]
    statuses: Mapping[str, str]
    _keys: Any = dataclasses.field(default_factory=lambda: itertools.count(1))

    def draft(self, key: str, **more: Any) -> Draft:
        values: dict[str, Any] = {
            "project": "acme",
            "title": "Диск повний",
            "text": "Ось що сталося.\n\n[vt-1-1-abc]",
        }
        values |= {"wanted": Wanted(self.statuses["new"]), "fields": {self.given["further"]: "storage.full"}}
        return Draft(key=key, **values | more)

    def fresh_key(self) -> str:
        return f"vt-test-{next(self._keys)}-{id(self):x}"

    def work_there(self, remote_id: str, text: str, wanted: Wanted = Wanted()) -> None:
        """Olena writes and sets something there.

        In a second of its own: desks date changes by the second. We look twice, some seconds apart, so that nothing of
        one second is missed; but on a clock that the test moves both looks fall into the same second of the desk's.
        """
        time.sleep(1.02 - time.time() % 1)
        self.human.write(remote_id, text, wanted)

    def comments(self, remote_id: str) -> list[str]:
        """Every comment of the ticket, as a person reads them, oldest first."""
        return [said.text for said in self.human.read(remote_id).comments]


def make_rig(started: Started, folder: Path) -> Rig:
    """A rig on a started desk."""
    proxy = FaultProxy(started.url)
    files = {name: folder / f"{started.kind}-{name}" for name in ("vartovyi", "olena")}
    for name, file in files.items():
        file.write_text(started.given[f"{name}_token"])
    terms = DeskTerms(
        type=started.kind,
        url=proxy.url,
        token_file=files["vartovyi"],
        key_field=started.given["field"],
        timeout=loader.Duration(30.0),
        settle=loader.Duration(2.0),
    )
    direct = dataclasses.replace(terms, url=started.url, token_file=files["olena"])
    make = KINDS[started.kind]
    clock = SystemClock()
    return Rig(
        started.kind,
        terms,
        proxy,
        make(terms, clock),
        make(direct, clock),
        started.given,
        STATUSES[started.kind],
    )


def contract_yaml(rig: Rig, **more: str) -> str:
    """A contract that mirrors into the rig's desk."""
    statuses = ", ".join(f"{ours}: {theirs}" for ours, theirs in rig.statuses.items())
    further = "".join(f"\n    {key}: {value}" for key, value in more.items())
    return f"""
id: acme
title: Акме
language: uk
mirrors:
  - desk: {DESK}
    project: acme
    statuses: {{{statuses}}}
    people: {{olena: "{rig.given["olena_user"]}"}}
    fields: {{root_cause: "{rig.given["further"]}"}}{further}
"""


class OurSide:
    """Our desk over one rig: tickets, deliveries and looks, on a clock that the test moves."""

    def __init__(
        self, rig: Rig, url: str, *, desks: Desks | None = None, clock: Any = None, **terms: str
    ) -> None:
        """``url`` of an empty database."""
        self.rig = rig
        # Sides share a desk, and their tickets have the same numbers: the time of filing keeps their keys apart.
        self.clock = clock or FixedClock(NOW_MS + next(_SIDES) * 86_400_000)
        self.store = Store.open(url)
        self.store.write(lambda tx: metadata.create_all(tx))
        person = loader.parse("{id: olena, role: engineer, name: Олена, line: 1}", contracts.Person)
        contract = loader.parse(contract_yaml(rig, **terms), contracts.Contract)
        loaded = contracts.Loaded((contract,), (person,))
        self.store.write(lambda tx: contracts.apply(tx, loaded, NOW_MS, "test"))
        with self.store.read() as conn:
            self.book = contracts.current(conn)
        self.mirrors = make_mirrors(
            self.store, self.book, desks or Desks({DESK: rig.terms}, self.clock), self.clock
        )
        self.outbox = OutboxWorkers(
            self.store, self.clock, loader.defaults(CollectorSettings), "test", mirrors=self.mirrors
        )
        self.looks = MirrorLooks(self.store, self.clock, self.mirrors, OutboxSettings())
        self.looks.prepare()

    def close(self) -> None:
        self.store.close()

    def file(self, title: str = "Сайт не відповідає") -> int:
        """A ticket, filed by a person."""
        done = self.store.write(
            lambda tx: acts.file(tx, self.book, OLENA, "acme", 3, title, "З ранку.", self.clock.now_ms())
        )
        assert isinstance(done, int), done
        return done

    def act(self, ticket_id: int, act: str, actor: Viewer = OLENA, **fields: Any) -> queries.TicketView:
        done = self.store.write(
            lambda tx: acts.perform(
                tx,
                self.book,
                act,
                ticket_id,
                actor,
                self.ticket(ticket_id, tx)["version"],
                self.clock.now_ms(),
                **fields,
            )
        )
        assert not isinstance(done, acts.Refusal), done
        return done

    def deliver(self) -> int:
        """Deliver what is due; how many rows were tried."""
        count = 0
        while self.outbox.round("w"):
            count += 1
            assert count < 200, "deliveries do not end"
        return count

    def later(self, seconds: float) -> None:
        self.clock.advance(round(1000 * seconds))

    def look(self, *, ask: bool = True, deliver: bool = True) -> None:
        """Ask the desk what changed, look at it and send what follows from that, until nothing is due."""
        self.later(61 if ask else 0)
        for _ in range(200):
            if not self.looks.round() and not (deliver and self.deliver()):
                if not deliver:
                    return
                with self.store.read() as conn:
                    link = tables.mirrored
                    due = conn.execute(
                        select(link.c.look_at_ms).where(link.c.look_at_ms.is_not(None))
                    ).scalars()
                    times = [at for at in due if at <= self.clock.now_ms() + 10_000]
                if not times:
                    return
                self.later(max(0.0, (min(times) - self.clock.now_ms()) / 1000))
        raise AssertionError("looks do not end")

    def ticket(self, ticket_id: int, conn: Any = None) -> Mapping[Any, Any]:
        wanted = select(tables.tickets).where(tables.tickets.c.id == ticket_id)
        if conn is not None:
            return conn.execute(wanted).mappings().one()
        with self.store.read() as reading:
            return reading.execute(wanted).mappings().one()

    def link(self, ticket_id: int) -> Mapping[Any, Any]:
        with self.store.read() as conn:
            return (
                conn.execute(select(tables.mirrored).where(tables.mirrored.c.ticket_id == ticket_id))
                .mappings()
                .one()
            )

    def events(self, ticket_id: int) -> list[Mapping[Any, Any]]:
        events = tables.ticket_events
        with self.store.read() as conn:
            wanted = select(events).where(events.c.ticket_id == ticket_id).order_by(events.c.id)
            return list(conn.execute(wanted).mappings())

    def view(self, ticket_id: int) -> list[view.MirrorView]:
        with self.store.read() as conn:
            return view.of_ticket(conn, ticket_id)

    def pending(self) -> list[Mapping[Any, Any]]:
        with self.store.read() as conn:
            return list(
                conn.execute(select(tables.outbox).where(tables.outbox.c.state == "pending")).mappings()
            )

    def rows(self) -> list[Mapping[Any, Any]]:
        """Every message, oldest first."""
        with self.store.read() as conn:
            return list(conn.execute(select(tables.outbox).order_by(tables.outbox.c.id)).mappings())

    def said_there(self, ticket_id: int) -> list[str]:
        """The comments there, by their marker where they are ours, else their words."""
        found = []
        for text in self.rig.comments(self.link(ticket_id)["remote_id"]):
            found.append(marker_in(text) or text)
        return found


def make_mirrors(store: Store, book: contracts.Book, desks: Desks, clock: Any) -> Mirrors:
    return Mirrors(store.write, lambda: book, desks, clock, "https://desk.example.org")
