"""What a ticket's page makes of its evidence."""

from __future__ import annotations

from typing import Any

import pytest

from agent.checks.answer import STATES
from agent.forensics import KINDS
from agent.signals import catalogue
from collector.web.evidence_view import evidence_view, meaning, newest, signal_value
from collector.web.render import TEXTS_FOLDER
from ticketing.queries import EventView
from ticketing.texts import register, texts

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000
VITALS = {"load.per_cpu": [[T0 - 60_000, 1.015], [T0 - 30_000, 2.0]]}
OWN = {"fs.used_pct": [[T0 - 60_000, 90.0], [T0, 99.0]]}


def event(id: int, **body: Any) -> EventView:
    return EventView(id, T0 + id, "machine", "evidence", False, body)


@pytest.mark.parametrize("language", ["uk", "en"])
def test_a_plot_of_kept_heartbeats_is_drawn_with_the_moment_marked_and_says_whose_it_is(
    language: str,
) -> None:
    body = newest([event(1, host="a1", at_ms=T0, series=VITALS, is_from_vitals=True)])
    view = evidence_view(texts(language), body, T0)
    assert view is not None and view.is_from_vitals
    ((_, drawing),) = view.plots
    assert 'class="plot-mark"' in drawing
    assert "ratio" not in drawing, "a load has no unit to show"


def test_the_agent_s_own_series_that_come_later_take_the_place_of_the_heartbeats() -> None:
    events = [event(1, host="a1", series=VITALS, is_from_vitals=True), event(2, host="a1", series=OWN)]
    body = newest(events)
    assert body["series"] == OWN
    assert not body["is_from_vitals"]


def test_later_evidence_without_series_leaves_the_plots_of_the_heartbeats() -> None:
    body = newest(
        [event(1, host="a1", series=VITALS, is_from_vitals=True), event(2, notes={"probe.ssh": "ok"})]
    )
    assert body["series"] == VITALS and body["is_from_vitals"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["uk", "en"])
def test_what_a_gap_was_is_said_in_words(language: str, kind: str) -> None:
    register(TEXTS_FOLDER)
    said = signal_value(texts(language), "host.gap", {"kind": kind, "rung": "gateway", "why": ["x"]})
    assert kind not in said and "web.gap" not in said
    assert ("gateway" in said or "шлюз" in said) is (kind == "network_cut")


def test_a_gap_of_a_kind_that_a_newer_agent_knows_is_shown_as_it_is() -> None:
    assert "moon" in signal_value(texts("en"), "host.gap", {"kind": "moon"})


def test_a_note_that_is_an_instant_is_read_as_one():
    """The silent host's last report stood on the page as a row of digits."""
    body = {"notes": {"last_report_at_ms": 1_700_000_000_000, "asked": ["icmp", "ssh"]}}
    for language, name in (("uk", "Останній звіт"), ("en", "Last report")):
        view = evidence_view(texts(language), body, 0)
        assert view is not None
        assert view.notes[0][0] == name
        assert "1700000000000" not in view.notes[0][1]
        assert view.notes[1] == ("asked", "icmp, ssh")


def test_a_flag_is_yes_or_no_also_before_and_is_drawn_only_where_it_moved() -> None:
    still = [[T0 + n * 1000, 0] for n in range(5)]
    moved = [[T0 + n * 1000, n // 3] for n in range(5)]
    body = {
        "facts": {"fs.ro": {"now": True, "before": 0.0, "unit": "bool"}},
        "series": {"fs.ro": still, "fs.hung": moved, "fs.used_pct": still},
    }
    view = evidence_view(texts("uk"), body, T0)
    assert view is not None
    (fact,) = view.facts
    assert (fact.now, fact.before) == ("так", "ні")
    assert len(view.plots) == 2 and "bool" not in "".join(svg for _, svg in view.plots)


@pytest.mark.parametrize(
    ("language", "name"), [("uk", "Зупинені процеси (SIGSTOP)"), ("en", "Stopped processes (SIGSTOP)")]
)
def test_notes_have_names_for_people_and_our_own_are_not_shown(language: str, name: str) -> None:
    body = {
        "notes": {"stopped": ["python", "nginx"], "gathered_in_ms": 3},
        "facts": {"fs.ro": {"now": False}},
    }
    view = evidence_view(texts(language), body, T0)
    assert view is not None and view.notes == [(name, "python, nginx")]


@pytest.mark.parametrize("language", ["uk", "en"])
def test_every_signal_of_the_catalogue_has_a_name_for_people(language: str) -> None:
    assert [name for name in catalogue.BY_NAME if meaning(texts(language), name) == name] == []


def test_a_unit_that_only_lists_what_a_value_may_be_is_not_said_beside_it() -> None:
    assert signal_value(texts("en"), "net.anchors", 3) == "3"
    assert signal_value(texts("uk"), "silence.outcome", "agent_gone") == "агента немає, сервер відповідає"
    assert signal_value(texts("en"), "fs.used_pct", 97.25) == "97.2 %"


def test_words_of_signals_are_said_in_the_readers_language() -> None:
    every = {"...", "EIO", "ENOTCONN", "ESTALE", "0", "3", *STATES}
    for signal in catalogue.BY_NAME.values():
        for word in signal.unit.split("|") if "|" in signal.unit else ():
            every.add(word)
    said = {word for word in every if (word.isalpha() and not word.startswith("E")) or "_" in word}
    for language in ("uk", "en"):
        assert [word for word in sorted(said) if f"web.word.{word}" not in texts(language)] == []
    assert signal_value(texts("uk"), "ext.svc", "dead") == "не відповідає"
    assert signal_value(texts("uk"), "check.state", "timeout") == "не відповідає вчасно"
    assert signal_value(texts("uk"), "kmsg", "ok") == "ok", "a line is not ours to translate"
    assert signal_value(texts("uk"), "ext.last_hop", "host") == "host"
