"""A desk that reads a real mailbox and writes to a real SMTP server."""

from __future__ import annotations

import email
import email.policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.store.migrate import migrate_store
from config import loader
from tests.e2e.mail.dovecot import Dovecot
from tests.tools.needs import require_package
from tests.unit.ticketing.letters.conftest import ACME, BETA, PEOPLE
from ticketing import contracts
from ticketing.terms import Contract


class Post:
    """Takes every letter."""

    def __init__(self):
        self.letters = []

    async def handle_DATA(self, server, session, envelope):
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class FreePort(Controller):
    """aiosmtpd's controller knocks at the port that it was given; here that is 0, so it must look which one it got."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def post():
    handler = Post()
    controller = FreePort(handler, hostname="127.0.0.1", port=0)
    controller.start()
    handler.port = controller.port
    yield handler
    controller.stop()


@pytest.fixture
def dovecot():
    yield from _started()


@pytest.fixture
def tls_dovecot():
    """With TLS and STARTTLS, a certificate for ``localhost`` and nobody else."""
    yield from _started("localhost")


def _started(tls_name=""):
    require_package("dovecot")
    server = Dovecot(tls_name)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def write_settings(folder: Path, dovecot: Dovecot, smtp_port: int = 0, **intake: object) -> Path:
    """collector.yaml and contracts in this folder; keyword arguments are settings of the intake."""
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "contracts" / "acme.yaml").write_text(ACME, encoding="utf-8")
    (folder / "contracts" / "beta.yaml").write_text(BETA, encoding="utf-8")
    people = "people:\n" + "".join(f"  - {line}\n" for line in PEOPLE)
    (folder / "contracts" / "people.yaml").write_text(people, encoding="utf-8")
    values = {
        "host": "127.0.0.1", "port": dovecot.port, "tls": "none", "user": "desk", "every": "1 s",
        "password_file": str(dovecot.password_file()), "address": "desk@desk.example", "per_sender_hour": 5000,
    } | intake  # fmt: skip
    lines = [f"state_dir: {folder}/state", f"contracts: {folder}/contracts", f"providers: {folder}/none"]
    lines += ["public_url: https://desk.example", "listen: {port: 0}", "mail:", "  sender: desk@desk.example"]
    if smtp_port:
        lines += ["  host: 127.0.0.1", f"  port: {smtp_port}", "  tls: none"]
    lines += [
        "  intake:",
        *(f"    {key}: {value!r}".replace("True", "true") for key, value in values.items()),
    ]
    config = folder / "collector.yaml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def make_store(config: Path, now_ms: int) -> Store:
    """The store of these settings, with contracts and people applied."""
    settings = loader.load(config, CollectorSettings)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    store = Store.open(settings.database_url())
    migrate_store(store)
    loaded = contracts.Loaded(
        (loader.parse(ACME, Contract), loader.parse(BETA, Contract)),
        tuple(loader.parse(text, contracts.Person) for text in PEOPLE),
    )
    store.write(lambda tx: contracts.apply(tx, loaded, now_ms, "test"))
    return store
