"""Provider adapters against a real HTTP server, well and ill, and a real file; the poller over restarts."""

from __future__ import annotations

import http.server
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from collector.observed import UNTIL, Observation, recent
from collector.providers.adapter import Adapter, AdapterFault, ProviderEvent, Told
from collector.providers.http_json import HttpJson, instant_ms, read_answer
from collector.providers.noted import PersonFile
from collector.providers.poller import Poller, note, take
from collector.providers.terms import ProviderTerms, Request, load_providers
from collector.store.engine import Store
from collector.tables import hosts
from config.clock import FixedClock
from config.loader import ConfigError, parse
from ticketing.contracts import Loaded, apply
from ticketing.tables import tickets

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000

TEMPLATE = """
provider: alfa
kind: http_json
interval: 60 s
timeout: {timeout}
body_max: 4 KiB
failures: 3
hosts: {{web-1: vm-77}}
requests:
  - url: "{url}/status"
    secret_headers: {{X-Key: {{file: {secret}, prefix: "Key "}}}}
    status: {{path: "page.indicator", words: {{none: ok, minor: incident, maint: maintenance}}}}
    events: {{list: page.incidents, id: id, at: created, text: "{{name}}: {{impact.word}}", host: vm, only: {{kind: incident}}}}
  - url: "{url}/vm/{{machine}}"
    states: {{state: "vm[0].state", words: {{on: running, off: stopped}}}}
"""


def given(site: Any, folder: Path, timeout: str = "20 s") -> ProviderTerms:
    secret = folder / "key"
    secret.write_text("s3cret\n")
    return parse(TEMPLATE.format(url=site.url, secret=secret, timeout=timeout), ProviderTerms)


@pytest.fixture
def terms(site: Any, tmp_path: Path) -> ProviderTerms:
    return given(site, tmp_path)


def page(*incidents: dict[str, Any], indicator: str = "none") -> bytes:
    return json.dumps({"page": {"indicator": indicator, "incidents": list(incidents)}}).encode()


INCIDENT = {
    "id": 9,
    "kind": "incident",
    "created": "2026-01-01T02:00:00+02:00",
    "name": "HA restart",
    "impact": {"word": "host node\x1b[31m failure"},
    "vm": "vm-77",
}


def test_a_template_takes_status_events_and_states_out_of_a_real_answer(
    site: Any, terms: ProviderTerms
) -> None:
    site.says("/status", page(INCIDENT, {**INCIDENT, "kind": "advert"}, indicator="minor"))
    site.says("/vm/vm-77", b'{"vm": [{"state": "off"}]}')
    told = HttpJson(terms).ask()
    assert told == Told(
        "incident",
        (ProviderEvent("9", T0, "HA restart: host node [31m failure", "web-1"),),
        {"web-1": "stopped"},
    )
    assert site.asked[0][1]["x-key"] == "Key s3cret"


def drip(request: http.server.BaseHTTPRequestHandler, status: int = 200) -> None:
    request.send_response(status)
    request.end_headers()
    while not request.server.closing_event.wait(0.05):  # type: ignore[attr-defined]
        request.wfile.write(b" ")
        request.wfile.flush()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("silent", "did not answer within 0.4 s"),
        ("drip", "did not end its answer within 0.4 s"),
        ("500", "answers 500"),
        ("429", "answers 429"),
        ("503", "answers 503"),
        ("403", "refuses us"),
        ("redirect", "redirects to another address"),
        ("garbage", "not JSON"),
        ("deep", "not JSON"),
        ("huge", "more than 4096 bytes"),
        ("list", "no status stands at page.indicator"),
        ("word", "'weird' is not in the template"),
        ("no_time", "an event has no time at created"),
    ],
)
def test_an_ill_provider_is_a_fault_in_our_words_without_the_secret(
    site: Any, tmp_path: Path, how: str, words: str
) -> None:
    is_late = how in ("silent", "drip")
    terms = given(site, tmp_path, "400 ms") if is_late else given(site, tmp_path)
    site.server.closing_event = site.closing
    bodies = {
        "garbage": b"<html>\x00\xff",
        "deep": b"[" * 4000,
        "huge": b"[" + b"1," * 5000 + b"1]",
        "list": b"[1, 2]",
        "word": page(indicator="weird"),
        "no_time": page({**INCIDENT, "created": "yesterday"}),
    }
    if how in bodies:
        site.says("/status", bodies[how])
    elif how == "redirect":
        site.says("/status", b"", 302, Location="http://169.254.169.254/")
    elif how.isdigit():
        site.says("/status", b"s3cret", int(how))
    else:
        site.answers["/status"] = drip if how == "drip" else lambda request: site.closing.wait(5)
    with pytest.raises(AdapterFault) as caught:
        HttpJson(terms).ask()
    assert words in str(caught.value) and "s3cret" not in str(caught.value)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("body", "words", "peace_s"),
    [
        (b'{"error": {"status": 403, "code": "RATE_LIMIT_EXCEEDED"}}', "its rate limit is reached", 10.0),
        (b"<html>This page was generated by a separate, moderate server</html>", "refuses us (403)", 0.0),
    ],
)
def test_a_403_is_a_limit_only_where_it_says_so(
    site: Any, terms: ProviderTerms, body: bytes, words: str, peace_s: float
) -> None:
    site.says("/status", body, 403)
    with pytest.raises(AdapterFault, match=re.escape(words)) as caught:
        HttpJson(terms).ask()
    assert caught.value.retry_after_s == peace_s


