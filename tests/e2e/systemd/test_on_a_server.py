"""The README's section "On a server", followed to the letter on real systemd machines.

The tests share the machines and stand in an order: each leaves both running and reporting, and the loss of power comes
before anything else that silences the agent, since a second silence joins the ticket of the first.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.systemd.conftest import House
from tests.e2e.systemd.machine import within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.collector, pytest.mark.timeout(600)]

AGENT, COLLECTOR = "vartovyi-agent", "vartovyi-collector"
WATCHDOG_S = 30
TICKET_WITHIN_S = 25
"""The design's time from power-off to ticket at a heartbeat of 10 s."""


def test_the_pasted_lines_bring_the_first_report(house: House) -> None:
    assert any("has taken its first report" in said for said in house.said)
    assert house.host()["contract_id"] == "acme"
    for machine, unit in ((house.desk, COLLECTOR), (house.web, AGENT)):
        assert machine.show(unit, "ActiveState") == "active"
        assert machine.show(unit, "UnitFileState") == "enabled"
        assert machine.show(unit, "NRestarts") == "0"


def test_the_token_lies_where_only_the_agent_reads_it(house: House) -> None:
    lines = "\n".join(house.said).splitlines()
    (token,) = (line.removeprefix("token: ") for line in lines if line.startswith("token: "))
    assert house.web.run("stat -c '%a %U %G' /etc/vartovyi/agent.token").split() == [
        "640", "root", "vartovyi-agent",
    ]  # fmt: skip
    assert token not in "\n".join(house.web.journal(AGENT) + house.desk.journal(COLLECTOR))
    assert token not in house.web.run("cat /etc/vartovyi/agent.yaml; vartovyi-agent status")


def test_the_sandbox_denies_the_samplers_nothing(house: House) -> None:
    """The same look at the server inside the unit's sandbox and outside of it misses the same things."""
    properties = house.web.run("cat /etc/systemd/system/vartovyi-agent.service")
    command = "/opt/vartovyi/bin/vartovyi-agent once --json"
    run = "systemd-run --quiet --pipe --wait "
    outside = json.loads(house.web.run(run + command))
    inside = json.loads(house.web.run(run + _sandbox(properties) + command))
    # Whose process reads and writes is for root and CAP_SYS_PTRACE only; the agent has neither, by intent.
    assert set(inside["lacks"]) - set(outside["lacks"]) <= {"proc.top_io"}
    mounts = {name for name in outside["signals"] if name.startswith("fs.used_pct{")}
    assert mounts == {name for name in inside["signals"] if name.startswith("fs.used_pct{")}
    assert inside["signals"]["fs.ro"]["value"] is False
    assert "clk.synced" in inside["signals"]


def _sandbox(unit: str) -> str:
    """The unit's own settings of account, rights and walls, as words for systemd-run."""
    service = unit.split("[Service]")[1].split("[Install]")[0]
    other = ("Type", "Notify", "Exec", "Restart", "Watchdog", "Timeout", "StateDir", "Configuration")
    lines = [line for line in service.splitlines() if "=" in line and not line.startswith(("#", *other))]
    return "".join(f"-p '{line}' " for line in lines)


def test_the_journals_hold_no_complaint(house: House) -> None:
    """Warnings are for what a person should look at; on healthy machines there is nothing of the kind."""
    for machine, unit in ((house.desk, COLLECTOR), (house.web, AGENT)):
        told = machine.journal(unit)
        assert [line for line in told if " WARNING " in f" {line}" or " ERROR " in f" {line}"] == []
        assert machine.journal(unit, "--priority=warning") == []
        assert len(told) < 20, told
        assert machine.run("systemctl --failed --no-legend") == ""


def test_a_server_that_loses_its_power_is_a_ticket_in_time(house: House) -> None:
    known = {ticket["id"] for ticket in house.tickets()}
    begun = time.monotonic()
    house.web.pull_the_plug()
    (ticket,) = within(
        TICKET_WITHIN_S + 10,
        "no ticket",
        lambda: [t for t in house.tickets() if t["id"] not in known and "web-1" in json.dumps(t)],
    )
    assert time.monotonic() - begun <= TICKET_WITHIN_S + 3  # three for asking the desk itself
    shown = house.desk.json(f"vartovyi-desk show {ticket['id']} --json --config /root/desk.yaml")
    assert ticket["class"] == 2, shown
    # Nobody is told that the server answers, or that only its agent is gone.
    assert ticket["root_cause"] != "os.agent_down", shown
    assert house.host()["life"] == "silent"
    house.web.boot()
    within(60, "the host is not alive", house.is_alive)


