"""After a loss of power and after an orderly reboot the agent says which it was; and root's answers are for it alone.

Shares the machines of this folder and comes after the tests that need the first silence to be theirs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.systemd.conftest import House
from tests.e2e.systemd.machine import within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.collector, pytest.mark.timeout(600)]

AGENT = "vartovyi-agent"
PYTHON = "/opt/vartovyi/bin/python -I -c"
ASK = "from agent.samplers.root_only import ask; from pathlib import Path; "
SOCKET = "Path('/run/vartovyi/privileged.sock')"


def _newest(house: House, signal: str, than: int = 0) -> Any:
    found = house.row(
        "id, value, at_ms", "observations", f"signal = '{signal}' and id > {than} order by id desc limit 1"
    )
    return found and (found[0], json.loads(found[1]), found[2])


def _told_after(house: House, signal: str, than: int) -> Any:
    return within(60, f"no {signal}", lambda: _newest(house, signal, than))


def _last_id(house: House) -> int:
    return int((house.row("max(id)", "observations", "1 = 1") or [0])[0] or 0)


def _beats(house: House) -> int:
    script = "from agent.blackbox import BlackBox; from pathlib import Path; " \
        "print(len(BlackBox(Path('/var/lib/vartovyi-agent/black_box')).read()))"  # fmt: skip
    return int(house.web.run(f'{PYTHON} "{script}"'))


def test_the_root_only_reader_answers_the_agents_account_and_nobody_else(house: House) -> None:
    question = f"{ASK}print(ask({SOCKET}, 'crashes'))"
    said = house.web.run(f'runuser -u {AGENT} -- {PYTHON} "{question}"')
    assert json.loads(said) == []
    refused = f"{ASK}print(ask({SOCKET}, 'smart ../../dev/vda'))"
    assert "no such drive" in house.web.run(f'runuser -u {AGENT} -- {PYTHON} "{refused}"')
    stranger = house.web.run(f'setpriv --reuid=65534 --regid=65534 --clear-groups -- {PYTHON} "{question}"')
    assert "permission denied" in stranger
    # Nothing stays behind: the reader is no resident program.
    running = "systemctl list-units --no-legend --state=active,activating 'vartovyi-privileged@*'"
    within(60, "the reader is still there", lambda: not house.web.run(running).strip())
    assert house.web.run("systemctl --failed --no-legend") == ""


def test_a_machine_that_lost_its_power_says_so_when_it_is_back(house: House) -> None:
    within(70, "the black box is empty", lambda: _beats(house) > 0, 2)
    before = _last_id(house)
    house.web.pull_the_plug()
    house.web.boot()
    within(60, "the host is not alive", house.is_alive)
    _, account, booted_ms = _told_after(house, "host.gap", before)
    assert account["kind"] == "reboot_unclean", account
    assert account["from_ms"] < account["to_ms"]
    # The clocks are read one after the other, so the same boot is dated twice within a moment.
    assert abs(account["to_ms"] - booted_ms) < 1_000
    assert _told_after(house, "boot.wtmp_shutdown", before)[1] is False
    # The machine lost its power a while ago too (test_on_a_server): while that finding is open, this boot joins it as a change.
    of_boot = f"rule = 'unclean_boot' and kind in ('opened', 'changed') and abs(at_ms - {booted_ms}) < 1000"
    told = within(60, "no finding", lambda: house.row("body", "findings", of_boot))
    facts = json.loads(told[0])["facts"]
    assert facts["boot.wtmp_shutdown"]["now"] is False
    assert facts["host.gap"]["now"] == account


def test_a_machine_that_was_rebooted_in_order_says_that_it_was_planned(house: House) -> None:
    before = _last_id(house)
    house.web.shut_down()
    house.web.boot()
    within(60, "the host is not alive", house.is_alive)
    _, account, _ = _told_after(house, "host.gap", before)
    assert account["kind"] == "reboot_planned", account
    assert "the agent was told that the host goes down" in account["why"]
    assert _told_after(house, "boot.wtmp_shutdown", before)[1] is True


def test_an_agent_that_was_killed_says_that_the_boot_is_the_same(house: House) -> None:
    before = _last_id(house)
    house.web.run(f"systemctl kill --signal=KILL {AGENT}")
    within(60, "the host is not alive", house.is_alive)
    assert _told_after(house, "host.gap", before)[1]["kind"] == "agent_ended"
