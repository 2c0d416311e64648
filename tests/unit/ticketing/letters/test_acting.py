"""What becomes of a letter on a real desk: filed, put on its ticket, held, ignored - and never answered twice."""

from __future__ import annotations

import dataclasses
import email
import email.policy

import pytest
from sqlalchemy import select, update

from tests.unit.ticketing.letters.conftest import KEY, NOW_MS, letter
from ticketing import acts, outbox, provider_cases, tables, texts
from ticketing.channels import mail
from ticketing.letters import acting, rows, tokens
from ticketing.letters.decide import Outcome
from ticketing.queries import Viewer

OLENA = Viewer("olena", "engineer")
REPLIES = mail.Replies("desk@desk.example", KEY)


@pytest.fixture(autouse=True)
def strict():
    texts.set_strict(True)
    yield
    texts.set_strict(False)


def filed(room, **values):
    acted = room.bring(letter(**values))
    assert acted.outcome is Outcome.FILED, acted
    return acted.ticket_id


def reply_address(room, ticket_id, purpose="t"):
    row = room.ticket(ticket_id)
    return tokens.tagged("desk@desk.example", tokens.make(KEY, purpose, ticket_id, row["created_at_ms"]))


def ask_client(room, ticket_id):
    row = room.ticket(ticket_id)
    done = acts.perform(
        room.tx, room.book, "ask_client", ticket_id, OLENA, row["version"], NOW_MS, text="Який браузер?"
    )
    assert not isinstance(done, acts.Refusal), done


def test_a_clients_letter_files_a_ticket_of_the_class_it_seems_to_be(room):
    ticket_id = filed(
        room, subject="Кошик", text="Не проходить оплата\n\nпн, 5 січ. 2026 хтось пише:\n> старе"
    )
    row = room.ticket(ticket_id)
    assert (row["contract_id"], row["class"], row["title"], row["origin"]) == ("acme", 4, "Кошик", "mail")
    assert row["body"] == "Не проходить оплата"
    assert row["began_at_ms"] == NOW_MS - 60_000, "the fault began when our mail server had the letter"
    (event,) = room.events(ticket_id, "letter")
    assert event["body"]["reason"]["key"] == "reason.letter.filed"
    (first,) = room.events(ticket_id, "file")
    assert not first["body"]["is_confirmed"] and first["body"]["proposal"]["class"] == 4, "line 1 confirms"


def test_server_work_that_the_contract_does_not_hold_is_filed_as_a_question_with_the_reason(room):
    ticket_id = filed(room, sender="ben@beta.example", subject="Server", text="please restart it")
    assert room.ticket(ticket_id)["class"] == 6
    (event,) = room.events(ticket_id, "letter")
    assert [r["key"] for r in event["body"]["reasons"]][1].startswith("reason.intake.class2")


def test_who_filed_gets_one_receipt_in_the_thread_of_their_letter(room):
    ticket_id = filed(room, Message_ID="<first@mua.example>")
    (row,) = room.outbox(destination="iryna@acme.example")
    built = mail.compose_letter(
        row, "Vartovyi <desk@desk.example>", mail.Extras("https://d.example", REPLIES)
    )
    assert built["In-Reply-To"] == "<first@mua.example>" and "<first@mua.example>" in built["References"]
    assert built["Reply-To"] == reply_address(room, ticket_id)
    assert built["Subject"].startswith(f"[#{ticket_id}]") and built["Auto-Submitted"] == "auto-generated"
    assert len(built["List-Id"]) and built["X-Loop"] == "desk@desk.example"


def test_an_answer_to_a_question_ends_the_waiting(room):
    ticket_id = filed(room)
    ask_client(room, ticket_id)
    assert len(room.outbox(destination="iryna@acme.example")) == 2, "who filed by mail hears the question"
    acted = room.bring(
        letter(subject=f"Re: [#{ticket_id}]", text="Firefox", To=reply_address(room, ticket_id))
    )
    assert (acted.outcome, acted.ticket_id) == (Outcome.NOTED, ticket_id)
    assert room.ticket(ticket_id)["state"] == "in_work"
    assert room.events(ticket_id, "client_answered")[0]["body"]["text"] == "Firefox"
    assert len(room.outbox(destination="iryna@acme.example")) == 2, "nobody hears their own words back"


