"""What every adapter must do, against the real desk: the verbs of ``ticketing.mirrors.desk`` and their faults."""

from __future__ import annotations

import dataclasses

import pytest

from config.clock import SystemClock
from config.loader import Duration
from tests.conformance.mirrors.proxy import Answer, Cut, Silent
from tests.conformance.mirrors.rig import Rig
from ticketing.mirrors.desk import Fault, Gone, Wanted, marked
from ticketing.mirrors.desks import KINDS


def test_what_was_made_is_found_by_our_key_and_read_as_it_was_written(rig: Rig) -> None:
    key = rig.fresh_key()
    wanted = Wanted(rig.statuses["in_work"], rig.given["olena_user"])
    remote_id = rig.desk.create(rig.draft(key, wanted=wanted))
    assert rig.desk.find(key) == [remote_id]
    remote = rig.desk.read(remote_id)
    assert remote.status in (
        rig.statuses["in_work"],
        rig.statuses["new"],
    )  # Redmine's workflow may begin at New
    assert remote.assignee == rig.given["olena_user"]
    assert remote.comments == ()
    assert rig.desk.page_url(remote_id).startswith(rig.terms.url)


def test_a_key_is_found_whole_or_not_at_all_and_in_closed_tickets_too(rig: Rig) -> None:
    key = rig.fresh_key()
    remote_id = rig.desk.create(rig.draft(key))
    rig.desk.write(remote_id, "", Wanted(rig.statuses["closed"]))
    assert rig.desk.read(remote_id).status == rig.statuses["closed"]
    assert rig.desk.find(key) == [remote_id]
    assert rig.desk.find(key[:-1]) == []
    assert rig.desk.find(f"{key}x") == []
    assert rig.desk.find('it\'s {not} a "key" \\') == []


def test_comments_come_back_in_order_with_author_and_words_and_known_ones_do_not(rig: Rig) -> None:
    remote_id = rig.desk.create(rig.draft(rig.fresh_key()))
    rig.desk.write(remote_id, marked("Перше", "vt-1-2-aa"), Wanted())
    rig.human.write(remote_id, "Друге: її ґанок <b>не</b> тег & €", Wanted())
    first, second = rig.desk.read(remote_id).comments
    assert (first.author, second.author) == (rig.desk.me(), rig.human.me())
    assert "Перше" in first.text and "[vt-1-2-aa]" in first.text
    assert second.text.strip() == "Друге: її ґанок <b>не</b> тег & €"
    assert rig.desk.me() != rig.human.me()
    assert [said.id for said in rig.desk.read(remote_id, {first.id}).comments] == [second.id]


def test_status_and_assignment_are_set_and_taken_back(rig: Rig) -> None:
    remote_id = rig.desk.create(rig.draft(rig.fresh_key()))
    rig.desk.write(
        remote_id, marked("x", "vt-1-3-aa"), Wanted(rig.statuses["in_work"], rig.given["olena_user"])
    )
    remote = rig.desk.read(remote_id)
    assert (remote.status, remote.assignee) == (rig.statuses["in_work"], rig.given["olena_user"])
    rig.desk.write(remote_id, "", Wanted(assignee=""))
    assert rig.desk.read(remote_id).assignee == ""


def test_what_changed_is_told_once_asked_and_our_ticket_is_among_it(rig: Rig) -> None:
    remote_id = rig.desk.create(rig.draft(rig.fresh_key()))
    start = rig.desk.changed("")
    assert start.stamps == {}
    rig.human.write(remote_id, "Нове слово", Wanted())
    changed = rig.desk.changed(start.cursor)
    assert remote_id in changed.stamps
    assert changed.cursor >= start.cursor
    assert rig.desk.changed(changed.cursor).stamps.get(remote_id) == changed.stamps[remote_id]


def test_a_double_is_folded_into_the_older_ticket_with_a_note(rig: Rig) -> None:
    key = rig.fresh_key()
    older, younger = (rig.desk.create(rig.draft(key)) for _ in range(2))
    assert rig.desk.find(key) == [older, younger]
    rig.desk.fold(younger, older, f"Double of {older}", key)
    assert rig.desk.find(key) == [older]
    assert any(f"Double of {older}" in text for text in rig.comments(younger))


@pytest.mark.parametrize("lost", [Cut(after=True), Answer(502, after=True)], ids=["cut", "502"])
def test_a_lost_answer_is_told_as_unknown_and_the_ticket_is_found(rig: Rig, lost: Cut | Answer) -> None:
    key = rig.fresh_key()
    rig.proxy.break_next(lost, method="POST")
    with pytest.raises(Fault) as fault:
        rig.desk.create(rig.draft(key))
    assert not fault.value.is_known and fault.value.is_down
    assert len(rig.desk.find(key)) == 1


def test_a_time_out_after_the_commit_is_told_as_unknown(rig: Rig) -> None:
    key = rig.fresh_key()
    hasty = KINDS[rig.kind](dataclasses.replace(rig.terms, timeout=Duration(5.0)), SystemClock())
    rig.proxy.break_next(Silent(8.0), method="POST")
    with pytest.raises(Fault) as fault:
        hasty.create(rig.draft(key))
    assert not fault.value.is_known and fault.value.is_down
    assert len(rig.desk.find(key)) == 1


def test_429_and_503_tell_when_to_come_back_and_a_refused_connection_did_nothing(rig: Rig) -> None:
    key = rig.fresh_key()
    rig.proxy.break_next(Answer(429, headers={"Retry-After": "77"}), method="POST")
    with pytest.raises(Fault) as fault:
        rig.desk.create(rig.draft(key))
    assert (fault.value.is_known, fault.value.is_down, fault.value.retry_after_s) == (True, True, 77.0)
    rig.proxy.break_next(Answer(503, headers={"Retry-After": "9"}), method="POST")
    with pytest.raises(Fault) as fault:
        rig.desk.create(rig.draft(key))
    assert (fault.value.is_known, fault.value.is_down, fault.value.retry_after_s) == (False, True, 9.0)
    nobody = KINDS[rig.kind](dataclasses.replace(rig.terms, url="http://127.0.0.1:1"), SystemClock())
    with pytest.raises(Fault) as fault:
        nobody.create(rig.draft(key))
    assert fault.value.is_known and fault.value.is_down
    assert rig.desk.find(key) == []


def test_a_ticket_that_is_not_there_and_a_token_that_is_wrong_are_told_apart(rig: Rig, tmp_path) -> None:
    with pytest.raises(Gone):
        rig.desk.read("99999999")
    token = tmp_path / "token"
    token.write_text("1-2-0123456789abcdef0123456789abcdef")
    stranger = KINDS[rig.kind](dataclasses.replace(rig.terms, token_file=token), SystemClock())
    with pytest.raises(Fault, match="refuses our user") as fault:
        stranger.find("x")
    assert fault.value.is_known and not fault.value.is_down and not isinstance(fault.value, Gone)


def test_a_wrong_word_is_told_with_what_the_desk_says_of_it(rig: Rig) -> None:
    with pytest.raises(Fault) as fault:
        rig.desk.create(rig.draft(rig.fresh_key(), wanted=Wanted("No such status")))
    assert fault.value.is_known, fault.value
    with pytest.raises(Fault) as fault:
        rig.desk.create(rig.draft(rig.fresh_key(), project="nowhere"))
    assert fault.value.is_known, fault.value
