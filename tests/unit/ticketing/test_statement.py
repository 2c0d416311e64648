"""The monthly statement against months that were computed by hand, and against a counter of every minute."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import loader
from tests.tools.examples import examples
from ticketing.clocks import Change
from ticketing.model import ClockKind, Reason
from ticketing.statement import spans
from ticketing.statement.make import statement
from ticketing.statement.model import History, Minutes, Outage, Period, Told
from ticketing.terms import Contract

H = 3_600_000
M = 60_000
KYIV = ZoneInfo("Europe/Kyiv")

ALWAYS = loader.parse(
    """
id: acme
title: Acme
calendar: {zone: Europe/Kyiv}
sla: {"2": {reaction: 30 min, resolution: 8 h}}
hosts:
  - {id: a1, kind: vds, services: [{name: site, check: {type: tcp, port: 443}}]}
  - {id: a2, kind: vds}
""",
    Contract,
)
OFFICE = loader.parse(
    """
id: office
title: Office
calendar: {zone: Europe/Kyiv, hours: {mon: ["09:00-18:00"], tue: ["09:00-18:00"], wed: ["09:00-18:00"],
           thu: ["09:00-18:00"], fri: ["09:00-18:00"]}}
sla: {"2": {reaction: 30 min, resolution: 8 h}}
hosts: [{id: o1, kind: vds}]
""",
    Contract,
)
OCTOBER = Period.month("2026-10", "Europe/Kyiv")
AFTER_MS = OCTOBER.to_ms + 10 * 86_400_000


def at(text: str) -> int:
    """``10-05 09:30`` of 2026, Kyiv."""
    return round(dt.datetime.fromisoformat(f"2026-{text}").replace(tzinfo=KYIV).timestamp() * 1000)


def change(kind: str, act: str, at_ms: int, target_ms: int = 0, why: str = "") -> dict:
    return Change(ClockKind(kind), act, at_ms, target_ms, why).to_dict()


def told(at_ms: int, kind: str, *changes: dict, actor: str = "olena", **body) -> Told:
    return Told(at_ms, actor, kind, {"clocks": list(changes), **body})


def opened(at_ms: int, reaction_ms: int = 30 * M, resolution_ms: int = 8 * H, kind: str = "open") -> Told:
    return told(
        at_ms,
        kind,
        change("reaction", "start", at_ms, reaction_ms),
        change("resolution", "start", at_ms, resolution_ms),
        actor="machine",
    )


def resolved(at_ms: int, **body) -> Told:
    return told(at_ms, "resolve", change("resolution", "stop", at_ms, why="resolved"), **body)


def history(number: int, *events: Told, **changes) -> History:
    created = events[0].at_ms
    values = {
        "id": number,
        "class_": 2,
        "root_cause": "os.disk_full",
        "family": "fs_space",
        "subject": "host:a1/fs:/var",
        "origin": "machine",
        "affected": ("a1",),
        "title": "",
        "summary": Reason("summary.unknown"),
        "began_at_ms": created,
        "created_at_ms": created,
    } | changes
    return History(**values, events=events)


def test_october_has_an_hour_more_in_kyiv_and_its_days_add_up_to_it():
    assert OCTOBER.to_ms - OCTOBER.from_ms == 31 * 24 * H + H
    days = OCTOBER.days(OCTOBER.to_ms)
    assert len(days) == 31
    assert sum(end - begin for _, (begin, end) in days) == OCTOBER.to_ms - OCTOBER.from_ms
    assert [end - begin for day, (begin, end) in days if day == 25] == [25 * H]
    assert len(OCTOBER.days(at("10-03 12:00"))) == 3


@pytest.mark.parametrize("label", ["2026-13", "2026-1", "10-2026", "", "2026-00", "1999-05", "2026-10-01"])
def test_what_is_no_month_is_said(label):
    with pytest.raises(ValueError, match="not a month"):
        Period.month(label, "Europe/Kyiv")


def test_a_ticket_by_hand_whose_minutes_are_ours_the_clients_and_the_providers():
    """10:00 opened, 10:20 taken, 11:00 client asked, 13:00 answered, 14:00 provider asked, 17:00 it answered, 18:00 done."""
    ticket = history(
        1,
        opened(at("10-05 10:00")),
        told(at("10-05 10:20"), "take", change("reaction", "stop", at("10-05 10:20"))),
        told(at("10-05 11:00"), "ask_client", change("resolution", "pause", at("10-05 11:00"), why="waiting_client"),
             text="Який диск?"),
        told(at("10-05 13:00"), "client_answered", change("resolution", "resume", at("10-05 13:00"))),
        told(at("10-05 14:00"), "ask_provider", change("provider", "start", at("10-05 14:00"), 24 * H)),
        told(at("10-05 17:00"), "provider_answered", change("provider", "pause", at("10-05 17:00"), why="answered")),
        resolved(at("10-05 18:00")),
    )  # fmt: skip
    made = statement(ALWAYS, OCTOBER, [ticket], AFTER_MS)
    (part,) = made.tickets
    assert part.minutes == Minutes(ours_ms=3 * H, client_ms=2 * H, provider_ms=3 * H)
    assert part.minutes.whole_ms == 8 * H
    assert (part.reaction.outcome, part.reaction.spent_ms) == ("kept", 20 * M)
    assert (part.resolution.outcome, part.resolution.spent_ms) == ("kept", 6 * H)
    assert part.provider.spent_ms == 3 * H
    (pause,) = made.pauses
    assert (pause.why, pause.working_ms, pause.text) == ("waiting_client", 2 * H, "Який диск?")
    (second,) = [one for one in made.classes if one.class_ == 2]
    assert (second.opened, second.resolved, second.left_open, second.carried) == (1, 1, 0, 0)
    assert (second.reaction_kept, second.resolution_kept, second.resolution_breached) == (1, 1, 0)
    assert second.resolution_median_ms == 6 * H
    assert made.minutes == part.minutes


def test_outside_the_hours_nobody_is_charged():
    """Friday 17:00 to Monday 10:00 in an office contract: 1 h on Friday and 1 h on Monday are ours."""
    ticket = history(1, opened(at("10-09 17:00")), resolved(at("10-12 10:00")))
    made = statement(OFFICE, OCTOBER, [ticket], AFTER_MS)
    assert made.minutes == Minutes(ours_ms=2 * H, outside_ms=63 * H)
    assert made.tickets[0].resolution.spent_ms == 2 * H


def test_a_pause_over_the_night_counts_its_working_part_only():
    ticket = history(
        1,
        opened(at("10-05 17:00")),
        told(
            at("10-05 17:30"),
            "ask_client",
            change("resolution", "pause", at("10-05 17:30"), why="waiting_client"),
        ),
        told(at("10-06 09:30"), "client_answered", change("resolution", "resume", at("10-06 09:30"))),
        resolved(at("10-06 10:00")),
    )
    made = statement(OFFICE, OCTOBER, [ticket], AFTER_MS)
    assert made.minutes == Minutes(ours_ms=H, client_ms=H, outside_ms=15 * H)
    assert made.pauses[0].working_ms == H


def test_a_promise_that_was_broken_is_counted_in_the_month_in_which_it_broke():
    started = OCTOBER.to_ms - 4 * H
    ticket = history(1, opened(started), resolved(started + 20 * H))
    october = statement(ALWAYS, OCTOBER, [ticket], AFTER_MS)
    november = statement(ALWAYS, Period.month("2026-11", "Europe/Kyiv"), [ticket], AFTER_MS)
    # At the end of October half of the eight hours were spent; the reaction had been broken after 30 minutes.
    assert (october.tickets[0].resolution.outcome, october.tickets[0].resolution.spent_ms) == (
        "running",
        4 * H,
    )
    assert october.tickets[0].is_open and not october.tickets[0].is_carried
    counted = {one.class_: one for one in october.classes}[2]
    assert (counted.reaction_breached, counted.resolution_breached, counted.left_open) == (1, 0, 1)
    counted = {one.class_: one for one in november.classes}[2]
    assert (counted.carried, counted.opened, counted.resolved) == (1, 0, 1)
    assert (counted.reaction_breached, counted.resolution_breached) == (0, 1)
    assert october.minutes.whole_ms + november.minutes.whole_ms == 20 * H


def test_a_month_reads_the_same_however_late_it_is_made():
    late = told(at("11-20 10:00"), "reopen", change("resolution", "resume", at("11-20 10:00")))
    judged = told(at("11-20 11:00"), "requalify", before={"class": 2, "root_cause": "os.disk_full"},
                  after={"class": 1, "root_cause": "hw.disk"})  # fmt: skip
    events = (opened(at("10-05 10:00")), resolved(at("10-05 11:00")))
    then = statement(ALWAYS, OCTOBER, [history(1, *events)], OCTOBER.to_ms + 1)
    now = statement(ALWAYS, OCTOBER, [history(1, *events, late, judged, class_=1, root_cause="hw.disk")],
                    at("12-01 00:00"))  # fmt: skip
    assert (then.tickets, then.classes, then.minutes) == (now.tickets, now.classes, now.minutes)


def test_a_reopened_ticket_adds_its_second_time_and_its_gap_is_nobodys():
    ticket = history(
        1,
        opened(at("10-05 10:00")),
        resolved(at("10-05 12:00")),
        told(at("10-05 15:00"), "reopen", change("resolution", "resume", at("10-05 15:00"))),
        resolved(at("10-05 16:00")),
    )
    made = statement(ALWAYS, OCTOBER, [ticket], AFTER_MS)
    assert made.minutes == Minutes(ours_ms=3 * H)
    assert (made.tickets[0].reopened, made.tickets[0].resolution.spent_ms) == (1, 3 * H)


def test_what_came_back_in_the_next_month_as_something_else_does_not_change_this_one():
    events = (opened(at("10-31 10:00")), resolved(at("10-31 12:00")))
    again = told(at("11-01 02:00"), "reopen", change("resolution", "resume", at("11-01 02:00")),
                 before={"class": 2, "root_cause": "os.agent_down"}, after={"class": 1, "root_cause": "hw.disk"})  # fmt: skip
    ticket = history(1, *events, again, class_=1, root_cause="hw.disk")
    made = statement(ALWAYS, OCTOBER, [ticket], at("12-01 00:00"))
    assert (made.tickets[0].class_, made.tickets[0].root_cause) == (2, "os.agent_down")


def test_a_merged_ticket_is_told_by_the_one_that_took_it():
    merged = told(at("10-05 11:00"), "merge", change("resolution", "stop", at("10-05 11:00"), why="moot"),
                  ticket=1, into=2)  # fmt: skip
    made = statement(ALWAYS, OCTOBER, [history(1, opened(at("10-05 10:00")), merged)], AFTER_MS)
    assert made.tickets == () and made.minutes == Minutes()


def test_what_ended_before_the_month_or_began_after_it_is_not_in_it():
    before = history(1, opened(at("09-05 10:00")), resolved(at("09-06 10:00")))
    after = history(2, opened(at("11-05 10:00")))
    made = statement(ALWAYS, OCTOBER, [before, after], AFTER_MS)
    assert made.tickets == ()


def test_a_month_that_is_not_over_ends_now():
    made = statement(ALWAYS, OCTOBER, [history(1, opened(at("10-05 10:00")))], at("10-05 12:00"))
    assert made.until_ms == at("10-05 12:00")
    assert made.minutes == Minutes(ours_ms=2 * H)
    assert made.hosts[0].whole_ms == at("10-05 12:00") - OCTOBER.from_ms


def silence(number: int, begin: str, end: str, **changes) -> History:
    values = {
        "family": "silence",
        "subject": "host:a1",
        "root_cause": "virt.node_failure",
        "class_": 1,
    } | changes
    events = [opened(at(begin) + 20_000), *([resolved(at(end) + 60_000, ended_at_ms=at(end))] if end else [])]
    return history(number, *events, began_at_ms=at(begin), **values)


def test_availability_by_hand_with_a_planned_window_apart():
    """Down 02:00-05:00, planned 03:00-04:00: two hours count, in two stretches, one is planned."""
    planned = {"a1": [(at("10-07 03:00"), at("10-07 04:00"))]}
    made = statement(ALWAYS, OCTOBER, [silence(1, "10-07 02:00", "10-07 05:00")], AFTER_MS, planned=planned)
    a1, a2 = made.hosts
    assert (a1.down_ms, a1.planned_ms, a1.outages) == (2 * H, H, 2)
    assert a1.pct == pytest.approx(100 * (745 - 2) / 745)
    assert (a2.down_ms, a2.pct) == (0, 100.0)
    assert [row for row in made.down_by_day if row[1] or row[2]] == [(7, 2 * H, H)]


def test_a_silent_agent_on_a_server_that_answers_and_what_was_no_fault_are_no_outage():
    quiet = [
        silence(1, "10-07 02:00", "10-07 05:00", root_cause="os.agent_down"),
        silence(2, "10-08 02:00", "10-08 05:00", root_cause="none.planned"),
        history(3, opened(at("10-09 02:00"))),
    ]
    assert [row.down_ms for row in statement(ALWAYS, OCTOBER, quiet, AFTER_MS).hosts] == [0, 0]


def test_two_tickets_and_a_probe_over_the_same_hours_count_once():
    both = [silence(1, "10-07 02:00", "10-07 04:00"), silence(2, "10-07 03:00", "10-07 05:00")]
    probed = [
        Outage("a1", "site", (at("10-07 01:00"), at("10-07 05:00"))),
        Outage("a1", "", (at("10-07 03:30"), at("10-07 04:30"))),
    ]
    made = statement(ALWAYS, OCTOBER, both, AFTER_MS, probed=probed)
    assert made.hosts[0].down_ms == 3 * H
    (site,) = made.services
    assert (site.service, site.down_ms) == ("site", 4 * H)
    assert [row for row in made.down_by_day if row[1]] == [(7, 4 * H, 0)]


def test_an_outage_over_the_months_edge_counts_in_each_month_its_part():
    over = silence(1, "10-31 23:00", "11-01 02:00")
    november = Period.month("2026-11", "Europe/Kyiv")
    assert statement(ALWAYS, OCTOBER, [over], AFTER_MS).hosts[0].down_ms == H
    assert statement(ALWAYS, november, [over], AFTER_MS).hosts[0].down_ms == 2 * H


def test_a_server_that_is_still_down_counts_until_the_end():
    made = statement(ALWAYS, OCTOBER, [silence(1, "10-31 20:00", "")], AFTER_MS)
    assert made.hosts[0].down_ms == 4 * H


def test_a_service_is_named_by_its_subject():
    ticket = silence(1, "10-07 02:00", "10-07 05:00", family="service", subject="host:a1/service:site")
    made = statement(ALWAYS, OCTOBER, [ticket], AFTER_MS)
    assert [(s.host_id, s.service, s.down_ms) for s in made.services] == [("a1", "site", 3 * H)]
    assert made.hosts[0].down_ms == 0


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(["pause", "resume", "stop", "provider", "answered", "pause_other"]),
        st.integers(1, 400),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=examples(80))
@given(steps=_ACTS, start=st.integers(0, 40 * 1440), office=st.booleans())
def test_every_minute_of_an_open_ticket_has_one_owner_as_a_counter_of_minutes_says(steps, start, office):
    """October has a night of 25 hours; tickets begin up to eleven days before it and reach over both of its edges."""
    contract = OFFICE if office else ALWAYS
    calendar = contract.calendar.calendar
    at_ms = OCTOBER.from_ms + (start - 11 * 1440) * M
    events = [opened(at_ms)]
    timeline: list[tuple[int, str]] = [(at_ms, "run")]
    owed: list[tuple[int, bool]] = []
    state = "run"
    for word, gap in steps:
        at_ms += gap * M
        if word in ("pause", "pause_other"):
            why = "waiting_client" if word == "pause" else "agreed_work"
            events.append(told(at_ms, "ask_client", change("resolution", "pause", at_ms, why=why)))
            if state == "run":
                state = "client" if word == "pause" else "other"
        elif word in ("resume", "stop"):
            events.append(told(at_ms, word, change("resolution", word, at_ms, why="")))
            state = "run" if word == "resume" else "stop"
        else:
            is_owed = word == "provider"
            act = "start" if is_owed else "pause"
            if is_owed or owed:
                events.append(told(at_ms, word, change("provider", act, at_ms, H, "provider_answered")))
                owed.append((at_ms, is_owed))
        timeline.append((at_ms, state))
    made = statement(contract, OCTOBER, [history(1, *events)], AFTER_MS)
    counted = dict.fromkeys(("ours_ms", "client_ms", "provider_ms", "other_ms", "outside_ms"), 0)
    end_ms = min(OCTOBER.to_ms, max(OCTOBER.from_ms, at_ms) + 3 * 1440 * M)
    last_state, position, debts = "stop", 0, False
    debt_at = 0
    for minute in range(max(OCTOBER.from_ms, timeline[0][0]), end_ms, M):
        while position < len(timeline) and timeline[position][0] <= minute:
            last_state = timeline[position][1]
            position += 1
        while debt_at < len(owed) and owed[debt_at][0] <= minute:
            debts = owed[debt_at][1]
            debt_at += 1
        if last_state == "stop":
            continue
        owner = {"client": "client_ms", "other": "other_ms"}.get(
            last_state, "provider_ms" if debts else "ours_ms"
        )
        counted[owner if calendar.is_working(minute) else "outside_ms"] += M
    if end_ms < OCTOBER.to_ms and last_state != "stop":
        # The counter stops three days after the last act; from there on the ticket goes on in its last state.
        rest = (end_ms, OCTOBER.to_ms)
        working = calendar.spent(*rest)
        owner = {"client": "client_ms", "other": "other_ms"}.get(
            last_state, "provider_ms" if debts else "ours_ms"
        )
        counted[owner] += working
        counted["outside_ms"] += rest[1] - rest[0] - working
    assert made.minutes == Minutes(**counted)


_SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


@given(_SPANS, _SPANS)
def test_stretches_are_added_and_subtracted_as_sets_of_minutes_are(one, other):
    def points(found) -> set[int]:
        return {p for begin, end in found for p in range(begin, end)}

    assert points(spans.union(one)) == points(one)
    assert points(spans.subtract(one, other)) == points(one) - points(other)
    assert points(spans.overlap(one, other)) == points(one) & points(other)
    assert points(spans.clip(one, 10, 30)) == points(one) & set(range(10, 30))
    for found in (spans.union(one), spans.subtract(one, other), spans.overlap(one, other)):
        assert spans.length(found) == len(points(found))
        assert found == sorted(found)
