"""The README's three faults, on real processes: the ticket that each gives, its words in both languages, its end."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, household, wait_for
from tests.tools.needs import require_kernel
from ticketing.texts import texts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

KEY = re.compile(r"\b[a-z_]+\.[a-z_]+\.[a-z_.]+\b")
"""What an untranslated message looks like."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require_kernel("mount_namespaces")
    with household(tmp_path_factory.mktemp("three")) as running:
        yield running


def _assert_is_a_whole_ticket(house: House, ticket: dict[str, Any], cause: str) -> None:
    assert (ticket["class"], ticket["root_cause"]) == (2, cause)
    assert ticket["line"] >= 1
    clocks = {clock["kind"]: clock for clock in ticket["clocks"]}
    assert {kind: clock["state"] for kind, clock in clocks.items()} == {
        "reaction": "running",
        "resolution": "running",
    }
    assert clocks["reaction"]["due_at_ms"] == ticket["created_at_ms"] + clocks["reaction"]["target_ms"]
    assert ticket["reasons"], "a ticket without reasons"
    ukrainian, english = house.ticket(ticket["id"], "admin"), house.ticket(ticket["id"], "engineer")
    for view, letters in ((ukrainian, "[а-яіїєґ]"), (english, "[a-z]")):
        for words in (
            view["summary"],
            view["cause"],
            *(r["text"] for r in view["reasons"]),
            *view["next_steps"],
        ):
            assert words and not KEY.fullmatch(words), f"untranslated: {words!r}"
            assert re.search(letters, words.lower()), f"in the wrong language: {words!r}"
    assert not any(re.search("[а-яіїєґ]", r["text"].lower()) for r in english["reasons"])
    _assert_is_drawn(house, ticket)


def _assert_is_drawn(house: House, ticket: dict[str, Any]) -> None:
    """The series around the moment, as a plot with the moment marked."""
    series = ticket["evidence"]["series"]
    assert series, "no series around the moment"
    assert all(len(line) >= 2 for line in series.values())
    assert min(at for line in series.values() for at, _ in line) < ticket["began_at_ms"]
    drawn = re.findall(r'<svg class="plot".*?</svg>', house.page(f"/tickets/{ticket['id']}"), re.DOTALL)
    assert drawn and all('class="plot-mark"' in plot for plot in drawn)


def test_a_full_file_system_gives_a_ticket_that_resolves_by_itself(house: House) -> None:
    house.cause("disk")
    ticket = wait_for("a ticket about the disk", 60, lambda: house.open_tickets().get("fs_space"))
    _assert_is_a_whole_ticket(house, ticket, "os.disk_full")
    assert "/small" in ticket["summary"]
    assert ticket["began_at_ms"] < ticket["created_at_ms"], "the outage counts from when it began"
    house.heal()
    _assert_resolves(house, ticket)


def test_a_service_that_stops_answering_gives_a_ticket_that_resolves_by_itself(house: House) -> None:
    house.cause("service")
    ticket = wait_for("a ticket about the service", 60, lambda: house.open_tickets().get("service"))
    assert "demo-site" in ticket["summary"]
    wait_for(
        "the inside view says that the service itself failed",
        60,
        lambda: house.ticket(ticket["id"])["root_cause"] == "os.service_failed",
    )
    _assert_is_a_whole_ticket(house, house.ticket(ticket["id"]), "os.service_failed")
    house.heal()
    _assert_resolves(house, ticket)


def test_a_frozen_agent_gives_a_ticket_that_says_the_host_answers(house: House) -> None:
    frozen_at = time.monotonic()
    house.cause("agent")
    ticket = wait_for("a ticket about the agent", 60, lambda: house.open_tickets().get("silence"))
    # The design's budget is 25 s at a heartbeat of 10 s; the machine of the tests is shared, so half as much again.
    assert time.monotonic() - frozen_at <= 38
    _assert_is_a_whole_ticket(house, ticket, "os.agent_down")
    house.heal()
    _assert_resolves(house, ticket)


def test_the_agents_page_and_the_collectors_page_show_metrics(house: House) -> None:
    for name in ("collector", "agent_metrics"):
        url = f"http://127.0.0.1:{house.running['ports'][name]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"vartovyi" in answer.read()


def test_a_second_start_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    with household(tmp_path, is_quick=True) as first:
        token = (first.state / "agent.token").read_text()
        assert first.stop() == 0
        assert "pids" not in first.running
        stream = (first.state / "agent" / "spool.log").read_bytes()[:200]
    with household(tmp_path, is_quick=True) as second:
        assert (second.state / "agent.token").read_text() == token
        assert (second.state / "agent" / "spool.log").read_bytes()[:200] == stream, (
            "the finding stream began anew"
        )


def _assert_resolves(house: House, ticket: dict[str, Any]) -> None:
    wait_for(
        f"ticket {ticket['id']} resolves", 150, lambda: house.ticket(ticket["id"])["state"] == "resolved"
    )
    resolved = house.ticket(ticket["id"])
    assert resolved["resolved_at_ms"] is not None
    assert {clock["state"] for clock in resolved["clocks"]} == {"stopped"}
    assert {clock["outcome"] for clock in resolved["clocks"] if clock["kind"] == "resolution"} == {"kept"}


COUNTED = ("count.tickets", "count.hosts", "count.recurrences", "unit.minutes", "unit.days")


@pytest.mark.parametrize("key", COUNTED)
def test_counts_are_said_in_the_right_form(key: str) -> None:
    """1, 2, 5, 11 and 21 of a thing: three forms in Ukrainian (21 like 1, 11 like 5), two in English."""
    ukrainian, english = (
        {n: re.sub(r"\d+", "#", texts(language).get(key, n=n)) for n in (1, 2, 5, 11, 21)}
        for language in ("uk", "en")
    )
    assert ukrainian[1] == ukrainian[21] and ukrainian[5] == ukrainian[11], ukrainian
    assert len(set(ukrainian.values())) == 3, ukrainian
    assert english[2] == english[5] == english[11] == english[21] != english[1], english
