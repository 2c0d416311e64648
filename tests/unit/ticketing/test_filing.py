"""Filing: any class by anybody, class 2 where it is due, a proposal with its reason, line 1 confirms, the client answers."""

from __future__ import annotations

import pytest

from config import loader
from ticketing import acts, audit, filing, ledger
from ticketing.filing import Refusal
from ticketing.model import CLASSES
from ticketing.proposal import SWITCH, UPKEEP, propose
from ticketing.queries import Viewer, ticket
from ticketing.terms import Contract
from ticketing.texts import texts

NOW_MS = 1_767_600_000_000
MINUTE = 60_000
OLENA = Viewer("olena", "engineer")
PETRO = Viewer("petro", "lead")
CLIENT_A = Viewer("client-a", "client", "acme")
CLIENT_B = Viewer("client-b", "client", "beta", "en")

GAMMA = loader.parse(
    "{id: gamma, title: Gamma, lines: 2, applications: [Крамниця], hosts: [{id: g-web, kind: vds}]}", Contract
)


@pytest.mark.parametrize(
    ("title", "class_"),
    [
        ("Сайт не працює", 3),
        ("Прошу перемкнути на резервний сервер", 2),
        ("Не проходить оплата в кошику", 4),
        ("На сайті вірус", 5),
        ("Закінчується місце на диску", 2),
        ("Хостинг повідомив про роботи", 1),
        ("Магазин знову лежить", 3),
        ("Повільно відкривається сторінка товару", 5),
        ("Оновіть PHP до 8.3", 2),
        ("Як додати нового користувача?", 6),
        ("Which documentation should we read?", 6),
        ("The shop is down", 3),
        ("Site returns 502 since 10:00", 3),
        ("We cannot invoice, CRM hangs", 4),
        ("Hello", 6),
    ],
)
def test_a_class_is_proposed_from_the_words(title, class_):
    assert propose(title, "").class_ == class_


def test_the_title_weighs_more_than_the_body():
    assert propose("Оплата не проходить", "Сервер і диск ми перевіряли, ssh працює.").class_ == 4


def test_the_proposal_says_why_and_names_the_class_that_comes_close():
    told = propose("Повільна оплата", "")
    assert told.class_ == 4 and "оплата" in told.words
    assert told.rival == 5
    assert [r.key for r in told.reasons][-2:] == ["reason.proposal.rival", "reason.proposal.line"]
    for language in ("uk", "en"):
        assert all(texts(language).reason(reason) for reason in told.reasons)


def test_what_the_contract_knows_counts_as_words_do():
    assert propose("Щось не так", "Крамниця дивно поводиться", GAMMA).class_ == 5
    assert propose("Щось не так", "на g-web", GAMMA).class_ == 2
    # A name inside another word is no name.
    assert propose("Щось не так", "на g-web2", GAMMA).class_ == 6


def test_the_line_follows_the_class_within_the_contract():
    assert propose("Хостинг лежить", "").line == 4
    assert propose("Хостинг лежить", "", GAMMA).line == 2
    assert propose("Як це зробити?", "", GAMMA).line == 1


@pytest.mark.parametrize("class_", CLASSES)
@pytest.mark.parametrize("who", [OLENA, CLIENT_A])
def test_everybody_files_every_class(tx, book, who, class_):
    filed = acts.file(tx, book, who, "acme", class_, "Запит", "", NOW_MS, host_id="a1")
    view = ticket(tx, OLENA, filed)
    assert (view.class_, view.line, view.state) == (class_, 1, "new")
    assert {clock.kind for clock in view.clocks} == {"reaction", "resolution"}


@pytest.mark.parametrize("wish", [SWITCH, UPKEEP])
def test_a_wish_of_the_client_is_class_2_whatever_its_words_and_its_chosen_class(tx, book, wish):
    filed = acts.file(tx, book, CLIENT_A, "acme", 6, "Питання щодо сайту", "", NOW_MS, wish=wish)
    view = ticket(tx, OLENA, filed)
    assert view.class_ == 2
    assert view.events[0].body["wish"] == wish


def test_class_2_that_is_not_due_is_refused_recorded_with_the_reason_and_opens_nothing(tx, book):
    for wish, host in (("", "a3"), (SWITCH, "a3")):
        done = acts.file(
            tx, book, CLIENT_A, "acme", 2, "Оновіть систему", "ядро", NOW_MS, host_id=host, wish=wish
        )
        assert isinstance(done, Refusal) and done.code == "not_eligible"
    recorded = filing.not_taken(tx, "acme")
    assert [(r.title, r.by, r.reason.key) for r in recorded] == [
        ("Оновіть систему", "client-a", "reason.intake.class2_kind")
    ] * 2
    assert audit.of(tx, "contract:acme")[0]["details"]["body"] == "ядро"
    assert filing.not_taken(tx, "beta") == []
    assert tx.exec_driver_sql("SELECT count(*) FROM tickets").scalar() == 0


def test_a_proposed_class_2_that_is_not_due_is_refused_too(tx, book):
    done = acts.file(
        tx, book, CLIENT_A, "acme", None, "Закінчується місце на диску", "", NOW_MS, host_id="a3"
    )
    assert isinstance(done, Refusal) and done.code == "not_eligible"