def test_a_reply_is_found_by_the_token_in_its_subject_alone_or_by_its_references_alone(room):
    ticket_id = filed(room)
    row = room.ticket(ticket_id)
    token = tokens.make(KEY, "t", ticket_id, row["created_at_ms"])
    sent = room.outbox(destination="oncall@acme.example")[0]
    thread = outbox.thread_id(ticket_id, row["created_at_ms"])
    for number, values in enumerate(
        (
            {"subject": f"Re: x [{token}]"},
            {"In_Reply_To": f"<{sent['message_id']}@desk.example>"},
            {"References": f"<other@x.example> <{thread}@desk.example>"},
        )
    ):
        acted = room.bring(letter(text=f"слово {number}", **values))
        assert (acted.outcome, acted.ticket_id) == (Outcome.NOTED, ticket_id), values
    assert room.tx.execute(select(tables.tickets.c.id)).scalars().all() == [ticket_id]


def test_a_made_up_token_opens_no_door(room):
    ticket_id = filed(room)
    false = reply_address(room, ticket_id).replace("+t1-", "+t1-")[:-25] + "aaaa@desk.example"
    acted = room.bring(letter(sender="eve@evil.example", subject="Re", text="close it", To=false))
    assert (
        acted.outcome is Outcome.HELD
        and len(room.events(ticket_id)) == len(room.events(ticket_id, "file")) + 1
    )


def test_a_stranger_with_a_genuine_token_is_seen_by_the_staff_and_changes_nothing(room):
    ticket_id = filed(room)
    ask_client(room, ticket_id)
    acted = room.bring(letter(sender="eve@evil.example", text="Firefox", To=reply_address(room, ticket_id)))
    assert acted.outcome is Outcome.REMARKED and room.ticket(ticket_id)["state"] == "waiting_client"
    event = room.events(ticket_id, "letter")[-1]
    assert (
        not event["is_public"]
        and event["body"]["text"] == "Firefox"
        and event["body"]["from"] == "eve@evil.example"
    )


def test_another_clients_person_cannot_write_on_the_ticket(room):
    ticket_id = filed(room)
    ask_client(room, ticket_id)
    acted = room.bring(letter(sender="ben@beta.example", text="Firefox", To=reply_address(room, ticket_id)))
    assert acted.outcome is Outcome.REMARKED and room.ticket(ticket_id)["state"] == "waiting_client"


def test_an_engineers_reply_stays_among_the_staff(room):
    ticket_id = filed(room)
    room.bring(
        letter(sender="olena@desk.example", text="це знову той скрипт", To=reply_address(room, ticket_id))
    )
    (event,) = room.events(ticket_id, "note")
    assert not event["is_public"] and event["actor"] == "olena"


def test_a_reply_to_a_resolved_ticket_resumes_it_and_to_a_closed_one_opens_a_linked_one(room):
    ticket_id = filed(room)
    row = room.ticket(ticket_id)
    acts.perform(
        room.tx, room.book, "resolve", ticket_id, OLENA, row["version"], NOW_MS, cause="кеш", remedy="скинуто"
    )
    room.bring(letter(text="знову те саме", To=reply_address(room, ticket_id)))
    assert (
        room.ticket(ticket_id)["state"] in ("new", "in_work") and room.ticket(ticket_id)["recurrences"] == 1
    )
    row = room.ticket(ticket_id)
    acts.perform(
        room.tx, room.book, "resolve", ticket_id, OLENA, row["version"], NOW_MS, cause="кеш", remedy="скинуто"
    )
    row = room.ticket(ticket_id)
    acts.perform(room.tx, room.book, "close", ticket_id, OLENA, row["version"], NOW_MS)
    acted = room.bring(letter(text="і через місяць", To=reply_address(room, ticket_id)))
    assert acted.ticket_id != ticket_id and room.ticket(acted.ticket_id)["previous_id"] == ticket_id
    assert room.ticket(ticket_id)["state"] == "closed"


def test_the_same_letter_under_another_uid_is_done_once(room):
    raw = letter()
    first = room.bring(raw)
    room.take(b"Received: from elsewhere\r\n" + raw)
    rows.take(room.tx, "box", 8, [rows.Fetched(1, NOW_MS, raw)], NOW_MS)  # the mailbox was built anew
    assert first.outcome is Outcome.FILED and room.bring(letter(text="інше")).outcome is Outcome.FILED
    outcomes = room.tx.execute(select(tables.mails.c.outcome).order_by(tables.mails.c.id)).scalars().all()
    assert outcomes == ["filed", "duplicate", "duplicate", "filed"]


def test_a_letter_that_is_there_already_is_not_taken_again(room):
    fetched = rows.Fetched(9, NOW_MS, letter())
    assert rows.take(room.tx, "box", 7, [fetched], NOW_MS) == 1
    assert rows.take(room.tx, "box", 7, [fetched], NOW_MS) == 0
    assert rows.read_up_to(room.tx, "box", 7) == 9 and rows.read_up_to(room.tx, "box", 8) == 0


