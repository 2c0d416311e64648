"""A desk in memory: SQLite, two contracts, a few people; the cast that the ticketing tests share."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool

from config import loader
from tests.tools.tables import make_tables
from ticketing import contracts, tables
from ticketing.model import Confidence, Reason, Verdict
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000  # 2026-01-05 08:00:00 UTC, a Monday: 10:00 in Kyiv

ACME = """
id: acme
title: Acme
language: uk
lines: 4
calendar: {zone: Europe/Kyiv}
sla:
  "1": {reaction: 15 min, resolution: 4 h}
  "2": {reaction: 30 min, resolution: 8 h}
escalation: {at_resolution_pct: [75, 100]}
hosts:
  - {id: a1, kind: vds, web_environment: true, exclusive_access: true, addresses: [192.0.2.1]}
  - {id: a2, kind: dedicated, web_environment: true, exclusive_access: true}
  - {id: a3, kind: shared}
channels:
  - type: mail
    to: [oncall@acme.example]
    on: [opened, joined, requalified, resolved, reopened, merged, widened, breached, warned, escalated, note, preventive]
  - {type: webhook, url: "https://hook.example/v", secret_file: /etc/vartovyi/acme.key, on: [opened, resolved]}
"""

BETA = """
id: beta
title: Beta
language: en
lines: 2
preventive: ticket
hosts:
  - {id: b1, kind: vds, web_environment: true, exclusive_access: true}
"""


@pytest.fixture
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _pragmas(connection, _record):
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.begin() as connection:
        make_tables(connection, tables.metadata)
    yield engine
    engine.dispose()


@pytest.fixture
def tx(engine):
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def book(tx):
    loaded = contracts.Loaded((loader.parse(ACME, Contract), loader.parse(BETA, Contract)), PEOPLE)
    contracts.apply(tx, loaded, NOW_MS, "test")
    return contracts.current(tx)


PEOPLE = tuple(
    loader.parse(text, contracts.Person)
    for text in (
        "{id: olena, name: Олена, role: engineer, line: 2, profiles: [linux]}",
        "{id: petro, name: Петро, role: lead, line: 3}",
        "{id: admin, role: admin}",
        "{id: client-a, role: client, contract: acme}",
        "{id: client-b, role: client, contract: beta, language: en}",
    )
)


def make_verdict(**changes):
    """A plain class 2 verdict about a1's disk; keyword arguments replace fields."""
    verdict = Verdict(
        class_=2,
        root_cause="os.disk_full",
        scope="host:a1",
        subject="host:a1/fs:/var",
        family="fs_space",
        affected=("a1",),
        began_at_ms=NOW_MS - 60_000,
        confidence=Confidence.HIGH,
        severity="high",
        reasons=(Reason("reason.intake.opened", {"class_": 2}, -1.0, "inside"),),
        summary=Reason("summary.unknown"),
    )
    return dataclasses.replace(verdict, **changes)


@pytest.fixture
def verdict():
    return make_verdict()


@pytest.fixture
def make():
    """The maker of verdicts, for tests that need several."""
    return make_verdict
