"""Letters through real servers: Dovecot in, aiosmtpd out, and the reading process killed wherever it happens to be."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from collector.mail_intake import MailIntake
from collector.settings import CollectorSettings
from config.clock import SystemClock
from config.loader import load
from tests.e2e.mail.conftest import make_store, write_settings
from tests.unit.ticketing.letters.conftest import letter
from ticketing import contracts, tables
from ticketing.letters import imap

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]


def now_ms():
    return SystemClock().now_ms()


def intake_of(config, store):
    settings = load(config, CollectorSettings)
    with store.read() as conn:
        book = contracts.current(conn)
    return MailIntake(store, SystemClock(), settings, lambda: book, decides=lambda: True, poke=lambda: None)


def mails(store):
    with store.read() as conn:
        return list(conn.execute(select(tables.mails).order_by(tables.mails.c.id)).mappings())


def titles(store):
    with store.read() as conn:
        return list(conn.execute(select(tables.tickets.c.title)).scalars())


def test_a_letter_in_the_mailbox_becomes_a_ticket_and_is_marked_on_the_server(tmp_path, dovecot):
    config = write_settings(tmp_path, dovecot)
    store = make_store(config, now_ms())
    dovecot.deliver(letter(subject="Кошик", text="оплата"), letter(sender="eve@evil.example"))
    intake = intake_of(config, store)
    assert intake.look() == 2 and intake.act() == 2
    assert titles(store) == ["Кошик"] and [m["outcome"] for m in mails(store)] == ["filed", "held"]
    assert all(rb"\Seen" in line and imap.TAKEN.encode() in line for line in dovecot.flags())
    again = intake_of(config, store)
    assert again.look() == 0 and again.act() == 0
    store.close()


def test_taken_letters_are_moved_where_a_folder_is_named(tmp_path, dovecot):
    box = dovecot.client()
    box.create("Done")
    box.logout()
    config = write_settings(tmp_path, dovecot, done_folder="Done")
    store = make_store(config, now_ms())
    dovecot.deliver(letter(text="1"), letter(text="2"))
    intake = intake_of(config, store)
    assert intake.look() == 2
    assert dovecot.flags() == [] and len(dovecot.flags("Done")) == 2
    store.close()


def test_a_mailbox_built_anew_brings_nothing_twice(tmp_path, dovecot):
    """Another UIDVALIDITY: every letter is new to IMAP, none is to us."""
    config = write_settings(tmp_path, dovecot)
    store = make_store(config, now_ms())
    letters = [letter(subject=f"n{n}", text=f"оплата {n}") for n in range(5)]
    dovecot.deliver(*letters)
    intake = intake_of(config, store)
    intake.look()
    intake.act()
    intake.stop()
    box = dovecot.client()
    box.select("Trash") if box.create("Trash")[0] != "OK" else None
    box.select("Trash")
    box.delete("INBOX")
    box.logout()
    for file in (dovecot.folder / "home" / "desk").glob("dovecot*"):
        file.unlink()
    for file in (dovecot.folder / "home" / "desk").rglob("*"):
        if file.is_file():
            file.unlink()
    dovecot.halt()
    dovecot.start()
    dovecot.deliver(*letters, letter(subject="новий", text="оплата"))
    fresh = intake_of(config, store)
    fresh.look()
    fresh.act()
    assert sorted(titles(store)) == sorted([f"n{n}" for n in range(5)] + ["новий"])
    assert len({m["uidvalidity"] for m in mails(store)}) == 2, (
        "the mailbox was not built anew: the test shows nothing"
    )
    store.close()


def test_a_letter_past_the_bound_is_taken_by_its_beginning(tmp_path, dovecot):
    config = write_settings(tmp_path, dovecot, letter_max=65536)
    store = make_store(config, now_ms())
    dovecot.deliver(letter(subject="Велике", text="оплата\n" + "x" * 70 + "\n" * 3000 + "y\n" * 60_000))
    intake = intake_of(config, store)
    intake.look()
    intake.act()
    (mail,) = mails(store)
    assert mail["is_cut"] and len(mail["raw"]) == 65536 and mail["outcome"] == "filed"
    store.close()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"port": 1}, "cannot be reached"),
        ({"user": "desk", "password": "wrong"}, "refused our log-in"),
        ({"folder": "No such"}, "cannot be opened"),
        ({"password_file": "/nonexistent"}, "password_file cannot be read"),
    ],
)
def test_a_mailbox_that_cannot_be_used_says_why_and_no_secret(tmp_path, dovecot, changes, word):
    settings = load(write_settings(tmp_path, dovecot), CollectorSettings).mail.intake
    if secret := changes.pop("password", None):
        changes["password_file"] = tmp_path / "wrong"
        (tmp_path / "wrong").write_text(secret)
    if "password_file" in changes:
        changes["password_file"] = Path(changes["password_file"])
    with pytest.raises(imap.MailboxFault, match=word) as caught:
        imap.connect(dataclasses.replace(settings, **changes))
    assert "imap-secret" not in str(caught.value)


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_letters_are_read_over_tls_and_by_starttls(tmp_path, tls_dovecot, tls):
    port = tls_dovecot.tls_port if tls == "tls" else tls_dovecot.port
    ca_file = str(tls_dovecot.folder / "ca.crt")
    config = write_settings(tmp_path, tls_dovecot, host="localhost", port=port, tls=tls, ca_file=ca_file)
    store = make_store(config, now_ms())
    tls_dovecot.deliver(letter(subject="Через TLS"))
    intake = intake_of(config, store)
    intake.look()
    intake.act()
    assert titles(store) == ["Через TLS"]
    store.close()


@pytest.mark.parametrize("tls", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("changes", "word"),
    [({"ca_file": None}, "CERTIFICATE_VERIFY_FAILED"), ({"host": "127.0.0.1"}, "CERTIFICATE_VERIFY_FAILED")],
    ids=["a CA that we do not know", "a name that is not the server's"],
)
def test_a_server_that_cannot_prove_who_it_is_gets_no_password(tmp_path, tls_dovecot, tls, changes, word):
    port = tls_dovecot.tls_port if tls == "tls" else tls_dovecot.port
    ca_file = str(tls_dovecot.folder / "ca.crt")
    config = write_settings(tmp_path, tls_dovecot, host="localhost", port=port, tls=tls, ca_file=ca_file)
    settings = dataclasses.replace(load(config, CollectorSettings).mail.intake, **changes)
    with pytest.raises(imap.MailboxFault, match=word) as caught:
        imap.connect(settings)
    assert "imap-secret" not in str(caught.value)
    said = (tls_dovecot.folder / "log").read_text() if (tls_dovecot.folder / "log").exists() else ""
    assert "Login: user=<desk>" not in said


def test_a_server_without_starttls_gets_no_password_either(tmp_path, dovecot):
    config = write_settings(tmp_path, dovecot, host="localhost", tls="starttls")
    with pytest.raises(imap.MailboxFault):
        imap.connect(load(config, CollectorSettings).mail.intake)


def test_a_mail_server_that_goes_away_and_returns_costs_no_letter(tmp_path, dovecot):
    config = write_settings(tmp_path, dovecot)
    store = make_store(config, now_ms())
    intake = intake_of(config, store)
    assert intake.look() == 0
    dovecot.halt()
    intake._next_look_ms = 0
    assert intake.look() == 0, "away"
    dovecot.start()
    dovecot.deliver(letter(text="оплата"))
    intake._next_look_ms = 0
    assert intake.look() == 1
    store.close()


def test_letters_are_neither_lost_nor_doubled_under_kill_9(tmp_path, dovecot):
    """The reading process is killed at random moments while letters come in; at the end each is one ticket."""
    config = write_settings(tmp_path, dovecot, batch=3)
    store = make_store(config, now_ms())
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    sent, kills = 0, 0
    while kills < 25:
        wave = dice.randint(1, 4)
        dovecot.deliver(*(letter(subject=f"n{sent + n}", text=f"оплата {sent + n}") for n in range(wave)))
        sent += wave
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.mail.mailroom_once", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline() == b"reading\n"
        time.sleep(dice.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        kills += 1
    killed_with = Counter(m["state"] for m in mails(store))
    intake = intake_of(config, store)
    for _ in range(40):
        intake._next_look_ms = 0
        intake.look()
        intake.act()
    wanted = [f"n{n}" for n in range(sent)]
    assert sorted(titles(store)) == sorted(wanted), f"SEED={seed}, {killed_with}"
    assert len(mails(store)) == sent and all(m["marked_at_ms"] for m in mails(store)), f"SEED={seed}"
    with store.read() as conn:
        receipts = conn.execute(
            select(tables.outbox.c.destination).where(tables.outbox.c.destination == "iryna@acme.example")
        ).all()
    assert len(receipts) == sent, f"SEED={seed}: one receipt a letter"
    store.close()