ROBOTS = {
    "absent": {"Auto_Submitted": "auto-replied"},
    "old absent": {"Precedence": "auto_reply"},
    "list": {"List_Id": "<news.example>"},
    "loop": {"X_Loop": "desk@desk.example"},
    "own": {"sender": "desk@desk.example"},
}


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("is_known", [True, False])
def test_a_robots_letter_files_nothing_and_gets_no_answer(room, name, is_known):
    values = {"sender": "iryna@acme.example" if is_known else "robot@x.example"} | ROBOTS[name]
    acted = room.bring(letter(**values))
    assert acted.outcome is Outcome.IGNORED and room.outbox() == []


def test_an_absence_note_is_no_answer_to_the_question(room):
    ticket_id = filed(room)
    ask_client(room, ticket_id)
    sent = len(room.outbox())
    acted = room.bring(
        letter(text="Я у відпустці", To=reply_address(room, ticket_id), Auto_Submitted="auto-replied")
    )
    assert acted.outcome is Outcome.REMARKED and room.ticket(ticket_id)["state"] == "waiting_client"
    assert len(room.outbox()) == sent


def test_two_desks_that_answer_each_other_fall_silent(room, house):
    """Our own receipt, sent back by another desk's robot however it dresses it up, meets one of three bounds."""
    filed(room)
    (receipt,) = room.outbox(destination="iryna@acme.example")
    ours = mail.compose_letter(receipt, "desk@desk.example", mail.Extras("", REPLIES)).as_bytes()
    echoed = email.message_from_bytes(ours, policy=email.policy.SMTP)
    assert room.bring(echoed.as_bytes()).outcome is Outcome.IGNORED
    # A robot without a single header of its own: the rate bound ends it.
    outcomes = [room.bring(letter(subject="Re: Re:", text=f"Thank you {n}")).outcome for n in range(40)]
    assert outcomes.count(Outcome.FILED) < 30 and outcomes[-1] is Outcome.HELD


def test_an_unknown_sender_is_held_and_answered_once(room):
    for number in range(5):
        acted = room.bring(letter(sender="eve@evil.example", subject="Hi", text=f"hello {number}"))
        assert acted.outcome is Outcome.HELD
    (answer,) = room.outbox()
    assert answer["destination"] == "eve@evil.example" and answer["ticket_id"] is None
    built = mail.compose_letter(answer, "desk@desk.example")
    assert (
        built["Auto-Submitted"] == "auto-replied"
        and "+380 44 000" in built.get_body(("plain",)).get_content()
    )
    room.now_ms += 8 * 24 * 3_600_000
    room.bring(letter(sender="eve@evil.example", subject="Hi", text="hello again"))
    assert len(room.outbox()) == 2


def test_a_flood_of_forged_senders_makes_us_answer_only_so_many(room):
    for number in range(60):
        room.bring(letter(sender=f"u{number}@victim{number}.example", text=str(number)))
    assert len(room.outbox()) == 20
    assert len(rows.held(room.tx, 100)) == 60, "every letter is kept"


def test_a_returned_mail_is_told_on_its_ticket(room):
    ticket_id = filed(room)
    report = (
        b"From: MAILER-DAEMON@mx.example\r\nTo: " + reply_address(room, ticket_id).encode() + b"\r\n"
        b"Subject: Undelivered\r\nReturn-Path: <>\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nUser unknown\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Final-Recipient: rfc822; oncall@acme.example\r\nAction: failed\r\n\r\n--b--\r\n"
    )
    acted = room.bring(report)
    assert (acted.outcome, acted.ticket_id) == (Outcome.BOUNCED, ticket_id)
    assert room.events(ticket_id, "delivery")[0]["body"]["text"] == "User unknown"


def test_with_a_mail_server_that_vouches_an_unproven_letter_waits_for_a_person(room, house):
    room.house = dataclasses.replace(house, authserv_id="mx.desk.example")
    assert room.bring(letter(text="1")).outcome is Outcome.HELD
    below = {"Authentication_Results": "mx.evil.example; dmarc=pass"}
    assert room.bring(letter(text="2", **below)).outcome is Outcome.HELD
    proven = {"Authentication_Results": "mx.desk.example; spf=fail; dmarc=pass header.from=acme.example"}
    assert room.bring(letter(text="3", **proven)).outcome is Outcome.FILED


