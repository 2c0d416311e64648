"""Octets to a letter: odd charsets, HTML, files, quotations, machines, and whatever the hostile send."""

from __future__ import annotations

import email.message
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.examples import examples
from tests.unit.ticketing.letters.conftest import letter
from ticketing.letters import parse, quotes, tokens

KEY = b"k" * 32


def test_words_in_any_usual_charset_are_read():
    for charset in ("utf-8", "windows-1251", "koi8-u"):
        head = f"From: a@b.example\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        assert parse.read(head.encode() + "Їжак ґудзик".encode(charset)).text == "Їжак ґудзик", charset
    undeclared = b"From: a@b.example\r\n\r\n" + "Сервер впав".encode("windows-1251")
    assert parse.read(undeclared).text == "Сервер впав"


@pytest.mark.parametrize(
    "charset", ["zlib", "rot13", "unicode_escape", "utf-7", "idna", "no-such", "x" * 500]
)
def test_a_charset_that_is_none_of_mails_breaks_nothing(charset):
    head = f"From: a@b.example\r\nSubject: =?{charset}?q?=41?=\r\nContent-Type: text/plain; charset={charset}"
    raw = f"{head}\r\n\r\nHello".encode()
    assert parse.read(raw).text == "Hello"


def test_of_an_html_only_letter_its_words_are_kept_and_its_scripts_are_not():
    html = "<html><head><style>p{}</style></head><body><p>Сайт&nbsp;лежить</p><script>alert(1)</script><ul><li>один<li>два</ul>"
    html += "<div class='gmail_quote'>Пише desk:<blockquote>стара історія</blockquote></div></body></html>"
    raw = b"From: a@b.example\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html.encode()
    read = parse.read(raw)
    assert read.is_html_only and "alert" not in read.text and "p{}" not in read.text
    assert quotes.new_words(read.text) == "Сайт лежить\n\nодин\nдва"


def test_files_are_listed_with_names_that_lead_nowhere():
    message = email.message.EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("див. файл")
    message.add_attachment(b"PNG", maintype="image", subtype="png", filename="../../etc/знімок.png")
    message.add_attachment(b"x" * 10, maintype="application", subtype="octet-stream", filename="..")
    raw = message.as_bytes()
    read = parse.read(raw)
    assert [(a.name, a.bytes) for a in read.attachments] == [("знімок.png", 3), ("file-1", 10)]
    found = parse.attachment(raw, 0)
    assert found is not None and found[1] == b"PNG" and parse.attachment(raw, 2) is None


@pytest.mark.parametrize(
    "value",
    [
        "a@b.example)x@evil.example",
        "a@b.example, c@d.example",
        "<a@b.example> <c@d.example>",
        "nobody",
        "",
        "a b@c.example",
    ],
)
def test_a_sender_that_is_not_plainly_one_address_is_none(value):
    assert parse.address_of(value) == ""


def test_a_sender_is_one_address_in_lower_case():
    assert parse.address_of('"Ірина, Acme" <Iryna@Acme.example>') == "iryna@acme.example"
    assert parse.read(letter() + b"").sender == "iryna@acme.example"
    assert parse.read(b"From: a@b.example\r\nFrom: c@d.example\r\n\r\nx").sender == ""


@pytest.mark.parametrize(
    ("headers", "auto", "is_receipt"),
    [
        ({}, "", False),
        ({"Auto_Submitted": "no"}, "", False),
        ({"Auto_Submitted": "auto-replied (vacation)"}, "Auto-Submitted: auto-replied (vacation)", False),
        ({"Auto_Submitted": "auto-replied"}, "Auto-Submitted: auto-replied", True),
        ({"Auto_Submitted": "auto-generated"}, "Auto-Submitted: auto-generated", False),
        ({"Precedence": "bulk"}, "Precedence: bulk", False),
        ({"List_Id": "<x.example>"}, "List-Id", False),
        ({"X_Autoreply": "yes"}, "X-Autoreply", True),
    ],
)
def test_a_machines_letter_is_known_by_its_headers(headers, auto, is_receipt):
    read = parse.read(letter(**headers))
    assert (read.auto, read.is_auto_reply) == (auto, is_receipt)


QUOTED = {
    "gmail": (
        "Так, бачимо.\n\nпн, 5 січ. 2026 р. о 10:00 Desk <d@x.example> пише:\n> Чи бачите?\n>\n> Desk\n",
        "Так, бачимо.",
    ),
    "two lines": (
        "Yes.\n\nOn Mon, 5 Jan 2026 at 10:00, The Desk\n<d@x.example> wrote:\n\n> Do you see it?\n",
        "Yes.",
    ),
    "outlook": (
        "Still down.\n\n________________________________\n"
        "From: Desk <d@x.example>\nSent: Monday\nTo: Ben\nSubject: x\n\nDo you see it?",
        "Still down.",
    ),
    "rule": ("Ні.\n\n-----Original Message-----\nстаре", "Ні."),
    "between the lines": (
        "> Do you see it?\nYes.\n> And the cart?\nNo.\n",
        "> Do you see it?\nYes.\n> And the cart?\nNo.",
    ),
    "only a quotation": ("> Do you see it?", "> Do you see it?"),
    "signature": ("Готово\n-- \nІрина\n+380", "Готово"),
    "a word that ends in a colon": ("Вона пише: не працює.\nЩо робити?", "Вона пише: не працює.\nЩо робити?"),
    "two headers are no block": (
        "From: here\nTo: there\nit takes long",
        "From: here\nTo: there\nit takes long",
    ),
}


