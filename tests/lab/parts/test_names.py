"""traffic.dns against real name servers: the signed swap with its prerequisite, D1, D2, and every refusal in plain words."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from tests.lab.house import ADDRESS, ROOT, House
from tests.lab.parts.names import KEY, PRIMARY_AT, READER, SECONDARY_AT, Names
from tests.lab.parts.orders import ask, order
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(600)]
PRIM, BACK = ADDRESS["prim"], ADDRESS["back"]


@pytest.fixture
def names(house: House) -> Names:
    for package in ("bind9", "bind9-dnsutils", "libfaketime"):
        require_package(package)
    return Names(house)


def test_d1_d2_the_record_is_swapped_under_its_condition_and_done_only_where_every_server_says_so(
    house: House, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mine = order(house, "traffic.dns", names.options(), epoch=4)
    assert ask(house, "precheck", mine).outcome == "done"
    assert names.answer(PRIMARY_AT) == PRIM  # asking changed nothing
    assert ask(house, "probe", mine).outcome == "not_done"

    # D2: the secondary hears nothing; done is only what all of them answer.
    names.cut_off_secondary()
    assert ask(house, "act", mine).outcome == "done"
    stale = ask(house, "probe", mine)
    assert (stale.outcome, stale.error) == ("unknown", f"{ADDRESS[SECONDARY_AT]} still answers {PRIM}")
    again = ask(house, "act", mine)
    assert again.outcome == "done", again  # twice is once
    names.heal_secondary()
    names.wait_for(SECONDARY_AT, BACK)
    assert ask(house, "probe", mine).outcome == "done"
    assert names.answer(PRIMARY_AT, "_vartovyi-epoch.www.client.example", "TXT") == '"a1>b9 4"'

    # D1: somebody changed the record: it is not overwritten.
    names.change_by_hand("192.0.2.77")
    refused = ask(house, "undo", mine)
    assert (refused.outcome, refused.evidence["rcode"]) == ("not_done", "NXRRSET"), refused
    assert ask(house, "act", mine).outcome == "not_done"
    assert "192.0.2.77" in ask(house, "precheck", mine).error
    told = ask(house, "probe", mine)  # the secondary may have heard of it or not
    assert names.answer(PRIMARY_AT) == "192.0.2.77"
    assert (told.outcome in ("unknown", "not_done"), "192.0.2.77" in told.error) == (True, True), told
    assert names.secrets[KEY] not in caplog.text + str(mine) + str([stale, again, refused, told])


def test_what_the_server_refuses_is_said_in_plain_words_before_anything_is_changed(
    house: House, names: Names, tmp_path: Path
) -> None:
    other, torn, named = tmp_path / "other", tmp_path / "torn", tmp_path / "from-keygen"
    other.write_text(names.secrets[READER])
    torn.write_text("no base64!")
    named.write_text((names.folder / PRIMARY_AT / f"{KEY}.key").read_text())
    told = {
        "BADSIG: the secret of the key failover": {"key_file": str(other)},
        "BADKEY: it knows no key nobody": {"key_name": "nobody"},
        "(hmac-sha512)": {"key_algorithm": "hmac-sha512"},
        "holds no secret in base64": {"key_file": str(torn)},
        "No such file": {"key_file": str(tmp_path / "missing")},
        "NOTAUTH: it is not the server of the zone other.example": {"zone": "other.example"},
    }
    for words, changes in told.items():
        mine = order(house, "traffic.dns", names.options(**changes))
        for verb in ("precheck", "act"):
            said = ask(house, verb, mine)
            assert (said.outcome, words in said.error) == ("not_done", True), (verb, words, said)
            assert names.secrets[READER] not in str(said)
            assert "no base64!" not in str(said)
    # A key that may sign, and change nothing there.
    mine = order(house, "traffic.dns", names.options(key_name=READER, key_file=str(other)))
    said = ask(house, "act", mine)
    assert (said.outcome, said.evidence["rcode"]) == ("not_done", "REFUSED"), said
    assert "_vartovyi-epoch.www.client.example" in said.error
    assert names.answer(PRIMARY_AT) == PRIM
    # The file that tsig-keygen prints does as well.
    assert (
        ask(house, "act", order(house, "traffic.dns", names.options(key_file=str(named)))).outcome == "done"
    )
    assert names.answer(PRIMARY_AT) == BACK


def test_a_clock_that_is_an_hour_off_is_named_and_a_server_that_is_gone_is_unknown(
    house: House, names: Names
) -> None:
    """Ours is off here: named does not run under libfaketime."""
    library = next(found for places in FAKETIME for found in Path("/").glob(places))
    skewed = ["env", f"LD_PRELOAD={library}", "FAKETIME=+1h", sys.executable, "-c", SKEWED]
    said = house.exec("coll", [*skewed, json.dumps(names.options())], cwd=ROOT, timeout_s=120).stdout
    assert json.loads(said) == {
        "outcome": "not_done",
        "error": f"{ADDRESS[PRIMARY_AT]}: BADTIME: its clock and ours differ by more than five minutes",
    }
    mine = order(house, "traffic.dns", names.options(), deadline_s=6.0)
    names.stop(PRIMARY_AT)
    gone = ask(house, "act", mine)
    assert (gone.outcome, "takes no updates" in gone.error) == ("not_done", True), gone
    house.nft(
        PRIMARY_AT, "table inet gone { chain in {", "type filter hook input priority 0;", "drop", "}", "}"
    )
    silent = ask(house, "act", mine)
    assert (silent.outcome, "Timeout" in silent.error) == ("unknown", True), silent
    assert ask(house, "probe", mine).outcome == "unknown"


FAKETIME = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib64/faketime/libfaketimeMT.so.1")
SKEWED = """
import json, sys
from collector.failover.plan import Plan, Step
from collector.failover.steps import traffic_dns
from collector.failover.steps.step_type import Order
step = Step("traffic-0", "traffic", "traffic.dns", json.loads(sys.argv[1]), 60.0, 1)
plan = Plan("a1>b9", "a1", "b9", 7, "hw.power", "acme", 1, "failover", "F4", (step,))
said = traffic_dns.STEP.act(Order(step, plan, "r1", 1, 1, 1, 60.0, {}, None, None))
print(json.dumps({"outcome": said.outcome, "error": said.error}))
"""
