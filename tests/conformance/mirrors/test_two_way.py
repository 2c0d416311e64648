"""Our desk and a real one beside it: exactly once out, each change once back, and who is right when both changed."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from collector.mirror_hooks import HooksApp
from collector.mirrors import is_signed
from tests.conformance.mirrors.conftest import Databases
from tests.conformance.mirrors.proxy import Answer, Cut, Pass
from tests.conformance.mirrors.rig import DESK, OLENA, OurSide, Rig
from ticketing.mirrors.desk import Wanted, marked, marker_in
from ticketing.queries import Viewer

EXTERNAL = f"external:{DESK}"


def test_a_ticket_is_there_once_with_each_moment_as_a_comment_in_order(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    for word in ("перше", "друге", "третє"):
        ours.act(ticket_id, "note", text=word, is_public=True)
    ours.deliver()
    link = ours.link(ticket_id)
    assert rig.desk.find(link["key"]) == [link["remote_id"]]
    texts = rig.comments(link["remote_id"])
    assert [next(w for w in ("перше", "друге", "третє") if w in text) for text in texts] == [
        "перше",
        "друге",
        "третє",
    ]
    assert all(marker_in(text) for text in texts)
    (view,) = ours.view(ticket_id)
    assert (view.desk, view.number, view.state, view.problem) == (DESK, link["remote_id"], "level", "")
    assert view.url == rig.desk.page_url(link["remote_id"])


def test_an_internal_note_never_leaves(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.act(ticket_id, "note", text="лише для нас", is_public=False)
    ours.deliver()
    assert rig.comments(ours.link(ticket_id)["remote_id"]) == []


def test_status_and_assignment_follow_ours(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.act(ticket_id, "take")
    ours.deliver()
    remote = rig.desk.read(ours.link(ticket_id)["remote_id"])
    assert (remote.status, remote.assignee) == (rig.statuses["in_work"], rig.given["olena_user"])
    ours.act(ticket_id, "resolve", cause="диск", remedy="почистили")
    ours.deliver()
    remote = rig.desk.read(remote.id)
    assert remote.status == rig.statuses["resolved"]
    assert any("почистили" in text for text in rig.comments(remote.id))


def test_our_own_echoes_change_nothing(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.act(ticket_id, "take")
    ours.act(ticket_id, "note", text="ми це сказали", is_public=True)
    ours.deliver()
    before = (ours.ticket(ticket_id)["state"], len(ours.events(ticket_id)))
    for _ in range(3):
        ours.look()
    assert (ours.ticket(ticket_id)["state"], len(ours.events(ticket_id))) == before
    assert not ours.pending()


def test_a_comment_from_there_is_one_note_however_often_it_is_told(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.deliver()
    ours.look()
    remote_id = ours.link(ticket_id)["remote_id"]
    # Somebody quotes one of our comments: its marker does not make it ours.
    rig.work_there(remote_id, f"> {marked('ми', 'vt-1-2-aa')}\n\nА ми бачимо інше", Wanted())
    hook = {"issue": {"id": int(remote_id)}} if rig.kind == "redmine" else {"ticket": int(remote_id)}
    app = HooksApp(ours.store, ours.clock, ours.mirrors.desks, ours.looks.wake)
    for _ in range(3):
        assert app.take(DESK, json.dumps(hook).encode()) is None
        ours.look(ask=False)
    ours.look()
    notes = [event for event in ours.events(ticket_id) if event["actor"] == EXTERNAL]
    assert [event["kind"] for event in notes] == ["note"]
    assert "А ми бачимо інше" in notes[0]["body"]["text"]
    ours.later(60)
    ours.deliver()
    assert len(rig.comments(remote_id)) == 1, "what came from there does not go back"


def test_work_there_is_work_here(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.deliver()
    ours.look()
    remote_id = ours.link(ticket_id)["remote_id"]
    rig.work_there(remote_id, "Беру", Wanted(rig.statuses["in_work"], rig.given["olena_user"]))
    ours.look()
    ticket = ours.ticket(ticket_id)
    assert (ticket["state"], ticket["assignee"]) == ("in_work", "olena")
    rig.work_there(remote_id, "Полагодили: замінили диск", Wanted(rig.statuses["resolved"]))
    ours.look()
    ticket = ours.ticket(ticket_id)
    assert ticket["state"] == "resolved"
    resolved = [event for event in ours.events(ticket_id) if event["kind"] == "resolve"]
    assert len(resolved) == 1 and "замінили диск" in resolved[0]["body"]["remedy"]
    rig.work_there(remote_id, "Знову те саме", Wanted(rig.statuses["in_work"]))
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work"
    assert {event["actor"] for event in ours.events(ticket_id) if event["kind"] == "reopen"} == {EXTERNAL}
    ours.later(120)
    ours.deliver()
    assert rig.desk.read(remote_id).status == rig.statuses["in_work"], "nothing was sent back"


def test_what_the_states_do_not_allow_is_refused_said_there_and_put_back(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.act(ticket_id, "take")
    ours.deliver()
    ours.look()
    remote_id = ours.link(ticket_id)["remote_id"]
    rig.work_there(remote_id, "", Wanted(rig.statuses["new"]))
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work"
    ours.deliver()
    assert rig.desk.read(remote_id).status == rig.statuses["in_work"]
    assert any("не прийнято" in text for text in rig.comments(remote_id))
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work" and not ours.pending()


def test_when_both_changed_the_status_ours_holds_and_the_history_says_so(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.deliver()
    ours.look()
    remote_id = ours.link(ticket_id)["remote_id"]
    rig.work_there(remote_id, "Закриваємо", Wanted(rig.statuses["closed"]))
    ours.act(ticket_id, "take")
    ours.look(deliver=False)  # the comment comes; the field waits, because ours is on its way
    assert ours.ticket(ticket_id)["state"] == "in_work"
    ours.deliver()
    assert rig.desk.read(remote_id).status == rig.statuses["in_work"]
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work"
    told = [event["body"]["reason"]["key"] for event in ours.events(ticket_id) if event["kind"] == "mirror"]
    assert "did.mirror.overruled" in told
    assert any(
        event["actor"] == EXTERNAL and "Закриваємо" in event["body"]["text"]
        for event in ours.events(ticket_id)
    )


def test_a_clients_desk_may_do_what_a_client_may(rig: Rig, databases: Databases, tmp_path) -> None:
    ours = OurSide(rig, databases.new(tmp_path), side="client")
    ticket_id = ours.file()
    ours.act(ticket_id, "ask_client", text="Який це сервер?")
    ours.deliver()
    ours.look()
    remote_id = ours.link(ticket_id)["remote_id"]
    assert rig.desk.read(remote_id).status == rig.statuses["waiting_client"]
    rig.work_there(remote_id, "Сервер web-1", Wanted())
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work", "a client's word is the answer that was asked for"
    ours.deliver()
    rig.work_there(remote_id, "", Wanted(rig.statuses["resolved"]))
    ours.look()
    assert ours.ticket(ticket_id)["state"] == "in_work", "a client resolves nothing"
    ours.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    "fate", [Cut(after=False), Cut(after=True), Answer(500), Answer(502, after=True)], ids=str
)
def test_after_any_failure_the_ticket_is_there_once_and_no_comment_twice(
    rig: Rig, ours: OurSide, method: str, fate: Cut | Answer
) -> None:
    ticket_id = ours.file()
    ours.act(ticket_id, "take")
    for word in ("одне", "друге"):
        ours.act(ticket_id, "note", text=word, is_public=True)
    rig.proxy.break_next(fate, Pass(), fate, method=method)
    for _ in range(8):
        ours.deliver()
        ours.later(400)
    assert not ours.pending()
    link = ours.link(ticket_id)
    assert rig.desk.find(link["key"]) == [link["remote_id"]]
    sent = [row["message_id"] for row in ours.rows() if row["message_id"] != link["made_by"]]
    assert ours.said_there(ticket_id) == sent and len(sent) == 3
    remote = rig.desk.read(link["remote_id"])
    assert (remote.status, remote.assignee) == (rig.statuses["in_work"], rig.given["olena_user"])


def test_a_comment_that_a_look_knows_before_its_delivery_does_is_not_written_again(
    rig: Rig, ours: OurSide
) -> None:
    ticket_id = ours.file()
    ours.deliver()
    ours.act(ticket_id, "note", text="одне", is_public=True)
    method = "PUT" if rig.kind == "redmine" else "POST"
    rig.proxy.break_next(Cut(after=True), method=method)
    ours.deliver()
    rig.proxy.break_next()
    ours.look(deliver=False)
    assert ours.pending()
    ours.later(400)
    ours.deliver()
    assert not ours.pending()
    assert len(rig.comments(ours.link(ticket_id)["remote_id"])) == 1


def test_a_desk_that_asks_for_peace_gets_it_and_everything_waits_together(rig: Rig, ours: OurSide) -> None:
    tickets = [ours.file(f"Заявка {n}") for n in range(4)]
    rig.proxy.break_next(*[Answer(429, headers={"Retry-After": "300"})] * 50)
    asked = len(rig.proxy.seen)
    ours.deliver()
    assert len(rig.proxy.seen) == asked + 1, "one answer speaks for all that waits"
    assert [row["attempts"] for row in ours.pending()].count(1) == 1
    (view,) = ours.view(tickets[0])
    assert view.state == "behind" and "429" in view.problem
    ours.later(250)
    assert ours.deliver() == 0 and ours.looks.round() == 0
    rig.proxy.break_next()
    ours.later(200)
    ours.deliver()
    assert not ours.pending()


def test_a_double_that_appears_late_is_merged_with_a_note(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    rig.proxy.break_next(Cut(after=False), method="POST")
    ours.deliver()
    ours.later(400)
    ours.deliver()
    link = ours.link(ticket_id)
    late = rig.desk.create(rig.draft(link["key"]))  # as the first attempt would, were the desk that slow
    assert rig.desk.find(link["key"]) == [link["remote_id"], late]
    ours.look()
    assert rig.desk.find(link["key"]) == [link["remote_id"]]
    assert any(link["remote_id"] in text for text in rig.comments(late))


def test_a_webhook_is_believed_only_with_our_signature(rig: Rig, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec-something\n")
    terms = rig.terms.__class__(**{**vars(rig.terms), "hook_secret_file": secret})
    body = b'{"ticket": 1}'
    good = "sha256=" + hmac.new(b"whsec-something", body, hashlib.sha256).hexdigest()
    assert is_signed(terms, {"x-redmine-signature-256": good}, body)
    assert is_signed(terms, {"x-vartovyi-signature-256": good}, body)
    assert not is_signed(terms, {"x-redmine-signature-256": good}, body + b" ")
    assert not is_signed(terms, {}, body)
    secret.unlink()
    assert not is_signed(terms, {"x-redmine-signature-256": good}, body)


def test_acts_from_there_stand_in_the_history_as_the_desks(rig: Rig, ours: OurSide) -> None:
    ticket_id = ours.file()
    ours.deliver()
    ours.look()
    stranger = rig.desk.me()  # known there, not among our people
    rig.work_there(ours.link(ticket_id)["remote_id"], "", Wanted(assignee=stranger))
    ours.look()
    assert ours.ticket(ticket_id)["assignee"] is None
    told = [event["body"]["reason"]["key"] for event in ours.events(ticket_id) if event["kind"] == "mirror"]
    assert told == ["did.mirror.made", "did.mirror.assigned"]
    ours.act(ticket_id, "take", Viewer(OLENA.person_id, "engineer"))
    ours.deliver()
    assert rig.desk.read(ours.link(ticket_id)["remote_id"]).assignee == rig.given["olena_user"]