@pytest.mark.parametrize("name", QUOTED)
def test_only_what_is_surely_a_quotation_is_cut(name):
    text, kept = QUOTED[name]
    assert quotes.new_words(text) == kept


@given(st.text())
@settings(max_examples=examples(200))
def test_cutting_never_loses_everything_and_never_adds(text):
    kept = quotes.new_words(text)
    assert bool(kept) == bool(text.strip())
    words = set(text.split())
    assert all(word in words for word in kept.split())


def test_a_token_of_another_ticket_purpose_key_or_time_is_worth_nothing():
    token = tokens.make(KEY, "t", 12, 1000)
    (found,) = tokens.find([f"Re: x <desk+{token.upper()}@x.example>"])
    assert tokens.is_genuine(KEY, found, 1000)
    assert not tokens.is_genuine(KEY, found, 1001)
    assert not tokens.is_genuine(b"o" * 32, found, 1000)
    for changed in (
        token.replace("t12", "t13"),
        token.replace("t12", "p12"),
        token[:-1] + ("a" if token[-1] != "a" else "b"),
    ):
        assert not tokens.is_genuine(KEY, tokens.find([changed])[0], 1000), changed


HEADERS = st.sampled_from(
    [
        "From",
        "Subject",
        "Content-Type",
        "Content-Transfer-Encoding",
        "To",
        "References",
        "Message-ID",
        "Return-Path",
        "Auto-Submitted",
        "Content-Disposition",
        "Authentication-Results",
        "MIME-Version",
        "X-Loop",
    ]
)
NASTY = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b"=?utf-8?b?////?=", b"=?utf-8?q?=", b"multipart/mixed; boundary=a", b"multipart/mixed; boundary=", b"base64",
         b'multipart/mixed; boundary="\xff"', b"message/rfc822", b"text/html; charset*0*=utf-8''%ff", b"uuencode", b"<>",
         b"attachment; filename*=x'y'%ff%00", b"a@b.example", b"text/plain; charset=", b"quoted-printable", b"\x00\xff",
         b"multipart/report; report-type=delivery-status"]
    ),
)  # fmt: skip


@given(st.lists(st.tuples(HEADERS, NASTY), max_size=12), st.lists(NASTY, max_size=6), st.binary(max_size=300))
@settings(max_examples=examples(400), deadline=None)
def test_no_letter_breaks_the_reader(headers, lines, rest):
    raw = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    raw += b"\r\n" + b"\r\n--a\r\n".join(lines) + b"\r\n--a--\r\n" + rest
    read = parse.read(raw)
    for text in (read.text, read.subject, read.sender, read.sender_name, *(a.name for a in read.attachments)):
        assert "\x00" not in text and text.encode("utf-8").decode() == text
    for file in read.attachments:
        assert parse.attachment(raw, file.number) is not None


def test_a_real_letter_with_its_octets_changed_breaks_nothing():
    message = email.message.EmailMessage()
    message["From"], message["Subject"] = "Ірина <a@b.example>", "Щось зі складом"
    message.set_content("слова\n> цитата\n")
    message.add_alternative("<p>слова</p>", subtype="html")
    message.add_attachment(b"\x00\x01" * 50, maintype="application", subtype="pdf", filename="рахунок.pdf")
    whole, seed = message.as_bytes(), 20260105
    dice = random.Random(seed)
    for round_ in range(400):
        raw = bytearray(whole)
        for _ in range(dice.randint(1, 30)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        del raw[dice.randrange(len(raw)) :][: dice.randrange(200)]
        read = parse.read(bytes(raw))
        assert isinstance(read.text, str), f"seed {seed}, round {round_}"


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@b.example\r\n" + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 3000,
        b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + b"<div>" * 200_000,
        b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + b"<blockquote>" * 50_000 + b"x",
        b"From: a@b.example\r\nSubject: " + b"=?utf-8?q?=41?= " * 20_000 + b"\r\n\r\nx",
        b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + b"<!" * 300_000,
        b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + b"<a " * 300_000,
        b"From: a@b.example\r\n\r\n" + b"wrote: \n" * 50_000,
        b"From: a@b.example\r\nReferences: " + b"<a@b> " * 100_000 + b"\r\n\r\nx",
        b"\xff\xfe" * 5000,
        b"",
    ],
    ids=[
        "deep parts",
        "deep divs",
        "deep quotes",
        "long subject",
        "open bangs",
        "open tags",
        "wrotes",
        "ids",
        "no letter",
        "empty",
    ],
)
@pytest.mark.timeout(20)
def test_no_letter_takes_long(raw):
    read = parse.read(raw).text
    assert len(quotes.new_words(read)) <= len(read)


def test_real_mail_of_the_public_data_is_read(tmp_path: Path):
    """A letter that our own mailer makes is read back whole: what we send, we understand."""
    read = parse.read(letter(subject="[#1] Нова заявка: диск заповнено", text="Один\nДва"))
    assert (read.subject, read.text) == ("[#1] Нова заявка: диск заповнено", "Один\nДва")
