"""`check-config` reads all that a person wrote, and providers' files are taken anew while the collector runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from collector.check import check
from collector.outlook import Outlook
from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.clock import SystemClock
from config.loader import ConfigError, parse
from ticketing.contracts import Book
from ticketing.terms import Contract, HostTerms

pytestmark = pytest.mark.collector

CONTRACT = "id: acme\ntitle: Acme\nhosts: [{id: web-1}, {id: web-2}]\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for folder in ("contracts", "providers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "contracts" / "acme.yaml").write_text(CONTRACT)
    file = tmp_path / "collector.yaml"
    file.write_text(f"contracts: {tmp_path}/contracts\nproviders: {tmp_path}/providers\n")
    return file


def test_what_is_in_order_is_counted(config: Path, tmp_path: Path) -> None:
    (tmp_path / "providers" / "alfa.yaml").write_text(f"provider: alfa\nkind: file\npath: {tmp_path}/x\n")
    with config.open("a") as stream:
        stream.write("vantages: {hosts: [web-2]}\n")
    assert check(config) == {"contracts": 1, "providers": 1, "calendars": 0, "desks": 0}


def test_every_fault_of_every_file_is_told_at_once(config: Path, tmp_path: Path) -> None:
    (tmp_path / "contracts" / "acme.yaml").write_text(CONTRACT + "peers: [stranger]\nlines: 9\n")
    (tmp_path / "providers" / "alfa.yaml").write_text("provider: alfa\nkind: http_json\n")
    (tmp_path / "broken.ics").write_text("<html>")
    with config.open("a") as stream:
        stream.write(
            f"calendars: [{{file: {tmp_path}/broken.ics, contract: acme}}, {{file: {tmp_path}/none.ics, provider: x}}]\n"
        )
    with pytest.raises(ConfigError) as caught:
        check(config)
    told = str(caught.value)
    for word in ("lines", "say what to ask", "broken.ics", "none.ics: No such file"):
        assert word in told, told


def test_what_files_say_of_each_other_is_checked(config: Path, tmp_path: Path) -> None:
    (tmp_path / "providers" / "alfa.yaml").write_text(
        "provider: alfa\nkind: http_json\nhosts: {web-9: vm-9}\nrequests: [{url: 'https://alfa.example/x', "
        "secret_headers: {K: {file: /no/such/key}}, status: {path: a, words: {x: ok}}}]\n"
    )
    with config.open("a") as stream:
        stream.write(
            "vantages: {hosts: [web-1, ghost]}\n"
            "calendars: [{url: 'https://c.example/a.ics', contract: bolt}, {url: 'https://c.example/b.ics', hosts: [web-7]}]\n"
        )
    with pytest.raises(ConfigError) as caught:
        check(config)
    told = [str(fault) for fault in caught.value.faults]
    for word in ("host ghost", "contract bolt", "host web-7", "host web-9", "/no/such/key is not there"):
        assert sum(word in line for line in told) == 1, told
    assert len(told) == 5


def test_a_peer_must_stand_in_the_contract_that_lends_it(config: Path, tmp_path: Path) -> None:
    (tmp_path / "contracts" / "acme.yaml").write_text(CONTRACT + "peers: [stranger]\n")
    with pytest.raises(ConfigError, match="host stranger is not in this contract"):
        check(config)


def test_changed_providers_are_asked_anew_and_faulty_ones_change_nothing(
    config: Path, tmp_path: Path, store: Store, site: Any
) -> None:
    """The files as SIGHUP takes them: read whole, then in force, the old thread gone."""
    settings = parse(config.read_text(), CollectorSettings)
    book = Book.of([Contract(id="acme", title="Acme", hosts=[HostTerms(id="web-1")])])
    made = Outlook(store, SystemClock(), settings, lambda: book, decides=lambda: True, poke=lambda: None)
    file = tmp_path / "providers" / "alfa.yaml"
    try:
        assert made.follow_providers(made.read_providers()) is False
        site.says("/status", b'{"a": "x"}')
        file.write_text(
            f"provider: alfa\nkind: http_json\nrequests: [{{url: '{site.url}/status', status: {{path: a, words: {{x: ok}}}}}}]\n"
        )
        assert made.follow_providers(made.read_providers()) is True
        for _ in range(200):
            if site.asked:
                break
            threading.Event().wait(0.02)
        assert site.asked
        poller = made.poller
        file.write_text("provider: alfa\nkind: rumour\n")
        with pytest.raises(ConfigError):
            made.read_providers()
        assert made.poller is poller
        assert sum(thread.name == "prov-alfa" for thread in threading.enumerate()) == 1
        file.unlink()
        assert made.follow_providers(made.read_providers()) is True
        assert not any(thread.name == "prov-alfa" for thread in threading.enumerate())
    finally:
        made.poller.stop()
