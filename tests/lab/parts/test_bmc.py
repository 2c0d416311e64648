"""fence.ipmi against a real controller (ipmi_sim): B1, B2, B3, B4, B6, and what an admin who set it up wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.house import House
from tests.lab.parts.bmc import PASSWORD, Bmc
from tests.lab.parts.orders import ask, order
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def needed(house: House) -> None:
    """The host has an open port, as long as it lives."""
    for package in ("ipmi_sim", "ipmitool"):
        require_package(package)
    house.listen("prim", 22)


def test_a1_power_goes_off_and_is_read_back_and_the_host_is_gone(house: House, tmp_path: Path) -> None:
    """Also B6: a controller whose GUID is not the pinned one is refused before anything is ordered."""
    bmc = Bmc(house)
    host = house.popen("prim", ["sleep", "600"])
    other = order(house, "fence.ipmi", bmc.options(guid="00000000-0000-0000-0000-000000000001"))
    refused = ask(house, "precheck", other)
    assert (refused.outcome, "another machine" in refused.error) == ("not_done", True), refused
    assert ask(house, "act", other).outcome == "not_done"
    assert bmc.orders() == []
    mine = order(house, "fence.ipmi", bmc.options())
    assert ask(house, "precheck", mine).outcome == "done"
    assert ask(house, "probe", mine).outcome == "not_done"
    assert ask(house, "act", mine).outcome == "done"
    read = ask(house, "probe", mine)
    assert (read.outcome, read.level) == ("done", "F4"), read
    assert host.wait(20) == -9
    assert bmc.orders() == [0]
    assert PASSWORD not in str(mine)


def test_b1_a_controller_that_says_off_while_the_host_lives_is_not_believed(house: House) -> None:
    bmc = Bmc(house)
    bmc.lie()
    mine = order(house, "fence.ipmi", bmc.options())
    assert ask(house, "act", mine).outcome == "done"
    assert bmc.is_off()
    read = ask(house, "probe", mine)
    assert (read.outcome, read.error) == ("not_done", "the controller says off, but the host answers")


@pytest.mark.lab
def test_b2_b3_a_controller_that_hangs_or_is_gone_is_unknown_within_the_deadline(house: House) -> None:
    """It hangs while the order is on its way; then it is gone altogether."""
    bmc = Bmc(house)
    mine = order(house, "fence.ipmi", bmc.options(), deadline_s=8.0)
    bmc.hang()
    hung = ask(house, "act", mine)
    assert hung.outcome == "not_done", hung  # who it is was never told: nothing was ordered
    assert ask(house, "probe", mine).outcome == "unknown"
    bmc.go_on()
    assert bmc.orders() == []
    bmc.pull()
    assert ask(house, "act", mine).outcome == "not_done"
    gone = ask(house, "probe", mine)
    assert (gone.outcome, "Unable to establish" in gone.error) == ("unknown", True), gone


@pytest.mark.lab
def test_b4_the_order_is_done_and_its_answer_lost_the_probe_finds_it(house: House) -> None:
    bmc = Bmc(house)
    bmc.lose_answers_after_the_order()
    mine = order(house, "fence.ipmi", bmc.options(), deadline_s=20.0)
    lost = ask(house, "act", mine)
    assert lost.outcome == "unknown", lost
    assert 0 in bmc.orders()
    bmc.lose_answers_after_the_order(False)
    read = ask(house, "probe", mine)
    assert (read.outcome, read.level) == ("done", "F4"), read


def test_wrong_settings_are_named(house: House, tmp_path: Path) -> None:
    bmc = Bmc(house)
    (tmp_path / "wrong").write_text("guess\n")
    told = {
        "does not offer cipher suite 17": {"cipher": 17},
        "the password is wrong": {"password_file": str(tmp_path / "wrong")},
        "it knows no user olena": {"user": "olena"},
        "is not there": {"password_file": str(tmp_path / "missing")},
    }
    for words, options in told.items():
        said = ask(house, "precheck", order(house, "fence.ipmi", bmc.options(**options)))
        assert (said.outcome, words in said.error) == ("not_done", True), (words, said)
    assert bmc.orders() == []
