"""Mail and dossiers as people meet them: settings with clear faults, the command line, the API."""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select

from collector import cli, mail_intake
from collector.mail_settings import MailIntakeSettings
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.workers import OutboxWorkers
from config import loader
from config.clock import SystemClock
from config.loader import ConfigError
from tests.unit.ticketing.letters.conftest import ACME, BETA, KEY, NOW_MS, PEOPLE, letter
from ticketing import contracts, provider_cases, tables
from ticketing.letters import acting, rows

pytestmark = pytest.mark.collector


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{host: imap.example}", ["user", "password_file", "address"]),
        (
            "{host: imap.example, user: u, password_file: /x, address: nobody}",
            ["'nobody' is not a mail address"],
        ),
        ("{host: imap.example, tls: none, user: u, password_file: /x, address: a@b.example}", ["loopback"]),
        (
            "{host: h, user: u, password_file: /x, address: a@b.example, folder: A, done_folder: A}",
            ["done_folder"],
        ),
        ("{every: 0 s}", ["every"]),
        ("{letter_max: 1 KiB}", ["letter_max"]),
    ],
)
def test_a_mailbox_that_cannot_work_is_told_with_what_would(text, words):
    with pytest.raises(ConfigError) as caught:
        loader.parse(text, MailIntakeSettings)
    said = str(caught.value)
    assert all(word in said for word in words), said


def test_collectors_that_share_a_database_must_share_the_key():
    text = """
database: {url: "postgresql+psycopg://u@h/d"}
mail: {intake: {host: h, user: u, password_file: /x, address: a@b.example}}
"""
    with pytest.raises(ConfigError, match="token_key_file"):
        loader.parse(text, CollectorSettings)


def test_the_key_is_made_once_for_its_owner_only_and_a_short_one_is_refused(tmp_path):
    settings = loader.parse(f"state_dir: {tmp_path}", CollectorSettings)
    first = mail_intake.token_key(settings.mail, tmp_path)
    assert mail_intake.token_key(settings.mail, tmp_path) == first and len(first) == 64
    assert [(f.name, f.stat().st_mode & 0o777) for f in tmp_path.iterdir()] == [("reply-tokens.key", 0o600)]
    (tmp_path / "reply-tokens.key").write_text("short")
    with pytest.raises(OSError, match="at least 16"):
        mail_intake.token_key(settings.mail, tmp_path)