def test_a_client_files_for_its_own_contract_whatever_it_names(tx, book):
    filed = acts.file(tx, book, CLIENT_B, "acme", 6, "Question", "", NOW_MS)
    assert ticket(tx, OLENA, filed).contract_id == "beta"
    done = acts.file(tx, book, CLIENT_B, "acme", 2, "Reboot", "", NOW_MS, host_id="a1")
    assert isinstance(done, Refusal) and set(done.fields) == {"host_id"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"application": "Невідомий"}, "application"),
        ({"wish": "a pony"}, "wish"),
        ({"host_id": "b1"}, "host_id"),
        ({"class_": 7}, "class"),
        ({"title": " \x00 "}, "title"),
        ({"contract_id": "nobody"}, "contract_id"),
    ],
)
def test_a_wrong_field_is_named(tx, book, fields, wrong):
    given = {"contract_id": "acme", "class_": 6, "title": "Питання", "body": ""} | fields
    done = acts.file(tx, book, OLENA, now_ms=NOW_MS, **given)
    assert isinstance(done, Refusal) and set(done.fields) == {wrong}


def test_without_a_class_the_proposed_one_is_taken_and_line_1_confirms_class_and_line(tx, book):
    filed = acts.file(tx, book, CLIENT_A, "acme", None, "Не проходить оплата в кошику", "", NOW_MS)
    view = ticket(tx, OLENA, filed)
    assert (view.class_, view.line) == (4, 1)
    proposed = filing.unconfirmed(view.origin, view.events)
    assert proposed["class"] == 4 and proposed["line"] == 3
    after = acts.perform(tx, book, "qualify", filed, OLENA, 1, NOW_MS + MINUTE, class_=5, line=2)
    assert (after.class_, after.line, after.assignee) == (5, 2, None)
    assert filing.unconfirmed(after.origin, after.events) is None
    # The promise follows the class from the original start (beta's and acme's class 5: the house's 24 h).
    resolution = next(c for c in after.clocks if c.kind == "resolution")
    assert resolution.target_ms == 24 * 3_600_000
    assert resolution.due_at_ms == NOW_MS + 24 * 3_600_000
    for language in ("uk", "en"):
        assert "5" in texts(language).reason(after.events[-1].reason)


def test_line_1_confirms_what_was_proposed_without_a_change(tx, book):
    filed = acts.file(tx, book, CLIENT_A, "acme", 6, "Як додати користувача?", "", NOW_MS)
    assert filing.unconfirmed("person", ticket(tx, OLENA, filed).events) is not None
    after = acts.perform(tx, book, "qualify", filed, OLENA, 1, NOW_MS, class_=6, line=1)
    assert (after.class_, after.line) == (6, 1)
    assert filing.unconfirmed(after.origin, after.events) is None


def test_class_and_line_that_the_staff_chose_need_no_second_confirmation(tx, book):
    filed = acts.file(tx, book, OLENA, "acme", 4, "Кошик", "", NOW_MS, line=3)
    view = ticket(tx, OLENA, filed)
    assert view.line == 3
    assert filing.unconfirmed(view.origin, view.events) is None
    # The line of a client's filing is not the client's to choose.
    filed = acts.file(tx, book, CLIENT_A, "acme", 4, "Кошик", "", NOW_MS, line=3)
    assert ticket(tx, OLENA, filed).line == 1


@pytest.mark.parametrize(
    ("class_", "line", "code"), [(2, 1, "not_eligible"), (4, 9, "invalid"), (9, 1, "invalid")]
)
def test_a_confirmation_that_the_contract_does_not_hold_is_refused(tx, book, class_, line, code):
    filed = acts.file(tx, book, CLIENT_A, "acme", 6, "Перезавантажте", "", NOW_MS, host_id="a3")
    done = acts.perform(tx, book, "qualify", filed, OLENA, 1, NOW_MS, class_=class_, line=line)
    assert isinstance(done, Refusal) and done.code == code
    assert ticket(tx, OLENA, filed).class_ == 6
    kept = [row["act"] for row in audit.of(tx, f"ticket:{filed}")]
    assert ("refuse" in kept) == (code == "not_eligible")


def test_a_client_confirms_nothing(tx, book):
    filed = acts.file(tx, book, CLIENT_A, "acme", 6, "Питання", "", NOW_MS)
    done = acts.perform(tx, book, "qualify", filed, CLIENT_A, 1, NOW_MS, class_=1)
    assert isinstance(done, Refusal) and done.code == "forbidden"


def test_the_question_pauses_the_clock_and_the_clients_answer_resumes_it(tx, book):
    filed = acts.file(tx, book, CLIENT_A, "acme", 4, "Кошик", "", NOW_MS)
    asked = acts.perform(
        tx, book, "ask_client", filed, OLENA, 1, NOW_MS + 10 * MINUTE, text="З якого браузера?"
    )
    assert asked.state == "waiting_client"
    seen = ticket(tx, CLIENT_A, filed)
    assert seen.events[-1].body["text"] == "З якого браузера?"
    # A client that simply writes has answered.
    answered = acts.perform(tx, book, "note", filed, CLIENT_A, 2, NOW_MS + 70 * MINUTE, text="Firefox")
    assert answered.state == "in_work"
    calendar = book.contract("acme").calendar.calendar
    spent = {
        w.kind.value: w.spent_at(calendar, NOW_MS + 75 * MINUTE) for w in ledger.watches(tx, filed).values()
    }
    assert spent["resolution"] == 15 * MINUTE
