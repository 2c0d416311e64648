"""Knowledge: what solved a ticket stands by the next that is like it, with what the two have in common."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing import acts, effects, intake, knowledge, ledger
from ticketing.knowledge import About, Lesson
from ticketing.model import Reason
from ticketing.queries import Viewer

NOW_MS = 1_767_600_000_000
HOUR = 3_600_000
OLENA = Viewer("olena", "engineer")
CLIENT_A = Viewer("client-a", "client", "acme")
CLIENT_B = Viewer("client-b", "client", "beta", "en")


def _solve(tx, book, ticket_id, at_ms, remedy="Видалено старі копії"):
    row = ledger.ticket_row(tx, ticket_id)
    done = acts.perform(
        tx, book, "resolve", ticket_id, OLENA, row["version"], at_ms, cause="Копії", remedy=remedy
    )
    assert done.state == "resolved"


def _similar(tx, book, ticket_id, viewer=OLENA):
    return knowledge.similar(tx, book, viewer, knowledge.about(book, ledger.ticket_row(tx, ticket_id)))


def test_resolving_keeps_cause_and_remedy_for_the_next_ticket_of_the_cause(tx, book, make):
    first = intake.open_or_join(tx, book, make(), "acme", NOW_MS).ticket_id
    _solve(tx, book, first, NOW_MS + HOUR)
    later = NOW_MS + 10 * 24 * HOUR
    second = intake.open_or_join(
        tx, book, make(subject="host:a2/fs:/home", scope="host:a2", affected=("a2",), began_at_ms=later), "acme", later
    ).ticket_id  # fmt: skip
    (found,) = _similar(tx, book, second)
    assert (found.lesson.ticket_id, found.lesson.remedy, found.lesson.by) == (
        first,
        "Видалено старі копії",
        "olena",
    )
    assert found.common == ("cause", "contract")


def test_the_same_host_comes_before_the_same_cause_elsewhere(tx, book, make):
    here = intake.open_or_join(tx, book, make(), "acme", NOW_MS).ticket_id
    there = intake.open_or_join(
        tx, book, make(subject="host:b1/fs:/var", scope="host:b1", affected=("b1",)), "beta", NOW_MS
    ).ticket_id
    _solve(tx, book, here, NOW_MS + HOUR)
    _solve(tx, book, there, NOW_MS + 2 * HOUR)
    later = NOW_MS + 10 * 24 * HOUR
    new = intake.open_or_join(
        tx, book, make(subject="host:a1/fs:/home", began_at_ms=later), "acme", later
    ).ticket_id
    assert [one.lesson.ticket_id for one in _similar(tx, book, new)] == [here, there]


def test_a_client_reads_its_own_contracts_knowledge_only(tx, book, make):
    here = intake.open_or_join(tx, book, make(), "acme", NOW_MS).ticket_id
    _solve(tx, book, here, NOW_MS + HOUR)
    later = NOW_MS + 10 * 24 * HOUR
    theirs = intake.open_or_join(
        tx, book, make(subject="host:b1/fs:/var", scope="host:b1", affected=("b1",), began_at_ms=later), "beta", later
    ).ticket_id  # fmt: skip
    assert [one.lesson.ticket_id for one in _similar(tx, book, theirs)] == [here]
    assert _similar(tx, book, theirs, CLIENT_B) == []


def test_a_remedy_that_did_not_hold_says_so_and_sinks(tx, book, make):
    first = intake.open_or_join(tx, book, make(), "acme", NOW_MS).ticket_id
    _solve(tx, book, first, NOW_MS + HOUR)
    with tx.begin_nested():
        effects.reopened(
            tx, book, ledger.ticket_row(tx, first), Reason("reason.intake.unchanged"), NOW_MS + 2 * HOUR
        )
    _solve(tx, book, first, NOW_MS + 3 * HOUR, remedy="Більший том")
    later = NOW_MS + 10 * 24 * HOUR
    new = intake.open_or_join(
        tx, book, make(subject="host:a1/fs:/home", began_at_ms=later), "acme", later
    ).ticket_id
    found = _similar(tx, book, new)
    assert [(one.lesson.remedy, one.lesson.refuted_at_ms) for one in found] == [
        ("Більший том", None),
        ("Видалено старі копії", NOW_MS + 2 * HOUR),
    ]


def test_what_people_file_is_alike_by_application_and_words_never_by_being_filed(tx, book):
    old = acts.file(tx, book, CLIENT_A, "acme", 4, "Оплата карткою не проходить", "", NOW_MS)
    _solve(tx, book, old, NOW_MS + HOUR, remedy="Оновлено ключ платіжного шлюзу")
    alike = acts.file(tx, book, CLIENT_A, "acme", 4, "Знову не працює оплата карткою", "", NOW_MS + 2 * HOUR)
    other = acts.file(tx, book, CLIENT_A, "acme", 6, "Як додати менеджера?", "", NOW_MS + 2 * HOUR)
    (found,) = _similar(tx, book, alike, CLIENT_A)
    assert found.common == ("contract", "words")
    assert _similar(tx, book, other, CLIENT_A) == []


def _lesson(**changes):
    lesson = Lesson(1, "acme", NOW_MS, "os.disk_full", "a1", "", "alfa", "", "c", "r", "olena")
    return dataclasses.replace(lesson, **changes)


TOLD = About(99, "acme", "os.disk_full", frozenset({"a1"}), "", frozenset({"alfa"}))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"host_id": "a2"}),
        ({"host_id": "a2"}, {"host_id": "a2", "provider": "beta-net"}),
        ({}, {"refuted_at_ms": NOW_MS}),
        ({"at_ms": NOW_MS + 1}, {}),
        ({"root_cause": "os.disk_full", "host_id": "x"}, {"root_cause": "os.clock", "contract_id": "beta"}),
    ],
)
def test_of_two_lessons_the_one_with_more_in_common_comes_first(better, worse):
    two = [_lesson(ticket_id=1, **worse), _lesson(ticket_id=2, **better)]
    assert [one.lesson.ticket_id for one in knowledge.ranked(TOLD, two)] == [2, 1]
    assert [one.lesson.ticket_id for one in knowledge.ranked(TOLD, two[::-1])] == [2, 1]


def test_to_be_of_the_same_contract_or_provider_alone_is_no_likeness():
    assert knowledge.ranked(TOLD, [_lesson(root_cause="os.clock", host_id="a9")]) == []
    unknown = dataclasses.replace(TOLD, root_cause="unknown", hosts=frozenset())
    assert knowledge.ranked(unknown, [_lesson(root_cause="unknown", host_id="")]) == []


@given(st.lists(st.builds(_lesson, ticket_id=st.integers(1, 50), host_id=st.sampled_from(["a1", "a2", ""]),
                          root_cause=st.sampled_from(["os.disk_full", "os.clock", "request"]), at_ms=st.integers(0, 9)),
                max_size=30), st.integers(0, 6))  # fmt: skip
def test_the_ranking_is_bounded_has_a_reason_each_and_never_shows_the_ticket_itself(lessons, limit):
    found = knowledge.ranked(dataclasses.replace(TOLD, ticket_id=7), lessons, limit)
    assert len(found) <= limit
    assert all(set(one.common) - {"contract", "provider"} for one in found)
    assert all(one.lesson.ticket_id != 7 for one in found)
    assert [one.points for one in found] == sorted((one.points for one in found), reverse=True)
