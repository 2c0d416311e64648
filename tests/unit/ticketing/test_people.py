"""Who comes in: passwords, sessions, tokens, and the throttle; nothing secret is stored as it is."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from ticketing import people, tables

NOW_MS = 1_767_600_000_000
HOUR_MS = 3_600_000
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """argon2 with the least cost: its strength is not what is tested here, and it takes 50 ms on purpose."""
    monkeypatch.setattr(people, "_HASHER", people.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def olena(tx, book):
    people.set_password(tx, "olena", PASSWORD, NOW_MS, "admin", "192.0.2.1")
    return people.person(tx, "olena")


def test_the_right_password_opens_and_a_wrong_one_does_not(tx, olena):
    assert people.authenticate(tx, "olena", PASSWORD) == olena
    assert people.authenticate(tx, "olena", PASSWORD + "!") is None
    assert people.authenticate(tx, "nobody", PASSWORD) is None
    assert people.authenticate(tx, "petro", "") is None  # has no password yet


def test_who_is_disabled_is_out_at_once(tx, olena):
    secret = people.open_session(tx, olena, NOW_MS)
    token = people.issue_token(tx, "olena", NOW_MS, "admin")
    tx.execute(tables.people.update().values(is_disabled=True))
    assert people.authenticate(tx, "olena", PASSWORD) is None
    assert people.session(tx, secret, NOW_MS) is None
    assert people.by_token(tx, token) is None


def test_a_session_lives_while_it_is_used_and_not_for_ever(tx, olena):
    secret = people.open_session(tx, olena, NOW_MS, "192.0.2.9")
    assert people.session(tx, secret, NOW_MS + 11 * HOUR_MS) == olena
    assert people.session(tx, secret, NOW_MS + 12 * HOUR_MS) is None
    people.touch_session(tx, secret, NOW_MS + 11 * HOUR_MS)
    assert people.session(tx, secret, NOW_MS + 20 * HOUR_MS) == olena
    people.touch_session(tx, secret, NOW_MS + 167 * HOUR_MS)
    assert people.session(tx, secret, NOW_MS + 168 * HOUR_MS) is None


def test_logging_out_and_a_new_password_end_sessions(tx, olena):
    first = people.open_session(tx, olena, NOW_MS)
    people.close_session(tx, first, NOW_MS)
    second = people.open_session(tx, olena, NOW_MS)
    people.set_password(tx, "olena", PASSWORD + "2", NOW_MS, "olena")
    assert people.session(tx, first, NOW_MS) is None and people.session(tx, second, NOW_MS) is None


def test_a_token_is_found_by_its_hash_and_can_be_revoked(tx, olena):
    token = people.issue_token(tx, "olena", NOW_MS, "admin")
    assert people.by_token(tx, token).id == "olena"
    people.revoke_token(tx, "olena", NOW_MS, "admin")
    assert people.by_token(tx, token) is None


def test_no_secret_lies_in_any_row(tx, olena):
    secrets = [
        PASSWORD,
        people.open_session(tx, olena, NOW_MS),
        people.issue_token(tx, "olena", NOW_MS, "admin"),
    ]
    stored = json.dumps(
        [
            [str(v) for v in row]
            for t in (tables.people, tables.sessions, tables.audit)
            for row in tx.execute(select(t))
        ]
    )
    assert not any(secret in stored for secret in secrets)


def test_short_passwords_and_unknown_names_are_refused(tx, book):
    with pytest.raises(ValueError):
        people.set_password(tx, "olena", "short", NOW_MS, "admin")
    assert people.set_password(tx, "nobody", PASSWORD, NOW_MS, "admin") is False


def test_failures_slow_down_the_name_first_and_the_address_later(tx, book):
    for _ in range(people.THROTTLE_FREE):
        assert people.throttled_until(tx, "olena", "192.0.2.1", NOW_MS) is None
        people.note_failure(tx, "olena", "192.0.2.1", NOW_MS)
    until = people.throttled_until(tx, "olena", "192.0.2.1", NOW_MS)
    assert until == NOW_MS + 1000
    assert people.throttled_until(tx, "petro", "192.0.2.1", NOW_MS) is None
    people.note_failure(tx, "olena", "", NOW_MS)
    assert people.throttled_until(tx, "olena", "", NOW_MS) == NOW_MS + 2000
    people.note_success(tx, "olena")
    assert people.throttled_until(tx, "olena", "", NOW_MS) is None


def test_the_wait_has_an_end_and_failures_are_forgotten_in_a_day(tx, book):
    for _ in range(60):
        people.note_failure(tx, "olena", "192.0.2.1", NOW_MS)
    assert people.throttled_until(tx, "x", "192.0.2.1", NOW_MS) == NOW_MS + people.THROTTLE_MAX_MS
    later = NOW_MS + people.THROTTLE_FORGET_MS + 1
    people.note_failure(tx, "olena", "192.0.2.1", later)
    assert people.throttled_until(tx, "olena", "192.0.2.1", later) is None


def test_a_client_belongs_to_a_contract_and_nobody_else_does(tx):
    with pytest.raises(ValueError):
        people.add_person(tx, "x", "client", NOW_MS)
    with pytest.raises(ValueError):
        people.add_person(tx, "x", "admin", NOW_MS, contract_id="acme")
    people.add_person(tx, "x", "admin", NOW_MS)
    assert people.person(tx, "x").role == "admin"