def test_a_fault_brings_its_evidence_through_the_sandbox(house: House) -> None:
    """A unit that fails: its own journal lines and the kernel's stand in the finding."""
    house.web.run("echo 'vartovyi test: this stands in the kernel log' > /dev/kmsg")
    house.web.run("systemd-run --quiet --unit=shop.service bash -c 'echo out of stock; exit 3'")
    body = json.loads(
        within(
            60, "no finding about the unit", lambda: house.row("body", "findings", "subject = 'shop.service'")
        )[0]
    )
    told = json.dumps(body, ensure_ascii=False)
    assert "out of stock" in told
    assert "this stands in the kernel log" in told
    house.web.run("systemctl reset-failed shop.service")


def test_a_frozen_agent_is_restarted_by_the_watchdog_and_its_stream_goes_on(house: House) -> None:
    current = "is_current = 1 and stream not like 'collector:%'"
    before = house.row("stream, next_n", "streams", current)
    assert before is not None
    house.web.run(f"kill -STOP {house.web.show(AGENT, 'MainPID')}")
    within(WATCHDOG_S + 30, "systemd restarts nothing", lambda: house.web.show(AGENT, "NRestarts") == "1", 1)
    within(60, "the agent is not back", lambda: house.web.show(AGENT, "ActiveState") == "active")
    house.web.run("systemd-run --quiet --unit=cart.service false")
    within(
        60, "no finding after the restart", lambda: house.row("id", "findings", "subject = 'cart.service'")
    )
    after = house.row("stream, next_n", "streams", current)
    assert after is not None
    assert after[0] == before[0]
    assert after[1] > before[1]
    house.web.run("systemctl reset-failed cart.service")
    within(60, "the host is not alive", house.is_alive)


def test_a_stopped_agent_says_goodbye(house: House) -> None:
    house.web.run(f"systemctl stop {AGENT}")
    assert house.web.show(AGENT, "Result") == "success"
    said = within(60, "no goodbye", lambda: house.row("goodbye", "hosts", "life = 'stopped'"))
    assert said == ["service_stop"]
    house.web.run(f"systemctl start {AGENT}")
    within(60, "the host is not alive", house.is_alive)


def test_the_collector_reloads_its_contracts_and_stops_in_order(house: House) -> None:
    contract = "/etc/vartovyi/contracts/acme.yaml"
    house.desk.run(f"sed -i 's/^title: .*/title: Acme Ltd/' {contract}; systemctl reload {COLLECTOR}")
    within(60, "no reload", lambda: any("read again" in line for line in house.desk.journal(COLLECTOR)))
    house.desk.run(f"sed -i 's/^title: .*/titel: oops/' {contract}; systemctl reload {COLLECTOR}")
    within(60, "no fault", lambda: any("acme.yaml" in line for line in house.desk.journal(COLLECTOR)))
    assert house.desk.show(COLLECTOR, "ActiveState") == "active"
    house.desk.run(f"sed -i 's/^titel: .*/title: Acme/' {contract}; systemctl stop {COLLECTOR}")
    assert house.desk.show(COLLECTOR, "Result") == "success"
    assert house.desk.show(COLLECTOR, "ExecMainStatus") == "0"
    assert any("stopped in order" in line for line in house.desk.journal(COLLECTOR))
    house.desk.run(f"systemctl start {COLLECTOR}")
    within(60, "the host does not report again", house.is_alive)


def test_a_server_that_goes_down_in_order_is_expected_back(house: House) -> None:
    house.web.shut_down()
    try:
        said = within(60, "no goodbye", lambda: house.row("goodbye", "hosts", "life = 'stopped'"))
        assert said == ["host_shutdown"]
    finally:
        house.web.boot()  # and the agent with it, since its unit is enabled
    within(60, "the host is not alive", house.is_alive)