def test_a_403_that_drips_holds_nobody(site: Any, terms: ProviderTerms) -> None:
    """The first of its bytes decides: waiting for as many as we would read lasts as long as they come."""
    site.server.closing_event = site.closing
    site.answers["/status"] = lambda request: drip(request, 403)
    with pytest.raises(AdapterFault, match="refuses us"):
        HttpJson(terms).ask()
    assert not site.closing.is_set()


def test_nobody_who_listens_is_a_fault(terms: ProviderTerms, site: Any) -> None:
    site.close()
    with pytest.raises(AdapterFault, match="cannot be reached"):
        HttpJson(terms).ask()


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2026-01-01T00:00:00Z", T0),
        ("2026-01-01 02:00:00+02:00", T0),
        ("2026-01-01T00:00:00", T0),
        (T0 // 1000, T0),
        (T0, T0),
        (str(T0 // 1000), T0),
        ("soon", None),
        (True, None),
        (float("nan"), None),
        (-5, None),
        (None, None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_times_are_read_as_providers_write_them(value: Any, ms: int | None) -> None:
    assert instant_ms(value) == ms


class Scripted:
    """An adapter whose next answer the test sets."""

    def __init__(self) -> None:
        self.next: Told | AdapterFault | ZeroDivisionError = Told()

    def ask(self) -> Told:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


def enrolled(store: Store) -> None:
    row = {
        "id": "web-1",
        "contract_id": "acme",
        "addresses": [],
        "topology": {"provider": "alfa"},
        "token_hash": "x",
        "enrolled_at_ms": T0,
        "life": "alive",
        "life_since_ms": T0,
    }
    store.write(lambda tx: tx.execute(insert(hosts).values(**row)))
    store.write(lambda tx: apply(tx, Loaded((), ()), T0, "test"))


def seen(store: Store) -> list[Observation]:
    with store.read() as conn:
        return recent(conn, ["web-1", "alfa"], 0)


def test_events_are_taken_once_over_restarts_and_old_ones_never(store: Store, terms: ProviderTerms) -> None:
    enrolled(store)
    clock, adapter = FixedClock(T0), Scripted()
    adapter.next = Told(
        "incident",
        (
            ProviderEvent("1", T0 - 86_400_000, "a year of history"),
            ProviderEvent("2", T0 - 60_000, "node failure", "web-1"),
            ProviderEvent("3", T0 - 30_000, "somebody else's machine", "vm-of-others"),
        ),
        {"web-1": "stopped", "vm-of-others": "running"},
    )
    for _ in range(3):  # a new poller each time: what it knows is in the store
        Poller(store, clock, []).round(terms, adapter)
        clock.advance(60_000)
    assert [(o.host_id, o.signal, o.value, o.at_ms) for o in seen(store)] == [
        ("web-1", "prov.event", "node failure", T0 - 60_000),
        ("alfa", "prov.event", "somebody else's machine", T0 - 30_000),
        ("alfa", "prov.status", "incident", T0),
        ("web-1", "prov.vm_state", "stopped", T0),
    ]


def test_an_adapter_that_fails_often_is_one_ticket_of_our_own_and_resolves_when_it_answers(
    store: Store, terms: ProviderTerms
) -> None:
    enrolled(store)
    adapter = Scripted()
    poller = Poller(store, FixedClock(T0), [])

    def ours() -> list[tuple[str, str]]:
        with store.read() as conn:
            return [(t.contract_id, t.state) for t in conn.execute(select(tickets))]

    adapter.next = AdapterFault("alfa answers 500")
    for _ in range(2):
        poller.round(terms, adapter)
    assert ours() == [] and poller.failures == {"alfa": 2}
    adapter.next = ZeroDivisionError()
    for _ in range(5):
        poller.round(terms, adapter)
    assert [contract for contract, _ in ours()] == ["internal"]
    adapter.next = Told("ok")
    poller.round(terms, adapter)
    assert [state for _, state in ours()] == ["resolved"] and poller.failures == {"alfa": 0}


@pytest.mark.parametrize(
    ("said", "pause_s"), [("120", 120.0), ("999999", 3600.0), ("1", 60.0), ("Wed, 21 Oct", 60.0), ("", 60.0)]
)
def test_a_provider_that_asks_for_peace_has_it_and_is_asked_as_ever_once_it_answers(
    store: Store, terms: ProviderTerms, site: Any, said: str, pause_s: float
) -> None:
    enrolled(store)
    poller = Poller(store, FixedClock(T0), [])
    site.says("/status", b"slow down", 429, **{"Retry-After": said})
    poller.round(terms, HttpJson(terms))
    assert poller.pause_s(terms) == pause_s
    site.says("/status", page())
    site.says("/vm/vm-77", b'{"vm": [{"state": "on"}]}')
    poller.round(terms, HttpJson(terms))
    assert poller.pause_s(terms) == 60.0


def test_no_secret_stands_in_the_log_whatever_a_provider_answers(
    store: Store, terms: ProviderTerms, site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    enrolled(store)
    poller = Poller(store, FixedClock(T0), [])
    with caplog.at_level("DEBUG"):
        for body, status in ((b"Key s3cret", 401), (b"s3cret", 500), (b'{"s3cret"', 200), (b"[]", 200)):
            site.says("/status", body, status)
            poller.round(terms, HttpJson(terms))
    assert len(caplog.records) >= 4 and "s3cret" not in caplog.text


def test_the_file_of_a_person_is_read_anew_and_a_half_written_one_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "alfa.yaml"
    adapter: Adapter = PersonFile(file)
    with pytest.raises(AdapterFault, match="cannot be read"):
        adapter.ask()
    file.write_text(
        "status: maintenance\nevents:\n  - {at: '2026-01-01 02:00+02:00', text: they called, host: web-1}\n"
    )
    told = adapter.ask()
    assert (told.status, told.events[0].at_ms, told.events[0].host_id) == ("maintenance", T0, "web-1")
    assert adapter.ask().events == told.events
    file.write_text('{"states": {"web-1": "stopped"}}')
    assert adapter.ask() == Told(None, (), {"web-1": "stopped"})
    file.write_text("status: mainten")
    with pytest.raises(AdapterFault, match="not known"):
        adapter.ask()


def test_what_a_person_notes_is_an_event_of_the_host_and_a_status_of_the_provider(store: Store) -> None:
    enrolled(store)
    store.write(
        lambda tx: note(
            tx, "alfa", "hotline: storage is being repaired", T0, status="incident", host_id="web-1"
        )
    )
    assert [(o.host_id, o.signal, o.value, o.source) for o in seen(store)] == [
        ("web-1", "prov.event", "hotline: storage is being repaired", "person"),
        ("alfa", "prov.status", "incident", "person"),
    ]


def test_every_fault_of_every_providers_file_is_told_at_once(tmp_path: Path) -> None:
    assert load_providers(tmp_path / "none") == ()
    (tmp_path / "a.yaml").write_text("provider: alfa\nkind: file\n")
    (tmp_path / "b.yaml").write_text(
        "provider: beta\nkind: http_json\nrequests: [{url: 'http://beta.example/x', "
        "secret_headers: {K: {file: /k}}, status: {path: a, words: {x: fine}}}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_providers(tmp_path)
    told = str(caught.value)
    assert "name the file" in told and "'fine' is none of" in told


def test_when_they_expect_it_repaired_is_read_from_the_template_and_the_file_and_said_by_nobody_who_does_not_know(
    tmp_path: Path,
) -> None:
    place = {"path": "now", "words": {"down": "incident"}, "until": "eta.at"}
    request = parse(json.dumps({"url": "https://alfa.example/", "status": place}), Request)
    for eta, expected in (({"at": "2026-01-01T02:00:00+02:00"}, T0), ({"at": None}, None), (None, None)):
        assert read_answer({"now": "down", "eta": eta}, request, {}).until_ms == expected
    file = tmp_path / "alfa.yaml"
    file.write_text("status: incident\nuntil: '2026-01-01 02:00+02:00'\n")
    assert PersonFile(file).ask().until_ms == T0
    file.write_text("status: incident\n")
    assert PersonFile(file).ask().until_ms is None
    file.write_text("until: soon\n")
    with pytest.raises(AdapterFault, match="is not a time"):
        PersonFile(file).ask()


def test_the_end_that_a_provider_expects_is_kept_until_it_says_another(
    store: Store, terms: ProviderTerms
) -> None:
    enrolled(store)
    for until_ms in (T0, None, T0, T0 + 1):
        told = Told("incident", (), {}, until_ms)
        store.write(lambda tx, told=told: take(tx, terms, told, T0))
    assert [o.value for o in seen(store) if o.signal == UNTIL] == [T0, T0 + 1]
