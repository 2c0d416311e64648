"""A store with one pair in it, for tests of what is decided from rows and written into them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from collector.enrol import enrol
from collector.failover import gather, runs
from collector.observed import keep_newest, observe
from collector.store.engine import Store
from collector.tables import hosts
from collector.tick.context import TickContext, TickReport
from collector.tick.failover import watch_failover
from config.loader import parse
from tests.tools.tables import make_tables
from ticketing import contracts, intake
from ticketing.contracts import Book, Loaded
from ticketing.model import Confidence, Reason, Verdict
from ticketing.tables import metadata, ticket_events, tickets
from ticketing.terms import Contract, HostTerms, Window

T0 = 1_767_225_600_000
PAIR = "a1>b9"
DAY_MS = 86_400_000
PEOPLE = (
    "{id: olena, name: Olena, role: engineer, email: olena@desk.example}",
    "{id: kate, name: Kate, role: lead, email: kate@desk.example}",
    "{id: petro, name: Petro, role: client, email: petro@client.example, contract: acme}",
)
STEPS: dict[str, Any] = {
    "fence": [[{"type": "fence.ipmi"}]],
    "promote": [{"type": "promote.unit"}],
    "traffic": [{"type": "traffic.dns"}],
    "verify": [{"type": "verify.http"}],
}


class House:
    """One pair (a1, its backup b9), three hosts beside them, and a clock that the test turns."""

    def __init__(
        self,
        url: str = "sqlite://",
        *,
        now_ms: int = T0,
        more: tuple[tuple[str, str], ...] = (),
        windows: tuple[Window, ...] = (),
        **terms: Any,
    ) -> None:
        """``more``: other pairs of the same terms, primary and backup."""
        self.store = Store.open(url)
        self.now_ms = now_ms
        self.ctx = TickContext(is_first=False)
        pair = {"primary": "a1", "backup": "b9", "mode": "auto", "rto": 1800, "rpo": 60, **STEPS, **terms}
        pairs = [pair, *({**pair, "primary": one, "backup": other} for one, other in more)]
        names = ("a1", "b9", "c1", "c2", "c3", *(name for both in more for name in both))
        self.contract = Contract(
            "acme",
            "Acme",
            language="en",
            hosts=[_host(name) for name in names],
            failover={"pairs": pairs},
            windows=list(windows),
        )
        self.store.write(lambda tx: make_tables(tx, metadata))
        self.store.write(self._furnish)
        self.ctx.book = self.book

    @property
    def book(self) -> Book:
        with self.store.read() as conn:
            return contracts.current(conn)

    @property
    def pair(self) -> Any:
        return gather.pairs_of(self.book)[0][1]

    def _furnish(self, tx: Any) -> None:
        people = tuple(parse(text, contracts.Person) for text in PEOPLE)
        contracts.apply(tx, Loaded((self.contract,), people), self.now_ms, "test")
        for terms in self.contract.hosts:
            enrol(tx, terms.id, "acme", self.now_ms, addresses=terms.addresses, topology={}, interval_s=10.0)
        tx.execute(update(hosts).values(life="alive", last_report_at_ms=self.now_ms))

    def well(self) -> None:
        """Rehearsed, the fence ready, the backup two seconds behind."""

        def write(tx: Any) -> None:
            runs.note_rehearsal(tx, PAIR, self.now_ms - DAY_MS, is_real=False, is_passed=True)
            runs.note_check(tx, PAIR, "fence-0-0", "done", "F4", "", self.now_ms)
            keep_newest(tx, "b9", "repl.lag_s", 2.0, self.now_ms - 8_000, "agent", self.now_ms)

        self.store.write(write)

    def falls(self, cause: str = "virt.node_failure", family: str = "silence", class_: int = 1) -> int:
        """a1 stops serving and its ticket opens; the ticket's id."""
        verdict = Verdict(
            class_=class_,
            root_cause=cause,
            scope="host:a1",
            subject="host:a1",
            family=family,
            affected=("a1",),
            began_at_ms=self.now_ms,
            confidence=Confidence.HIGH,
            severity="critical",
            reasons=(Reason("reason.test"),),
        )

        def write(tx: Any) -> int:
            tx.execute(update(hosts).where(hosts.c.id == "a1").values(life="silent"))
            for vantage in ("", "probe2"):
                observe(tx, "a1", "ext.svc", "dead", self.now_ms, "probe", vantage=vantage)
            done = intake.open_or_join(tx, self.book_in(tx), verdict, "acme", self.now_ms)
            assert done.ticket_id is not None, done.reason
            return done.ticket_id

        return self.store.write(write)

    def book_in(self, tx: Any) -> Book:
        return contracts.current(tx)

    def tick(self, after_s: float = 0.0) -> TickReport:
        """The failover step, so much later; the fence was asked a moment before."""
        self.now_ms += round(after_s * 1000)
        report = TickReport(next_wake_ms=self.now_ms + 1_000_000)
        self.store.write(lambda tx: watch_failover(tx, self.now_ms, self.ctx, self.book_in(tx), report))
        return report

    def asked(self, outcome: str = "done", level: str = "F4") -> None:
        """The fence's precheck says so now."""
        self.store.write(lambda tx: runs.note_check(tx, PAIR, "fence-0-0", outcome, level, "", self.now_ms))

    def facts(self) -> Any:
        with self.store.read() as conn:
            return gather.gather(conn, self.book, self.contract, self.pair, self.now_ms, gather.Sight())

    def runs(self) -> list[Any]:
        with self.store.read() as conn:
            return runs.moving(conn)

    def ticket(self, ticket_id: int) -> Any:
        with self.store.read() as conn:
            return conn.execute(select(tickets).where(tickets.c.id == ticket_id)).mappings().one()

    def said(self, ticket_id: int) -> list[dict[str, Any]]:
        """Bodies of what was said about the switch on that ticket."""
        wanted = select(ticket_events.c.body).where(
            ticket_events.c.ticket_id == ticket_id, ticket_events.c.kind == "failover"
        )
        with self.store.read() as conn:
            return list(conn.execute(wanted.order_by(ticket_events.c.id)).scalars())


def _host(name: str) -> HostTerms:
    return HostTerms(
        id=name, addresses=["127.0.0.1"], kind="dedicated", web_environment=True, exclusive_access=True
    )
