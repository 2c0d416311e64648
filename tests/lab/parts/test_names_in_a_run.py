"""D1 and D2 as whole runs of the engine: a real controller fences, real name servers are led over."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.lab.house import ADDRESS, House
from tests.lab.parts.bmc import Bmc
from tests.lab.parts.hosts import furnish
from tests.lab.parts.names import PRIMARY_AT, SECONDARY_AT, Names
from tests.lab.parts.switch import Switch
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(600)]
PORT = 8080


def terms(house: House, bmc: Bmc, names: Names) -> dict[str, Any]:
    role = house.folder / "role"
    role.write_text("standby\n")
    house.sshd("back").allow("steps", "promote-x", f"echo primary > {role}\n")
    house.sshd("back").allow("asks", "role-x", f"cat {role}\n")
    house.listen("back", PORT)
    return {
        "fence": [[{"type": "fence.ipmi", "options": bmc.options()}]],
        "promote": [{"type": "promote.script", "options": {"script": "promote-x", "role": "role-x"}}],
        "traffic": [{"type": "traffic.dns", "deadline": "120 s", "options": names.options()}],
        "verify": [{"type": "verify.tcp", "options": {"host": ADDRESS["back"], "port": PORT}}],
    }


@pytest.fixture
def laid(house: House) -> tuple[Names, Switch]:
    for package in ("bind9", "bind9-dnsutils", "ipmi_sim", "ipmitool"):
        require_package(package)
    names, bmc = Names(house), Bmc(house)
    furnish(house, service="site.service")
    return names, Switch(house, **terms(house, bmc, names))


@pytest.mark.lab
def test_d1_a_record_that_somebody_changed_stops_the_run_and_the_backup_keeps_its_role(
    house: House, laid: tuple[Names, Switch]
) -> None:
    names, switch = laid
    names.change_by_hand("192.0.2.77")
    run = switch.fails_over()
    assert (run.state.value, run.reason["key"]) == ("stuck", "failover.traffic_failed"), switch.told(run.id)
    assert "somebody changed it" in str(run.reason), run.reason
    assert names.answer(PRIMARY_AT) == "192.0.2.77"
    assert (house.folder / "role").read_text() == "primary\n"
    switch.close()


@pytest.mark.lab
def test_d2_the_run_waits_until_the_server_that_is_behind_has_the_record(
    house: House, laid: tuple[Names, Switch]
) -> None:
    names, switch = laid
    names.cut_off_secondary()

    def heal() -> None:
        names.wait_for(PRIMARY_AT, ADDRESS["back"])
        threading.Event().wait(5)
        names.heal_secondary()

    healer = threading.Thread(target=heal)
    healer.start()
    run = switch.fails_over()
    healer.join()
    assert run.state.value == "hold_down", switch.told(run.id)
    assert f"{ADDRESS[SECONDARY_AT]} still answers {ADDRESS['prim']}" in switch.told(run.id)
    assert names.answer(SECONDARY_AT) == ADDRESS["back"]
    switch.close()