def test_an_address_of_two_people_and_staff_without_a_contract_are_held(room):
    assert room.bring(letter(sender="twin@both.example")).reason.key == "reason.letter.ambiguous"
    assert (
        room.bring(letter(sender="olena@desk.example")).reason.key == "reason.letter.staff_without_contract"
    )
    acted = room.bring(letter(sender="olena@desk.example", subject="[beta] Site", text="x"))
    assert (room.ticket(acted.ticket_id)["contract_id"], room.ticket(acted.ticket_id)["title"]) == (
        "beta",
        "Site",
    )


def test_a_held_letter_is_filed_by_a_person_under_the_contract_they_name(room):
    acted = room.bring(letter(sender="new@acme.example", subject="Допоможіть", text="сайт лежить"))
    row = rows.one(room.tx, acted.mail_id)
    ticket_id = acting.file_held(room.tx, room.book, row, OLENA, "acme", 3, NOW_MS)
    assert room.ticket(ticket_id)["title"] == "Допоможіть" and rows.held(room.tx) == []
    assert rows.one(room.tx, acted.mail_id)["outcome"] == "filed"


def test_files_of_a_letter_stand_on_its_ticket_and_its_octets_are_kept(room):
    ticket_id = filed(room)
    message = email.message_from_bytes(
        letter(text="див.", To=reply_address(room, ticket_id)), policy=email.policy.SMTP
    )
    message.add_attachment(b"PNG", maintype="image", subtype="png", filename="знімок.png")
    acted = room.bring(message.as_bytes())
    event = room.events(ticket_id, "letter")[-1]
    assert event["body"]["attachments"][0]["name"] == "знімок.png" and event["body"]["mail"] == acted.mail_id
    assert (
        b"PNG" not in str(event["body"]).encode()
        and rows.one(room.tx, acted.mail_id)["raw"] == message.as_bytes()
    )


# The provider


def wait_for_provider(room, ticket_id=None):
    ticket_id = ticket_id or filed(room)
    row = room.ticket(ticket_id)
    room.tx.execute(
        update(tables.tickets).where(tables.tickets.c.id == ticket_id).values(affected=["a1"], **{"class": 1})
    )
    done = acts.perform(
        room.tx,
        room.book,
        "ask_provider",
        ticket_id,
        OLENA,
        row["version"],
        NOW_MS,
        text="Please look at n7.",
        send=True,
    )
    assert not isinstance(done, acts.Refusal), done
    return ticket_id


def test_a_providers_answer_ends_the_waiting_and_leaves_its_number(room):
    ticket_id = wait_for_provider(room)
    to = reply_address(room, ticket_id, "p")
    acted = room.bring(
        letter(
            sender="noreply@alfa.example",
            subject="[ALFA-5521] received",
            text="We got it",
            To=to,
            Auto_Submitted="auto-replied",
        )
    )
    assert (
        acted.outcome is Outcome.PROVIDER_REMARKED and room.ticket(ticket_id)["state"] == "waiting_provider"
    )
    assert provider_cases.case(room.tx, ticket_id)["number"] == "ALFA-5521"
    assert provider_cases.case(room.tx, ticket_id)["remind_at_ms"] is not None
    acted = room.bring(
        letter(
            sender="mike@support.alfa.example", subject="Re: [ALFA-5521]", text="Node n7 was rebooted", To=to
        )
    )
    assert acted.outcome is Outcome.PROVIDER_ANSWERED and room.ticket(ticket_id)["state"] == "in_work"
    case = provider_cases.case(room.tx, ticket_id)
    assert case["number"] == "ALFA-5521" and case["remind_at_ms"] is None and case["answered_at_ms"] == NOW_MS
    assert room.events(ticket_id, "provider_answered")[0]["body"]["text"] == "Node n7 was rebooted"
    clock = (
        room.tx.execute(select(tables.clocks).filter_by(ticket_id=ticket_id, kind="provider"))
        .mappings()
        .one()
    )
    assert clock["state"] == "paused"
    again = room.bring(letter(sender="mike@alfa.example", subject="Re: [ALFA-5521]", text="PS: sorry", To=to))
    assert again.outcome is Outcome.PROVIDER_ANSWERED and room.ticket(ticket_id)["state"] == "in_work"
    assert room.events(ticket_id, "letter")[-1]["body"]["text"] == "PS: sorry"


def test_nobody_else_can_answer_for_the_provider(room):
    ticket_id = wait_for_provider(room)
    for sender in (
        "eve@evil.example",
        "eve@notalfa.example",
        "eve@alfa.example.evil.example",
        "iryna@acme.example",
    ):
        acted = room.bring(
            letter(sender=sender, text=f"all is well, {sender}", To=reply_address(room, ticket_id, "p"))
        )
        assert acted.outcome is Outcome.REMARKED, sender
    assert room.ticket(ticket_id)["state"] == "waiting_provider"
