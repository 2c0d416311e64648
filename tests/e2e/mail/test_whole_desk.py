"""A real collector between a real mailbox and a real SMTP server, killed while it works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.loader import load
from tests.e2e.house import PROGRAMS
from tests.e2e.mail.conftest import write_settings
from tests.unit.ticketing.letters.conftest import letter
from ticketing import tables

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]


class Running:
    """One collector process."""

    def __init__(self, config, log):
        self._config, self._log = config, log
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAMS / "vartovyi-collector", "serve", "--config", self._config],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture
def running(tmp_path, dovecot, post):
    config = write_settings(tmp_path, dovecot, post.port, plus_addresses=True)
    with (tmp_path / "log").open("ab") as log:
        collector = Running(config, log)
        collector.config = config
        try:
            yield collector
        finally:
            collector.stop()


def wait_for(what, done, within_s=60.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = done()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {within_s} s: {what}")


def rows(config, table):
    store = Store.open(load(config, CollectorSettings).database_url())
    try:
        with store.read() as conn:
            return list(conn.execute(select(table)).mappings())
    finally:
        store.close()


def test_a_client_writes_is_answered_and_answers_back(running, dovecot, post):
    running.start()
    dovecot.deliver(letter(subject="Кошик", text="Не проходить оплата", Message_ID="<first@mua.example>"))
    receipt = wait_for(
        "a receipt", lambda: next((m for m in post.letters if m["To"] == "iryna@acme.example"), None)
    )
    assert receipt["In-Reply-To"] == "<first@mua.example>" and receipt["Subject"].startswith("[#1]")
    dovecot.deliver(letter(subject="Re: " + receipt["Subject"], text="ще одне", To=receipt["Reply-To"]))
    events = wait_for(
        "the note",
        lambda: [e for e in rows(running.config, tables.ticket_events) if e["kind"] == "note"],
    )
    assert events[0]["ticket_id"] == 1 and events[0]["body"]["text"] == "ще одне"
    assert len(rows(running.config, tables.tickets)) == 1
    key = running.config.parent / "state" / "reply-tokens.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text() not in (running.config.parent / "log").read_text()


def test_under_kill_9_every_letter_is_one_ticket_and_every_mail_goes_out_under_one_id(running, dovecot, post):
    """The whole process is killed while it reads, decides and sends; mail may come twice, always under the same id."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    dice = random.Random(seed)
    sent = 0
    for _ in range(5):
        dovecot.deliver(*(letter(subject=f"n{sent + n}", text=f"оплата {sent + n}") for n in range(3)))
        sent += 3
        running.start()
        before = len(post.letters)
        wait_for("some life", lambda b=before: len(post.letters) > b or running.process.poll() is not None)
        time.sleep(dice.uniform(0.0, 0.4))
        running.kill()
    running.start()
    store_rows = wait_for(
        "all delivered",
        lambda: (
            (found := rows(running.config, tables.outbox))
            and len([r for r in found if r["destination"] == "iryna@acme.example"]) == sent
            # What a killed worker had claimed comes back when its claim runs out; ten minutes are too long for a test.
            and all(r["state"] == "delivered" or r["claimed_by"] for r in found)
            and found
        ),
        within_s=90,
    )
    titles = [t["title"] for t in rows(running.config, tables.tickets)]
    assert sorted(titles) == sorted(f"n{n}" for n in range(sent)), f"SEED={seed}"
    wanted = {f"<{r['message_id']}@desk.example>" for r in store_rows if r["state"] == "delivered"}
    came = Counter(m["Message-ID"] for m in post.letters)
    assert wanted <= set(came), f"SEED={seed}: a mail that counts as delivered never came"
    assert set(came) <= {f"<{r['message_id']}@desk.example>" for r in store_rows}, f"SEED={seed}"
