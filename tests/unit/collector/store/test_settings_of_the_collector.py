"""The collector's settings: what is shipped is what holds by default, and every fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from collector.settings import CollectorSettings, is_loopback, is_within, networks
from config.loader import ConfigError, defaults, load, parse

SHIPPED = Path(__file__).parents[4] / "config" / "shipped" / "collector.yaml"


def test_the_shipped_file_says_exactly_the_defaults() -> None:
    assert load(SHIPPED, CollectorSettings) == defaults(CollectorSettings)


def test_the_shipped_file_names_every_setting() -> None:
    import dataclasses

    named = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    text = SHIPPED.read_text(encoding="utf-8")
    shape = defaults(CollectorSettings)
    for field in dataclasses.fields(shape):
        assert field.name in named
        value = getattr(shape, field.name)
        if dataclasses.is_dataclass(value):
            missing = {f.name for f in dataclasses.fields(value)} - set(named[field.name])
            assert all(f"# {name}:" in text for name in missing), missing


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("listen: {address: 0.0.0.0}", "listen.address"),
        ("listen: {address: '::'}", "listen.address"),
        ("listen: {tls: perhaps}", "listen.tls"),
        ("listen: {tls: true}", "listen.tls"),
        ("listen: {tls: {cert: /a}}", "listen.tls"),
        ("listen: {tls: {cert: /a, key: /b, ca: /c}}", "listen.tls"),
        ("listen: {trusted_proxies: [here]}", "listen.trusted_proxies"),
        ("metrics: {allow_from: [10.0.0.0/99]}", "metrics.allow_from"),
        ("database: {url: 'mysql://x'}", "database.url"),
        ("probes: {anchors: [9.9.9.9]}", "probes.anchors"),
        ("public_url: desk.example.org", "public_url"),
        ("tick: {every_s: 1 h}", "tick.every_s"),
        ("retention: {tickets: 1 h}", "retention.tickets"),
        ("log_level: LOUD", "log_level"),
        ("listne: {}", "listne"),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, CollectorSettings)
    assert [fault.key for fault in raised.value.faults] == [key]


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse("listen: {port: 70000, tls: perhaps}\nmail: {tls: x}\nfoo: 1\n", CollectorSettings)
    assert {f.key for f in raised.value.faults} >= {"listen.port", "mail.tls", "foo"}


@pytest.mark.parametrize("text", ["off", "'off'", "false"])
def test_tls_off_is_understood_as_yaml_reads_it(text: str) -> None:
    assert parse(f"listen: {{tls: {text}}}", CollectorSettings).listen.tls_kind == "off"


def test_plain_http_off_loopback_is_allowed_only_behind_named_proxies() -> None:
    settings = parse("listen: {address: 0.0.0.0, trusted_proxies: [10.0.0.5]}", CollectorSettings)
    assert settings.listen.tls_kind == "off"
    named = parse("listen: {address: 0.0.0.0, tls: {cert: /c, key: /k}}", CollectorSettings).listen
    assert named.tls_files is not None
    assert named.tls_files.cert == Path("/c")


def test_the_database_is_a_file_in_the_state_folder_unless_named(tmp_path: Path) -> None:
    settings = parse(f"state_dir: {tmp_path}/a b", CollectorSettings)
    assert settings.database_url() == f"sqlite:///{tmp_path}/a b/collector.db"
    (tmp_path / "url").write_text("postgresql+psycopg://u:secret@h/d\n", encoding="utf-8")
    named = parse(f"database: {{url_file: {tmp_path}/url}}", CollectorSettings)
    assert named.database_url() == "postgresql+psycopg://u:secret@h/d"
    assert "secret" not in repr(named)


@pytest.mark.parametrize(
    ("address", "is_own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True),
     ("10.0.0.1", False), ("0.0.0.0", False), ("::", False), ("", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_loopback_is_this_machine_and_nothing_else(address: str, is_own: bool) -> None:
    assert is_loopback(address) is is_own


def test_an_address_is_within_its_network_also_when_ipv6_carries_it() -> None:
    nets = networks(["10.0.0.0/8", "2001:db8::/32"])
    assert [is_within(a, nets) for a in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "11.0.0.1", "x", "")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
