"""What reports say beside findings: their clocks are folded, acts of people become observations, each once."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
from sqlalchemy import insert

from agent.wire import MAX_TOLD, Act, Report, Told, to_json
from collector.clock_fold import HOLD_MS
from collector.fleet_cache import FleetCache
from collector.intake import Accepted, Intake
from collector.observed import Observation, recent
from collector.store.engine import Store
from collector.tables import hosts
from tests.tools.tables import make_tables
from ticketing.tables import metadata

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000


class House:
    """An intake over a store in memory, with one host."""

    def __init__(self) -> None:
        self.store = Store.open("sqlite://")
        self.store.write(lambda tx: make_tables(tx, metadata))
        row = {
            "id": "web-1",
            "contract_id": "acme",
            "addresses": [],
            "topology": {},
            "token_hash": hashlib.sha256(b"token").hexdigest(),
            "enrolled_at_ms": T0,
            "life": "awaited",
            "life_since_ms": T0,
        }
        self.store.write(lambda tx: tx.execute(insert(hosts).values(**row)))
        cache = FleetCache()
        with self.store.read() as conn:
            cache.load(conn, T0)
        self.intake = Intake(cache)

    def report(self, second: int, **changes: Any) -> Any:
        """Take one report received at that second; its answer."""
        now_ms = T0 + second * 1000
        mono = 1_000_000 + second * 1000
        report = Report(1, "0.1", "b1", "r1", now_ms, mono, mono, 10.0, "s1")
        body = to_json(dataclasses.replace(report, **changes))
        accepted = self.intake.check(body, "token", now_ms)
        if not isinstance(accepted, Accepted):
            return accepted
        reply = self.intake.answer(accepted)
        if reply is None:
            reply = self.store.write(lambda tx: self.intake.take(tx, [accepted], now_ms))[0]
        self.store.write(lambda tx: self.intake.flush(tx, now_ms))
        return reply

    def seen(self) -> list[Observation]:
        with self.store.read() as conn:
            return recent(conn, ["web-1"], 0)


@pytest.fixture
def house() -> Any:
    made = House()
    yield made
    made.store.close()


def test_an_act_becomes_one_observation_though_it_is_told_twice(house: House) -> None:
    act = Act(T0 + 5_000, "iptables -P INPUT DROP (sudo, user ivan)")
    house.report(10, acts=[act])
    house.report(20, acts=[act, Act(T0 + 15_000, "systemctl restart nginx (sudo, user ivan)")])
    assert [(o.signal, o.value, o.at_ms, o.received_at_ms) for o in house.seen()] == [
        ("ops.action", act.text, T0 + 5_000, T0 + 10_000),
        ("ops.action", "systemctl restart nginx (sudo, user ivan)", T0 + 15_000, T0 + 20_000),
    ]


def test_an_act_by_an_absurd_clock_is_dated_by_its_receipt(house: House) -> None:
    house.report(
        10, wall_ms=T0 + 10_000 - 7_200_000, acts=[Act(T0 + 8_000 - 7_200_000, "sudo reboot (user admin)")]
    )
    assert [o.at_ms for o in house.seen() if o.signal == "ops.action"] == [T0 + 8_000]


@pytest.mark.parametrize("act", [Act(T0, ""), Act(-1, "x"), Act(T0, "a\x1b[2Jb"), Act(T0, "x" * 1000)])
def test_an_act_out_of_bounds_makes_the_report_malformed(house: House, act: Act) -> None:
    assert house.report(10, acts=[act]).error == "malformed"


def test_how_a_boot_went_is_an_observation_for_each_boot_though_told_twice(house: House) -> None:
    gap = {
        "kind": "reboot_unclean",
        "from_ms": T0,
        "to_ms": T0 + 5_000,
        "why": ["wtmp has \x1b[2Jno shutdown"],
    }
    told = [Told(T0 + 5_000, "boot.wtmp_shutdown", False), Told(T0 + 5_000, "host.gap", gap)]
    house.report(10, told=told)
    house.report(20, told=told)
    house.report(900, told=[Told(T0 + 890_000, "boot.wtmp_shutdown", False)])
    seen = house.seen()
    assert [(o.signal, o.value, o.at_ms) for o in seen if o.signal == "boot.wtmp_shutdown"] == [
        ("boot.wtmp_shutdown", False, T0 + 5_000),
        ("boot.wtmp_shutdown", False, T0 + 890_000),
    ]
    (account,) = [o.value for o in seen if o.signal == "host.gap"]
    assert account == {**gap, "why": ["wtmp has  [2Jno shutdown"]}


@pytest.mark.parametrize(
    "told",
    [
        [Told(T0, "prov.status", "ok")],
        [Told(-1, "boot.kernel", "k")],
        [Told(T0, "boot.pstore", "x" * 5_000)],
        [Told(T0, "boot.kernel", "k")] * (MAX_TOLD + 1),
    ],
    ids=["another's signal", "before time", "too long", "too many"],
)
def test_words_out_of_bounds_make_the_report_malformed(house: House, told: list[Told]) -> None:
    assert house.report(10, told=told).error == "malformed"


def test_a_pause_of_the_guest_is_an_observation_after_the_reports_that_bear_it_out(house: House) -> None:
    for second in range(0, 300, 10):
        # At 150 s the guest stood still for 8 s: its clocks are behind ever after.
        lost = 8000 if second >= 150 else 0
        mono = 1_000_000 + second * 1000 - lost
        house.report(second, mono_ms=mono, boottime_ms=mono, wall_ms=T0 + second * 1000 - lost)
    house.store.write(lambda tx: house.intake.flush(tx, T0 + 300_000 + HOLD_MS))
    steps = [(o.value, o.at_ms, o.source) for o in house.seen() if o.signal == "clk.offset_step_s"]
    assert steps == [(8.0, T0 + 150_000, "clocks")]
    # The first minute is told whatever it is: what we told before a restart of ours is not known any more.
    assert [o.value for o in house.seen() if o.signal == "clk.true_offset_ms"] == [0, -8000]


def test_an_undone_flush_gives_its_folds_again(house: House) -> None:
    house.report(0)
    now_ms, mono = T0 + 10_000, 1_010_000
    body = to_json(Report(1, "0.1", "b1", "r1", now_ms + 5_000, mono, mono, 10.0, "s1"))
    accepted = house.intake.check(body, "token", now_ms)
    assert isinstance(accepted, Accepted)
    house.intake.answer(accepted)

    def broken(tx: Any) -> None:
        house.intake.flush(tx, now_ms)
        raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        house.store.write(broken)
    house.store.write(lambda tx: house.intake.flush(tx, now_ms))
    assert [o.value for o in house.seen()] == [5.0]
