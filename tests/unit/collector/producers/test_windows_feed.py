"""Planned windows: real iCalendar text with recurrence, zones and DST; bounds; observations with their true instants."""

from __future__ import annotations

import datetime as dt

import pytest

from collector.observed import recent
from collector.store.engine import Store
from collector.windows_feed import (
    FeedFault,
    FeedSettings,
    Planned,
    changes,
    planned_in,
    planned_of,
    read_feed,
    window_at,
    write_windows,
)
from ticketing.contracts import Book
from ticketing.terms import Contract, HostTerms, Topology, Window

pytestmark = pytest.mark.collector

DAY = 86_400_000


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def ics(*lines: str) -> bytes:
    return "\r\n".join(
        [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:-//x//y//EN",
            "BEGIN:VEVENT",
            "UID:1",
            "DTSTAMP:20260101T000000Z",
            *lines,
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        ]
    ).encode()


WEEKLY = ics(
    "DTSTART;TZID=Europe/Kyiv:20260301T020000",
    "DTEND;TZID=Europe/Kyiv:20260301T040000",
    "RRULE:FREQ=WEEKLY;BYDAY=SU",
    "EXDATE;TZID=Europe/Kyiv:20260315T020000",
    "SUMMARY:Nightly  work",
    "CATEGORIES:web-1",
)

BOOK = Book.of(
    [
        Contract(
            id="acme",
            title="Acme",
            hosts=[
                HostTerms(id="web-1", topology=Topology(provider="alfa")),
                HostTerms(id="web-2", topology=Topology(provider="beta")),
            ],
            windows=[Window("2026-03-22 02:00", "2026-03-22 04:00", "move", ["web-2"])],
        )
    ]
)


def test_a_weekly_window_keeps_its_local_hour_over_dst_and_leaves_its_exceptions_out() -> None:
    found = read_feed(WEEKLY, "Europe/Kyiv", ms("2026-03-14T00:00:00+02:00"), ms("2026-04-06T00:00:00+03:00"))
    assert [(start, end) for start, end, _, _ in found] == [
        (ms("2026-03-22T02:00:00+02:00"), ms("2026-03-22T04:00:00+02:00")),
        # On the 29th the clock goes from 03:00 to 04:00: the window lasts an hour less.
        (ms("2026-03-29T02:00:00+02:00"), ms("2026-03-29T04:00:00+03:00")),
        (ms("2026-04-05T02:00:00+03:00"), ms("2026-04-05T04:00:00+03:00")),
    ]
    assert found[0][2:] == ("Nightly work", frozenset({"web-1"}))


def test_a_whole_day_and_a_floating_time_are_local_and_a_cancelled_event_is_none() -> None:
    span = (ms("2026-03-01T00:00:00+00:00"), ms("2026-03-04T00:00:00+00:00"))
    day = read_feed(ics("DTSTART;VALUE=DATE:20260302"), "Europe/Kyiv", *span)
    assert [(s, e) for s, e, _, _ in day] == [
        (ms("2026-03-02T00:00:00+02:00"), ms("2026-03-03T00:00:00+02:00"))
    ]
    floating = read_feed(ics("DTSTART:20260302T100000", "DURATION:PT30M"), "Europe/Kyiv", *span)
    assert floating[0][:2] == (ms("2026-03-02T10:00:00+02:00"), ms("2026-03-02T10:30:00+02:00"))
    assert read_feed(ics("DTSTART:20260302T100000Z", "DURATION:PT1H", "STATUS:CANCELLED"), "UTC", *span) == []


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\x00\xff not a calendar", "cannot be read|can be read"),
        (b"", "can be read"),
        (ics("DTSTART:20260302T100000Z", "RRULE:FREQ=SECONDLY"), "by the minute"),
        (
            ics("DTSTART:20260302T100000Z", "RRULE:FR", " EQ=MINUTELY").replace(b"FR\r\n EQ", b"FR\r\n EQ"),
            "by the minute",
        ),
        (b"x" * (1024 * 1024 + 1), "larger than"),
    ],
)
def test_a_calendar_that_cannot_be_taken_says_why(octets: bytes, words: str) -> None:
    with pytest.raises(FeedFault, match=words):
        read_feed(octets, "UTC", ms("2026-03-01T00:00:00+00:00"), ms("2026-03-04T00:00:00+00:00"))


def test_a_feed_covers_its_scope_and_categories_narrow_it() -> None:
    now = ms("2026-03-22T03:00:00+02:00")
    feed = FeedSettings(url="https://x/y.ics", contract="acme")
    (window,) = planned_of(feed, WEEKLY, BOOK, now)
    assert window.host_ids == {"web-1"}
    (window,) = planned_of(feed, WEEKLY.replace(b"CATEGORIES:web-1\r\n", b""), BOOK, now)
    assert window.host_ids == {"web-1", "web-2"}
    (window,) = planned_of(FeedSettings(url="https://x/y.ics", provider="beta"), WEEKLY, BOOK, now)
    assert window.host_ids == {"web-2"}
    assert window_at([window], "web-2", now) == window and window_at([window], "web-2", window.to_ms) is None


def test_windows_become_observations_dated_by_their_own_instants(store: Store) -> None:
    start, end = ms("2026-03-22T02:00:00+02:00"), ms("2026-03-22T04:00:00+02:00")
    for now in (start - 1, start + 3_000, start + 60_000, end - 1, end + 4_000, end + 60_000):
        store.write(lambda tx, now=now: write_windows(tx, planned_in(BOOK, now), BOOK, now))
    with store.read() as conn:
        seen = [(o.host_id, o.signal, o.value, o.at_ms) for o in recent(conn, ["web-1", "web-2"], 0)]
    assert seen == [("web-2", "ops.window", True, start), ("web-2", "ops.window", False, end)]


def test_a_window_that_was_taken_back_ends_now() -> None:
    assert changes([], {"a": True, "b": False}, 5 * DAY) == [("a", False, 5 * DAY)]
    overlapping = [Planned(0, 10, "", frozenset("a")), Planned(5, 20, "", frozenset("a"))]
    assert changes(overlapping, {"a": True}, 12) == []


def test_a_feed_has_one_source_and_one_scope() -> None:
    assert {key for key, _ in FeedSettings(zone="Nowhere").faults()} == {"url", "contract", "zone"}
    assert FeedSettings(url="https://x", hosts=["a"]).faults() == []
