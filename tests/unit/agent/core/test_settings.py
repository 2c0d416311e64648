"""The agent's settings: documented, bounded, all faults at once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Iterator, Tuple

import pytest

from agent.settings import SHIPPED, AgentSettings, is_loopback, load_settings
from config import loader
from config.loader import ConfigError

SHIPPED_FILE = SHIPPED / "agent.yaml"


def keys(kind: Any, before: str = "") -> Iterator[Tuple[str, Any]]:
    for field in dataclasses.fields(kind):
        name = before + field.name.rstrip("_")
        yield name, field
        if field.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(
            field.default_factory
        ):
            yield from keys(field.default_factory, name + ".")


def test_the_shipped_file_says_exactly_the_defaults():
    assert load_settings(SHIPPED_FILE) == loader.defaults(AgentSettings)


def test_every_setting_stands_in_the_shipped_file_and_explains_itself():
    text = SHIPPED_FILE.read_text(encoding="utf-8")
    for name, field in keys(AgentSettings):
        assert re.search(rf"^\s*{name.split('.')[-1]}:", text, re.MULTILINE), name
        assert len(field.metadata["help"]) > 10, name


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loader.parse(text, AgentSettings, file="agent.yaml")
    return str(caught.value)


def test_all_faults_are_told_at_once_with_line_and_key():
    said = faults(
        "interval: fast\nmetrics: {listen: nowhere}\ncollector:\n  url: http://example.net\n"
        "rules:\n  fs_full: {raise: {all: [x]}}\n"
        "checks:\n  - {name: a, type: tcp}\nlanguage: fr\nwhat: 1\n"
    )
    for part in (
        "agent.yaml:1: interval: 'fast'",
        "agent.yaml:2: metrics.listen",
        "agent.yaml:4: collector.url: sends the token over plain HTTP",
        "agent.yaml:6: rules.fs_full.raise.all: 'x' is not a condition",
        "agent.yaml:8: checks[0].host",
        "agent.yaml:9: language: 'fr' is not known (allowed: uk, en)",
        "agent.yaml:10: what: is not a setting here",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("collector: {url: 'https://a.example'}", "needs collector.token_file"),
        (
            "collector: {url: 'https://a.example', token_file: t, ca_file: c, pin: '" + "0" * 64 + "'}",
            "give one of them",
        ),
        ("collector: {url: 'https://a.example:99999', token_file: t}", "no valid port"),
        ("collector: {url: 'ftp://a.example', token_file: t}", "does not fit"),
        ("state_dir: somewhere", "must be an absolute path"),
        ("spool: {max_size: 1}", "out of bounds"),
    ],
)
def test_settings_that_do_not_go_together_are_faults(text, part):
    assert part in faults(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.net", "10.0.0.1", "localhost.example.net", "127.0.0.1.example.net"]
)
def test_what_is_not_loopback_is_known(host):
    assert not is_loopback(host)
