"""People, and a second decider that works on what it read a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, select
from sqlalchemy.exc import IntegrityError

from ticketing import acts, intake
from ticketing.model import Verdict
from ticketing.queries import Viewer
from ticketing.tables import tickets

if TYPE_CHECKING:
    from tests.sim.world import World

ENGINEER = Viewer("olena", "engineer")
FRESH_MS = 120_000


class Operators:
    """Acts of engineers, some of them against a version that is no longer the ticket's."""

    def __init__(self, world: World) -> None:
        self.world = world

    def act(self) -> None:
        """One engineer does one thing to one open ticket."""
        collector, random = self.world.collector, self.world.random
        if not collector.is_up or collector.is_paused:
            return
        with collector.store.read() as conn:
            rows = conn.execute(
                select(tickets.c.id, tickets.c.version).where(tickets.c.open_mark == 1).order_by(tickets.c.id)
            ).all()
        if not rows:
            return
        row = random.choice(rows)
        seen = row.version - (1 if random.random() < 0.2 else 0)
        name, fields = random.choice(
            (
                ("take", {}),
                ("note", {"text": "Looked at it.", "is_public": True}),
                ("escalate", {}),
                ("ask_provider", {"text": "Please check the node."}),
                ("provider_answered", {"text": "Done."}),
            )
        )
        collector.alive(
            lambda: collector.write(
                lambda tx: acts.perform(
                    tx, collector.book, name, row.id, ENGINEER, seen, self.world.now_ms, **fields
                )
            )
        )

    def second_decider(self) -> None:
        """A decider that lost its lease without knowing, between reading and writing, on PostgreSQL.

        It read the tickets before the first decider's commit, and opens the same problem once more. Only the
        database's own constraint can tell it.
        """
        collector = self.world.collector
        if not collector.is_up or collector.is_paused:
            return
        with collector.store.read() as conn:
            fresh = conn.execute(
                select(tickets.c.id, tickets.c.contract_id, tickets.c.verdict, tickets.c.parent_id).where(
                    tickets.c.open_mark == 1,
                    tickets.c.origin == "machine",
                    tickets.c.created_at_ms > self.world.now_ms - FRESH_MS,
                )
            ).first()
        if fresh is None or fresh.verdict is None:
            return
        self.world.counts["raced"] += 1
        verdict = Verdict.from_dict(fresh.verdict)

        def open_again(tx: Connection) -> None:
            stale: Any = StaleReader(tx, fresh.id)
            intake.open_or_join(
                stale,
                collector.book,
                verdict,
                fresh.contract_id,
                self.world.now_ms,
                parent_id=fresh.parent_id,
            )

        collector.alive(lambda: collector.write(open_again))


class StaleReader:
    """A transaction whose reads do not see one ticket yet; a refused insert shows it, as the real database would."""

    def __init__(self, tx: Connection, hidden: int) -> None:
        self._tx = tx
        self._hidden: int | None = hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Run it; a SELECT of tickets goes without the hidden one."""
        is_select = isinstance(statement, Select) and tickets in statement.get_final_froms()
        if is_select and self._hidden is not None:
            statement = statement.where(tickets.c.id != self._hidden)
        try:
            return self._tx.execute(statement, *args, **kwargs)
        except IntegrityError:
            self._hidden = None
            raise
