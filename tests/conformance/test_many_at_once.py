"""What is written in groups says the same as one by one, on both databases: tickets of many contracts, hosts' clocks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select

from collector.clock_fold import Fold
from collector.clock_rows import ROWS_MAX, write_folds
from collector.store.engine import Store
from collector.tables import observations
from config import loader
from ticketing import contracts, intake, opening, tables
from ticketing.contracts import Book
from ticketing.model import Confidence, Reason, Verdict
from ticketing.terms import Contract

SEED = 20261123
NOW_MS = 1_767_600_000_000
CONTRACTS = 40
ROWS = (tables.tickets, tables.ticket_hosts, tables.clocks, tables.ticket_events, tables.outbox)

SAID = ("contract_id", "problem", "state", "line", "next_step_at_ms", "affected", "verdict")

CONTRACT = """
id: c{n:02d}
title: Client {n}
language: uk
lines: 3
sla: {{"1": {{reaction: 15 min, resolution: 4 h}}, "2": {{reaction: 30 min, resolution: 8 h}}}}
hosts:
  - {{id: h{n:02d}, kind: vds, web_environment: true, exclusive_access: true, addresses: [192.0.2.1]}}
channels:
  - {{type: mail, to: [oncall@client{n}.example], on: [opened, joined, reopened]}}
"""


def _book(store: Store) -> Book:
    texts = [CONTRACT.format(n=n) for n in range(CONTRACTS)]
    loaded = tuple(loader.parse(text, Contract) for text in texts)

    def run(tx: Connection) -> Book:
        contracts.apply(tx, contracts.Loaded(loaded, ()), NOW_MS, "test")
        return contracts.current(tx)

    return store.write(run)


def _verdict(host_ids: Sequence[str], **other: Any) -> Verdict:
    values: dict[str, Any] = {
        "class_": 1,
        "root_cause": "net.provider_edge",
        "scope": "provider:p",
        "subject": "provider:p",
        "family": "silence",
        "affected": tuple(host_ids),
        "began_at_ms": NOW_MS - 60_000,
        "confidence": Confidence.HIGH,
        "severity": "high",
        "reasons": (Reason("reason.silence.group", {"n": 7}, 2.0, "outside"),),
        "summary": Reason("summary.net.provider_edge", {"scope": "provider:p", "n": 7}),
    }
    return Verdict(**(values | other))


def _wanted() -> list[tuple[str, Verdict]]:
    """Most contracts once, one of them twice, and one with a class that the machine does not open."""
    wanted = [(f"c{n:02d}", _verdict([f"h{n:02d}"])) for n in range(CONTRACTS)]
    return [*wanted, ("c03", _verdict(["h03", "h04"])), ("c05", _verdict(["h05"], class_=4))]


class _Undo(Exception):
    """Takes back what a try wrote."""


def _tried(store: Store, act: Callable[[Connection], list[intake.Outcome]]) -> tuple[Any, Any]:
    seen: list[Any] = []

    def run(tx: Connection) -> None:
        seen.append([(o.verb, o.reason) for o in act(tx)])
        counts = [len(tx.execute(select(table)).all()) for table in ROWS]
        wanted = select(
            *(
                tables.tickets.c[n]
                for n in ("contract_id", "problem", "state", "line", "next_step_at_ms", "affected")
            )
        )
        seen.append((counts, sorted(map(repr, map(tuple, tx.execute(wanted))))))
        raise _Undo

    with pytest.raises(_Undo):
        store.write(run)
    return seen[0], seen[1]


def test_many_tickets_at_once_are_those_that_one_by_one_would_open(store: Store) -> None:
    book, wanted = _book(store), _wanted()
    together = _tried(store, lambda tx: opening.open_many(tx, book, wanted, NOW_MS))
    alone = _tried(store, lambda tx: [intake.open_or_join(tx, book, v, c, NOW_MS) for c, v in wanted])
    assert [verb for verb, _ in together[0]] == [*["opened"] * CONTRACTS, "joined", "recorded"]
    assert [verb for verb, _ in together[0]] == [verb for verb, _ in alone[0]]
    assert together[1] == alone[1]


def test_ids_of_many_belong_to_their_contracts(store: Store) -> None:
    """The database hands the ids back in the order of the rows; a mix-up would give one client another's clocks."""
    book, wanted = _book(store), _wanted()
    outcomes = store.write(lambda tx: opening.open_many(tx, book, wanted, NOW_MS))
    with store.read() as conn:
        owner = {row.id: row.contract_id for row in conn.execute(select(tables.tickets))}
        linked = {(row.host_id, row.ticket_id) for row in conn.execute(select(tables.ticket_hosts))}
    for (contract_id, verdict), outcome in zip(wanted, outcomes, strict=True):
        if outcome.ticket_id is not None:
            assert owner[outcome.ticket_id] == contract_id
            assert {(host, outcome.ticket_id) for host in verdict.affected} <= linked