class Desk:
    """A collector's folder with letters in its store, and its command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        (folder / "contracts").mkdir()
        (folder / "contracts" / "acme.yaml").write_text(ACME, encoding="utf-8")
        (folder / "contracts" / "beta.yaml").write_text(BETA, encoding="utf-8")
        people = "people:\n" + "".join(f"  - {line}\n" for line in PEOPLE)
        (folder / "contracts" / "people.yaml").write_text(people, encoding="utf-8")
        self.config = folder / "collector.yaml"
        self.config.write_text(
            f"state_dir: {folder}/state\ncontracts: {folder}/contracts\n", encoding="utf-8"
        )
        assert self.run("migrate")[0] == 0
        self.store = Store.open(f"sqlite:///{folder}/state/collector.db")
        self.store.write(
            lambda tx: contracts.apply(tx, contracts.load_folder(folder / "contracts"), NOW_MS, "test")
        )

    def run(self, *words: str) -> tuple[int, str]:
        status = cli.main([*words, "--config", str(self.config)])
        said = self._capsys.readouterr()
        return status, said.out + said.err

    def bring(self, *raws: bytes) -> None:
        with self.store.read() as conn:
            book = contracts.current(conn)
        house = acting.House(KEY, frozenset())
        for uid, raw in enumerate(raws, 1):
            fetched = rows.Fetched(uid, NOW_MS, raw)
            self.store.write(lambda tx, f=fetched: rows.take(tx, "box", 7, [f], NOW_MS))
            self.store.write(lambda tx: acting.act_on_next(tx, book, house, NOW_MS))

    def tickets(self):
        with self.store.read() as conn:
            return list(conn.execute(select(tables.tickets)).mappings())


@pytest.fixture
def desk(tmp_path, capsys):
    made = Desk(tmp_path, capsys)
    yield made
    made.store.close()


def test_letters_that_wait_are_listed_read_filed_and_dropped(desk):
    assert "No letter waits" in desk.run("mail", "held")[1]
    desk.bring(
        letter(sender="new@acme.example", subject="Допоможіть", text="сайт лежить"),
        letter(sender="eve@evil.example", subject="Buy", text="now"),
    )
    status, said = desk.run("mail", "held", "--json")
    held = json.loads(said)
    assert status == 0 and [(one["id"], one["from"]) for one in held] == [
        (1, "new@acme.example"),
        (2, "eve@evil.example"),
    ]
    assert "No contract names the address" in held[0]["why"]
    assert "сайт лежить" in desk.run("mail", "show", "1")[1]
    status, said = desk.run("mail", "file", "1", "--contract", "nobody")
    assert status == 1 and "nobody" in said and desk.tickets() == []
    assert desk.run("mail", "file", "1", "--contract", "acme", "--class", "3")[0] == 0
    assert [(t["title"], t["class"], t["origin"]) for t in desk.tickets()] == [("Допоможіть", 3, "mail")]
    status, said = desk.run("mail", "file", "1", "--contract", "acme")
    assert status == 1 and "does not wait" in said, "a second time files nothing"
    assert desk.run("mail", "drop", "2")[0] == 0 and "No letter waits" in desk.run("mail", "held")[1]
    assert desk.run("mail", "show", "99") == (1, "vartovyi-collector: there is no letter 99\n")


def test_a_letter_and_its_files_are_saved_where_told_and_nowhere_else(desk, tmp_path):
    raw = letter(sender="new@acme.example", text="див.")
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    message.add_attachment(b"PNG", maintype="image", subtype="png", filename="../../../tmp/evil.png")
    desk.bring(message.as_bytes())
    status, said = desk.run("mail", "save", "1", "--to", str(tmp_path / "out"))
    assert status == 0 and sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "1-0-evil.png",
        "1.eml",
    ], said
    assert (tmp_path / "out" / "1-0-evil.png").read_bytes() == b"PNG"
    assert desk.run("mail", "save", "1", "--to", str(tmp_path / "out"))[0] == 1, "nothing is written over"


def test_mail_check_says_what_is_not_set_and_what_cannot_be_reached(desk):
    status, said = desk.run("mail", "check")
    assert status == 0 and "not set (mail.host)" in said and "not set (mail.intake.host)" in said
    (desk.folder / "pw").write_text("secret-42")
    intake = f"{{host: 127.0.0.1, port: 1, tls: none, user: u, password_file: {desk.folder}/pw, address: a@b.example}}"
    more = f"mail: {{host: 127.0.0.1, port: 1, tls: none, intake: {intake}}}\n"
    desk.config.write_text(desk.config.read_text() + more)
    status, said = desk.run("mail", "check")
    assert status == 1 and said.count("Connection refused") == 2 and "secret-42" not in said


def test_a_dossier_is_shown_and_sent_only_with_a_yes(desk):
    desk.bring(letter(subject="Хостинг", text="провайдер: сервер недоступний"))
    with desk.store.read() as conn:
        assert conn.execute(select(tables.tickets.c.id)).scalar() == 1
    desk.store.write(lambda tx: tx.execute(tables.tickets.update().values(affected=["a1"], **{"class": 1})))
    status, said = desk.run("dossier", "1", "--words", "Please hurry.")
    assert status == 0 and "K-77" in said and "support@alfa.example" in said and "Nothing was sent" in said
    assert desk.tickets()[0]["state"] == "new"
    status, said = desk.run("dossier", "1", "--words", "Please hurry.", "--send")
    row = desk.tickets()[0]
    assert status == 0 and row["state"] == "waiting_provider" and row["assignee"] is None
    with desk.store.read() as conn:
        sent = (
            conn.execute(select(tables.outbox).filter_by(destination="support@alfa.example")).mappings().all()
        )
    assert len(sent) == 1 and sent[0]["payload"]["letter"]["paragraphs"] == ["Please hurry."]
    status, said = desk.run("dossier", "1", "--send")
    assert status == 1 and re.search(r"cannot|not possible|impossible|waiting", said, re.IGNORECASE), said
    assert desk.run("dossier", "77")[0] == 1


class Api(BaseHTTPRequestHandler):
    """A provider's ticket API."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.keys.append(self.headers["Idempotency-Key"])
        body = b'{"ticket": {"id": 5521}}'
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def test_the_providers_number_comes_back_with_the_answer_of_its_api(desk):
    server = HTTPServer(("127.0.0.1", 0), Api)
    server.keys = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    api = f'api: {{url: "http://127.0.0.1:{server.server_address[1]}/t", body: {{text: "{{text}}"}}, number: ticket.id}}'
    acme = ACME.replace("to: [support@alfa.example]", api)
    (desk.folder / "contracts" / "acme.yaml").write_text(acme, encoding="utf-8")
    desk.store.write(
        lambda tx: contracts.apply(tx, contracts.load_folder(desk.folder / "contracts"), NOW_MS, "test")
    )
    desk.bring(letter(subject="Хостинг", text="провайдер: сервер недоступний"))
    desk.store.write(lambda tx: tx.execute(tables.tickets.update().values(affected=["a1"], **{"class": 1})))
    assert desk.run("dossier", "1", "--send")[0] == 0
    settings = loader.load(desk.config, CollectorSettings)
    workers = OutboxWorkers(desk.store, SystemClock(), settings, "test")
    workers.start()
    try:
        end = time.monotonic() + 20
        number = ""
        while not number and time.monotonic() < end:
            with desk.store.read() as conn:
                number = provider_cases.case(conn, 1)["number"]
            time.sleep(0.05)
    finally:
        workers.stop()
        server.shutdown()
        server.server_close()
    assert number == "5521" and len(server.keys) == 1 and server.keys[0].startswith("vt-1-")
