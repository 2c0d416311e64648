"""The pure parts of the web room, and its tables against those of the desk."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from collector.fleet import Life
from collector.web import (
    act_forms,
    clock_lines,
    durations,
    language,
    live,
    paging,
    render,
    safety,
    ticket_search,
    tones,
)
from collector.web.context import EVERYTHING, MAX_TOPICS, Bell
from ticketing.model import FAMILIES, SEVERITIES, TicketState
from ticketing.queries import ClockView
from ticketing.texts import read_catalogue, texts
from ticketing.transitions import PERSON_ACTS

pytestmark = pytest.mark.collector

WEB = Path(render.__file__).parent


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "", None, "/login",
               "tickets", "/" + "a" * 600],
)  # fmt: skip
def test_the_way_back_after_log_in_never_leaves_this_site(wanted):
    assert safety.safe_next(wanted) == "/tickets"


def test_the_way_back_keeps_a_path_of_ours():
    assert safety.safe_next("/tickets/2?show=all") == "/tickets/2?show=all"


def test_a_forms_token_belongs_to_one_session():
    assert safety.is_csrf_token("one", safety.csrf_token("one"))
    assert not safety.is_csrf_token("two", safety.csrf_token("one"))
    assert not safety.is_csrf_token("one", "")
    assert not safety.is_csrf_token("one", "ї")


@pytest.mark.parametrize(
    ("header", "spoken"),
    [
        ("en-GB,en;q=0.9", "en"),
        ("de,uk;q=0.4,en;q=0.3", "uk"),
        ("de", "uk"),
        ("", "uk"),
        ("en;q=x", "uk"),
        ("en;q=0", "uk"),
    ],
)
def test_the_browsers_wish_for_a_language_is_weighed(header, spoken):
    assert language.from_accept_language(header) == spoken


def test_what_was_switched_to_comes_before_the_persons_own_language():
    assert language.choose("en", "uk", "uk") == "en"
    assert language.choose(None, "en", "uk") == "en"
    assert language.choose("xx", None, None) == "uk"


def test_every_act_of_a_person_has_its_form():
    assert set(act_forms.FIELDS) == set(PERSON_ACTS)


def test_every_state_life_severity_and_family_has_tone_and_text():
    render.environment()
    assert set(tones.STATE_TONES) == {state.value for state in TicketState}
    assert set(tones.LIFE_TONES) == {life.value for life in Life}
    assert set(tones.SEVERITY_TONES) == set(SEVERITIES)
    for words in (texts("uk"), texts("en")):
        assert all(f"web.family.{family}" in words for family in FAMILIES)
        assert all(f"web.life.{life.value}" in words for life in Life)


def test_both_catalogues_hold_the_same_keys_placeholders_and_enough_plurals():
    both = {code: read_catalogue(WEB / "texts" / f"{code}.po", code)[0] for code in ("uk", "en")}
    assert both["uk"].keys() == both["en"].keys()
    for key, forms in both["uk"].items():
        assert all(forms) and all(both["en"][key]), key
        wanted = {frozenset(re.findall(r"\{(\w+)", form)) for form in (*forms, *both["en"][key])}
        assert len(wanted) == 1, key
        assert (len(forms), len(both["en"][key])) in ((1, 1), (3, 2)), key


def test_every_key_that_templates_and_code_name_exists_and_none_is_idle():
    render.environment()
    sources = "".join(
        p.read_text() for p in [*WEB.rglob("*.html"), *WEB.rglob("*.py"), *(WEB.parent / "api").rglob("*.py")]
    )
    named = set(re.findall(r"[\"'](web\.[a-z0-9_.]+[a-z0-9])[\"']", sources))
    prefixes = tuple(set(re.findall(r"[\"'](web\.[a-z0-9_.]*[._])(?:[\"'] ~|\{)", sources)))
    keys = {key for key in set(texts("uk").keys()) if key.startswith("web.")}
    assert named - keys == set()
    assert {key for key in keys - named if not key.startswith(prefixes)} == set()


def test_plurals_of_the_pages_are_right_in_ukrainian():
    render.environment()
    said = [texts("uk").get("web.ticket.impact", n=n) for n in (1, 2, 5, 11, 21)]
    assert said == [
        "Зачеплено 1 сервер", "Зачеплено 2 сервери", "Зачеплено 5 серверів", "Зачеплено 11 серверів", "Зачеплено 21 сервер",
    ]  # fmt: skip


class Always:
    """A calendar that never closes."""

    def spent(self, from_ms, to_ms):
        return to_ms - from_ms


def _clock(**changes):
    values = {
        "kind": "reaction", "state": "running", "target_ms": 600_000, "spent_ms": 0, "running_since_ms": 0,
        "due_at_ms": 600_000, "pause_reason": "", "warned_pct": 0, "outcome": "",
    }  # fmt: skip
    return ClockView(**{**values, **changes})


@pytest.mark.parametrize(
    ("now_ms", "tone", "text"),
    [
        (60_000, "good", "9 min left"),
        (300_000, "warn", "5 min left"),
        (560_000, "bad", "40 s left"),
        (780_000, "bad", "overdue by 3 min"),
    ],
)
def test_a_running_clock_says_what_is_left_in_words_and_tone(now_ms, tone, text):
    render.environment()
    (line,) = clock_lines.clock_lines(texts("en"), [_clock()], Always(), now_ms)
    assert (line.tone, line.text) == (tone, text)
    assert line.left_ms == 600_000 - now_ms


def test_a_paused_and_a_stopped_clock_do_not_run_on():
    render.environment()
    paused = _clock(state="paused", spent_ms=120_000, running_since_ms=None, due_at_ms=None)
    breached = _clock(
        state="stopped", spent_ms=700_000, running_since_ms=None, due_at_ms=None, outcome="breached"
    )
    lines = clock_lines.clock_lines(texts("en"), [paused, breached], Always(), 10**9)
    assert [line.text for line in lines] == ["paused, 8 min left", "breached: 11 min"]


def test_short_durations_take_the_two_largest_units_and_never_flatter():
    render.environment()
    said = [
        durations.short(texts("en"), ms) for ms in (0, 59_999, 60_000, 13_739_000, 90_000_000, 86_400_000)
    ]
    assert said == ["0 s", "59 s", "1 min", "3 h 48 min", "1 d 1 h", "1 d"]


def test_marks_of_pages_and_numbers_from_addresses_are_bounded():
    assert ticket_search.mark(ticket_search.mark_text((12, 3))) == (12, 3)
    assert ticket_search.mark("9" * 40 + ".1") is None
    assert ticket_search.mark("x") is None
    assert paging.number("٣", 1, 9) is None
    assert paging.number("12", 1, 9) is None
    assert paging.url("/tickets", {"q": "а б", "line": None}, "1.2") == "/tickets?q=%D0%B0+%D0%B1&after=1.2"


def test_the_bell_folds_what_rang_and_a_storm_into_everything():
    async def listen():
        bell = Bell()
        with bell.listening() as listener:
            bell.ring_ticket(1)
            bell.ring("hosts")
            first = await listener.heard(1)
            bell.ring_ticket(*range(MAX_TOPICS + 1))
            second = await listener.heard(1)
            third = await listener.heard(0.001)
        return first, second, third, bell.listeners

    first, second, third, left = asyncio.run(listen())
    assert first == {"tickets", "ticket:1", "hosts"}
    assert second == {EVERYTHING}
    assert (third, left) == (set(), 0)


def test_a_clients_stream_names_no_ticket():
    assert live.message({"ticket:5", "hosts"}, is_client=True) == b"event: changed\ndata: hosts tickets\n\n"
    assert b"ticket:5" in live.message({"ticket:5"}, is_client=False)


def test_open_streams_are_bounded_per_person_and_in_all():
    streams = live.Streams(most=3, most_per_person=2)
    assert [streams.take(name) for name in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    streams.give_back("a")
    assert streams.take("c")
