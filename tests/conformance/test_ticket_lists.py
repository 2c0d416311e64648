"""Ticket lists: what each filter shows, in which order, page by page; the same on both databases, and by an index."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from collector.store.engine import Store
from ticketing.queries import TicketFilter, Viewer, list_tickets, newest_change
from ticketing.tables import ticket_hosts, tickets

SEED = 20261122
NOW_MS = 1_767_225_600_000
LEAD = Viewer("olena", "lead")
CLIENT = Viewer("klient", "client", "c1")
OPEN_STATES = ("new", "in_work", "waiting_client", "waiting_provider")


def _ticket(rng: random.Random, number: int) -> dict[str, Any]:
    state = rng.choice((*OPEN_STATES, "resolved", "closed", "closed", "closed"))
    at_ms = NOW_MS + rng.randrange(40) * 1000  # many share an instant: the id decides
    return {
        "id": number, "contract_id": f"c{rng.randrange(3)}", "contract_version": 1, "problem": f"cpu|host:h{number}",
        "open_mark": 1 if state in OPEN_STATES else None, "origin": "machine", "class": rng.choice((1, 2, 3)),
        "root_cause": "unknown", "scope": "host:h", "family": "cpu", "affected": sorted(rng.sample(["h1", "h2", "h3"], 2)),
        "confidence": "low", "severity": "low", "state": state, "line": rng.choice((1, 2)),
        "assignee": rng.choice((None, "olena")), "parent_id": 1 if number > 1 and rng.random() < 0.2 else None, "language": "uk",
        "began_at_ms": at_ms, "created_at_ms": at_ms, "updated_at_ms": at_ms, "title": rng.choice(("", "Диск", "disk")),
    }  # fmt: skip


def _filled(store: Store) -> list[dict[str, Any]]:
    rng = random.Random(SEED)
    rows = [_ticket(rng, number) for number in range(1, 301)]
    links = [
        {"host_id": host, "ticket_id": row["id"], "updated_at_ms": row["updated_at_ms"]}
        for row in rows
        for host in row["affected"]
    ]

    def run(tx: Any) -> None:
        tx.execute(insert(tickets), rows)
        tx.execute(insert(ticket_hosts), links)

    store.write(run)
    return rows


def _shown(row: dict[str, Any], viewer: Viewer, wanted: TicketFilter) -> bool:
    """The law in plain words, without SQL."""
    return (
        (not viewer.is_client or row["contract_id"] == viewer.contract_id)
        and (wanted.state in ("", row["state"]) or (wanted.state == "open" and row["open_mark"] == 1))
        and wanted.class_ in (None, row["class"])
        and wanted.line in (None, row["line"])
        and wanted.assignee in ("", row["assignee"])
        and wanted.contract_id in ("", row["contract_id"])
        and (wanted.parent_id in (None, row["parent_id"]) or viewer.is_client)
        and (not wanted.host_id or wanted.host_id in row["affected"])
        and wanted.text.lower() in row["title"].lower()
    )


def _filters() -> list[TicketFilter]:
    """Every pair of values of every two fields, and some of three."""
    values: dict[str, tuple[Any, ...]] = {
        "state": ("open", "new", "closed"),
        "class_": (2,),
        "line": (1,),
        "assignee": ("olena",),
        "contract_id": ("c1", "c2"),
        "host_id": ("h2",),
        "parent_id": (1,),
        "text": ("disk",),
    }
    single = [(name, value) for name, some in values.items() for value in some]
    chosen = [dict(part) for size in (0, 1, 2, 3) for part in itertools.combinations(single, size)]
    return [TicketFilter(**one) for one in chosen]


def test_every_filter_shows_what_it_says_newest_change_first_page_after_page(store: Store) -> None:
    rows = _filled(store)
    with store.read() as conn:
        for viewer, wanted in itertools.product((LEAD, CLIENT), _filters()):
            expected = [row for row in rows if _shown(row, viewer, wanted)]
            expected.sort(key=lambda row: (row["updated_at_ms"], row["id"]), reverse=True)
            seen: list[int] = []
            after = None
            for _ in range(20):
                page = list_tickets(conn, viewer, wanted, 37, after)
                seen += [line.id for line in page.tickets]
                after = page.after
                if after is None:
                    break
            assert seen == [row["id"] for row in expected], (SEED, viewer.role, wanted)


def test_the_newest_change_is_that_of_the_newest_ticket_that_the_viewer_sees(store: Store) -> None:
    rows = _filled(store)
    with store.read() as conn:
        for viewer in (LEAD, CLIENT):
            mine = [row["updated_at_ms"] for row in rows if _shown(row, viewer, TicketFilter())]
            assert newest_change(conn, viewer) == max(mine)
        assert newest_change(conn, Viewer("x", "client", "nobody")) == 0


LISTS = {
    "all": (LEAD, TicketFilter(), "ix_tickets_updated"),
    "open": (LEAD, TicketFilter(state="open"), "ix_tickets_list"),
    "open of a line": (LEAD, TicketFilter(state="open", line=1), "ix_tickets_list"),
    "open of a contract": (LEAD, TicketFilter(state="open", contract_id="c1"), "ix_tickets_list"),
    "open of a host": (LEAD, TicketFilter(state="open", host_id="h1"), "ix_tickets_list"),
    "a state": (LEAD, TicketFilter(state="closed"), "ix_tickets_state_list"),
    "class and line": (LEAD, TicketFilter(class_=2, line=1), "ix_tickets_class_list"),
    "class and state": (LEAD, TicketFilter(class_=2, state="closed"), "ix_tickets_class_list"),
    "mine": (LEAD, TicketFilter(assignee="olena", state="closed"), "ix_tickets_assignee_list"),
    "a client's": (CLIENT, TicketFilter(), "ix_tickets_contract_list"),
    "a client's of a class": (CLIENT, TicketFilter(class_=2), "ix_tickets_contract_list"),
    "a host's": (LEAD, TicketFilter(host_id="h1"), "ix_ticket_hosts_list"),
    "a host's of a client": (CLIENT, TicketFilter(host_id="h1", state="closed"), "ix_ticket_hosts_list"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_on_sqlite_walks_its_index_in_order_and_sorts_nothing(
    sqlite_template: Path, name: str
) -> None:
    """With a million tickets a sort, or a walk through another filter's index, is what makes a list slow.

    PostgreSQL plans by its statistics of the real tables; on empty ones its plan says nothing.
    """
    store = Store.open(f"sqlite:///{sqlite_template}")
    viewer, wanted, index = LISTS[name]
    asked: list[tuple[str, Any]] = []
    with store.read() as conn:
        listening = (conn, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        event.listen(*listening)
        list_tickets(conn, viewer, wanted, 50, (NOW_MS, 7))
        event.remove(*listening)
        statement, values = asked[0]
        plan = [str(row[3]) for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    store.close()
    assert any(index in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def test_a_ticket_s_links_move_up_with_it(store: Store) -> None:
    """The host's order is the tickets' order after every change that the ledger writes."""
    from ticketing import ledger

    _filled(store)

    def change(tx: Any) -> None:
        for ticket_id, at_ms in ((5, NOW_MS + 90_000), (9, NOW_MS + 95_000), (9, NOW_MS)):
            row = ledger.ticket_row(tx, ticket_id)
            assert row is not None
            wider = ledger.change_ticket(tx, row, at_ms, affected=["h1", "h9"])
            ledger.set_hosts(tx, row, wider)

    store.write(change)
    wrong = "SELECT count(*) FROM ticket_hosts l JOIN tickets t ON t.id = l.ticket_id WHERE t.updated_at_ms != l.updated_at_ms"
    with store.read() as conn:
        assert conn.execute(text(wrong)).scalar_one() == 0
        page = list_tickets(conn, LEAD, TicketFilter(host_id="h9"))
    assert [line.id for line in page.tickets] == [9, 5]