def test_two_deciders_that_open_the_same_many_end_with_one_ticket_each(stores: Callable[..., Store]) -> None:
    """Two stores race with the same contracts in different orders: the constraint decides, and the loser joins."""
    ours, theirs = stores(), stores()
    book, wanted = _book(ours), _wanted()[:CONTRACTS]
    gate, outcomes, errors = threading.Barrier(2), [], []

    def run(store: Store, order: list[tuple[str, Verdict]]) -> None:
        gate.wait(10)
        try:
            outcomes.append(store.write(lambda tx: opening.open_many(tx, book, order, NOW_MS)))
        except Exception as error:
            errors.append(error)

    orders = (wanted, random.Random(SEED).sample(wanted, len(wanted)))
    threads = [
        threading.Thread(target=run, args=(store, order))
        for store, order in zip((ours, theirs), orders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    verbs = sorted(outcome.verb for told in outcomes for outcome in told)
    assert verbs == ["joined"] * CONTRACTS + ["opened"] * CONTRACTS
    with ours.read() as conn:
        open_ = (
            conn.execute(select(tables.tickets.c.contract_id).where(tables.tickets.c.open_mark == 1))
            .scalars()
            .all()
        )
    assert sorted(open_) == sorted(contract_id for contract_id, _ in wanted)


def _folds(rng: random.Random, count: int) -> list[Fold]:
    return [
        Fold(
            f"h{rng.randrange(6)}",
            rng.choice(("clk.true_offset_ms", "clk.offset_step_s")),
            rng.choice((1.0, 1.2, 2000.0)),
            NOW_MS + 60_000 * rng.choice((0, 1, 2, 5)),
        )
        for _ in range(count)
    ]


def _said(store: Store, flushes: list[list[Fold]]) -> tuple[int, list[tuple[Any, ...]]]:
    def run(tx: Connection) -> tuple[int, list[tuple[Any, ...]]]:
        tx.execute(delete(observations))
        count = sum(write_folds(tx, flush, NOW_MS) for flush in flushes)
        wanted = select(
            observations.c.host_id, observations.c.signal, observations.c.value, observations.c.at_ms
        )
        return count, [tuple(row) for row in tx.execute(wanted.order_by(observations.c.id))]

    return store.write(run)


def test_a_flush_of_clocks_says_what_its_folds_would_say_one_by_one(store: Store) -> None:
    rng = random.Random(SEED)
    for round_ in range(12):
        before, flush = _folds(rng, rng.randrange(5)), _folds(rng, rng.randrange(1, 25))
        together = _said(store, [before, flush])
        alone = _said(store, [[fold] for fold in (*before, *flush)])
        assert together == alone, (SEED, round_)
        assert together[0] == len(together[1])


def test_a_flush_larger_than_one_statement_is_written_whole(store: Store) -> None:
    count = ROWS_MAX * 2 + 1
    folds = [Fold(f"h{n}", "clk.true_offset_ms", float(n), NOW_MS) for n in range(count)]
    assert _said(store, [folds])[0] == count
    again = store.write(lambda tx: write_folds(tx, folds, NOW_MS + 1))
    assert again == 0
