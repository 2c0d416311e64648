"""The producers of the collector's side, composed: calendars, windows, learned hops, traces asked of suspects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from collector import probes as probing
from collector.feed_settings import FeedSettings
from collector.observed import recent
from collector.outlook import Outlook
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.tables import hosts, probes
from collector.tick.context import TickContext, TickReport
from collector.tick.traces import AGAIN_MS, ask_traces
from config.clock import FixedClock
from config.loader import parse
from ticketing.contracts import Book
from ticketing.terms import Contract, HostTerms

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ICS = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
    b"DTSTART:20251231T230000Z\r\nDTEND:20260101T010000Z\r\nSUMMARY:work\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
BOOK = Book.of([Contract(id="acme", title="Acme", hosts=[HostTerms(id="web-1")])])


def outlook(store: Store, tmp_path: Path, text: str, decides: bool = True) -> Outlook:
    settings = parse(f"providers: {tmp_path / 'none'}\n{text}", CollectorSettings)
    return Outlook(store, FixedClock(T0), settings, lambda: BOOK, decides=lambda: decides, poke=lambda: None)


def seen(store: Store) -> list[tuple[str, Any, int]]:
    with store.read() as conn:
        return [(o.signal, o.value, o.at_ms - T0) for o in recent(conn, ["web-1"], 0)]


def test_a_calendar_by_address_makes_windows_and_one_that_breaks_leaves_them(
    store: Store, tmp_path: Path, site: Any
) -> None:
    site.says("/x.ics", ICS)
    made = outlook(store, tmp_path, f"calendars: [{{url: '{site.url}/x.ics', contract: acme}}]")
    feed = FeedSettings(url=f"{site.url}/x.ics", contract="acme")
    made.read_calendar(0, feed)
    made.look_at_windows()
    site.says("/x.ics", b"<html>", 500)
    made.read_calendar(0, feed)
    made.look_at_windows()
    assert seen(store) == [("ops.window", True, -3_600_000)]


def test_only_the_one_that_decides_looks(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "x.ics"
    file.write_bytes(ICS)
    made = outlook(store, tmp_path, "", decides=False)
    made.read_calendar(0, FeedSettings(file=file, contract="acme"))
    made.look_at_windows()
    made.look_at_anchors()
    assert seen(store) == []


def test_owners_of_hops_come_from_the_settings(store: Store, tmp_path: Path) -> None:
    made = outlook(store, tmp_path, "probes: {hops: [{net: 192.0.2.0/24, name: transit-X}]}")
    made.learn_hops()
    assert made.owners().name("192.0.2.9") == "transit-X"


def test_a_suspect_is_traced_once_a_minute_and_the_answer_is_an_observation(store: Store) -> None:
    row = {
        "id": "web-1",
        "contract_id": "acme",
        "addresses": ["192.0.2.1"],
        "topology": {},
        "token_hash": "x",
        "enrolled_at_ms": T0,
        "life": "suspect",
        "life_since_ms": T0,
        "silent_after_ms": T0,
    }
    store.write(lambda tx: tx.execute(insert(hosts).values(**row)))
    ctx = TickContext(can_trace=True)
    for at in (T0, T0 + 1000, T0 + AGAIN_MS):
        store.write(lambda tx, at=at: ask_traces(tx, at, ctx, TickReport()))
    store.write(lambda tx: ask_traces(tx, T0 + 2 * AGAIN_MS, TickContext(), TickReport()))
    with store.read() as conn:
        assert list(conn.execute(select(probes.c.asked_at_ms)).scalars()) == [T0, T0 + AGAIN_MS]
    (first, _) = store.write(lambda tx: probing.claim(tx, "w", T0 + AGAIN_MS, 10))
    answer = {"state": "ok", "facts": {"last_hop": "alfa-core"}}
    store.write(lambda tx: probing.settle(tx, "w", first.id, answer, T0 + AGAIN_MS))
    assert seen(store) == [("ext.last_hop", "alfa-core", AGAIN_MS)]
