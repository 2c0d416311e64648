"""RAID controllers: what their tool prints, as arrays; and what is unknown is never taken for good.

The document has the shape and the words of a MegaRAID SAS 9260-4i's answer to ``storcli /c0 show J`` as the open project
storrest publishes it in its tests; serial numbers and drives are left out, other states are put in for the one printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Union

import pytest

from agent.privileged import COMMANDS, Command, answer, program_for
from agent.samplers import platform
from agent.samplers.raid import EVERY_MS, Raid
from agent.samplers.root_only import NoAnswer
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.raid import parse_storcli
from agent.signals.sample import Sample

METAL = platform.Platform("bare-metal", "", "5.14.0-427.el9.x86_64", "tsc")
KVM = platform.Platform("kvm", "", "5.14.0-427.el9.x86_64", "kvm-clock")
DRIVER = "sys/bus/pci/drivers/megaraid_sas/bind"


def controller(*states: str, number: int = 0) -> Dict[str, Any]:
    arrays = [
        {
            "DG/VD": f"{place}/{place}", "TYPE": "RAID1", "State": state, "Access": "RW", "Consist": "No",
            "Cache": "RWBD", "sCC": "-", "Size": "931.0 GB", "Name": "test_raid1",
        }
        for place, state in enumerate(states)
    ]  # fmt: skip
    said: Dict[str, Any] = {
        "Product Name": "LSI MegaRAID SAS 9260-4i",
        "FW Version": "2.130.373-2022",
        "Driver Name": "megaraid_sas",
        "Drive Groups": len(states),
        "Virtual Drives": len(states),
        "BBU_Info": [{"Model": "iBBU", "State": "Optimal", "Temp": "24C"}],
    }
    if states:
        said["VD LIST"] = arrays
    status = {"Controller": number, "Status": "Success", "Description": "None"}
    return {"Command Status": status, "Response Data": said}


def document(*controllers: Dict[str, Any]) -> str:
    return json.dumps({"Controllers": list(controllers)}, indent=4)


NONE_FOUND = document(
    {"Command Status": {"Status": "Failure", "Description": "No Controller found", "Controller": 0}}
)


def swept(raid: Raid, at_ms: int) -> List[Sample]:
    """What is known when the question, which is asked in a thread of its own, is answered."""
    first = raid.sweep(at_ms)
    if raid._errand is None:
        return first
    assert raid._errand.wait(20)
    return raid.sweep(at_ms + 1)


def words(samples: List[Sample]) -> Dict[str, Any]:
    return {sample.subject: sample.value for sample in samples if sample.signal == "hw.raid"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / DRIVER).parent.mkdir(parents=True)
    (tmp_path / DRIVER).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("Optl", "optimal"), ("Pdgd", "degraded"), ("Dgrd", "degraded"), ("Rec", "degraded"), ("OfLn", "failed"),
    ],
)  # fmt: skip
def test_each_state_of_the_tools_legend_has_its_word(state: str, word: str) -> None:
    assert parse_storcli(document(controller("Optl", state))) == {"c0/v0": "optimal", "c0/v1": word}


def test_arrays_of_two_controllers_are_told_apart() -> None:
    said = parse_storcli(document(controller("Optl"), controller("Dgrd", number=1)))
    assert said == {"c0/v0": "optimal", "c1/v0": "degraded"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (NONE_FOUND, "No Controller found"),
        (document(controller("Blah")), "'Blah'"),
        ("", "no answer of storcli"),
        ("CLI Version = 007.1017\nStatus = Success\n", "no answer of storcli"),
        ('{"Controllers": [7]}', "no answer of storcli"),
        (document({**controller(), "Response Data": {"Virtual Drives": 2}}), "does not list"),
    ],
)
def test_half_an_answer_is_none(text: str, why: str) -> None:
    with pytest.raises(ParseError, match=why):
        parse_storcli(text)


def test_the_worst_array_stands_for_the_host_and_its_word_holds_until_the_next(root: Path) -> None:
    answers: List[Union[str, NoAnswer]] = [
        document(controller("Optl", "Dgrd")),
        document(controller("Optl", "Optl")),
    ]
    raid = Raid(root, METAL, lambda _: answers.pop(0), is_installed=True)
    assert words(swept(raid, 0)) == {"": "degraded", "c0/v0": "optimal", "c0/v1": "degraded"}
    assert words(raid.sweep(60_000))[""] == "degraded"
    assert words(swept(raid, EVERY_MS + 1))[""] == "optimal"
    assert raid.lacks() == {}


def test_a_tool_that_fails_or_hangs_leaves_the_state_unknown(root: Path) -> None:
    answers: List[Union[str, NoAnswer]] = [
        document(controller("Optl")),
        NoAnswer("storcli64 did not end within 20 s", is_hung=True),
    ]
    raid = Raid(root, METAL, lambda _: answers.pop(0), is_installed=True)
    assert words(swept(raid, 0))[""] == "optimal"
    later = swept(raid, EVERY_MS + 1)
    assert words(later) == {}
    assert [s.value for s in later if s.signal == "agent.reader_hung"] == [True]
    assert "did not end" in raid.lacks()["hw.raid"]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda root: Raid(root, METAL, is_installed=False), "neither storcli nor perccli"),
        (lambda root: Raid(root, KVM, is_installed=True), "virtual machine"),
        (lambda root: Raid(root / "elsewhere", METAL, is_installed=True), "no RAID controller"),
        (lambda root: Raid(root, METAL, lambda _: document(controller()), is_installed=True), "no arrays"),
    ],
)
def test_what_cannot_be_told_is_lacking_with_its_reason(
    root: Path, made: Callable[[Path], Raid], why: str
) -> None:
    raid = made(root)
    assert words(swept(raid, 0)) == {}
    assert why in raid.lacks()["hw.raid"]


def test_another_makers_controller_is_said_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci/drivers/hpsa").mkdir(parents=True)
    raid = Raid(tmp_path, METAL)
    assert raid.sweep(0) == []
    assert "hpsa" in raid.lacks()["hw.raid"] and "unknown" in raid.lacks()["hw.raid"]


def test_the_tool_is_found_where_its_maker_puts_it_and_its_document_counts_whatever_its_status(
    tmp_path: Path,
) -> None:
    tool = tmp_path / "opt/MegaRAID/storcli/storcli64"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(json.loads(document(controller('Dgrd'))))}'\nexit 1\n")
    tool.chmod(0o755)
    asked = COMMANDS["raid"]._replace(places=(str(tmp_path / "not/there"), str(tool)))
    assert program_for(asked) == str(tool)
    said = answer("raid", root=tmp_path, locks=tmp_path / "locks", commands={"raid": asked})
    assert said.state == "ok"
    assert parse_storcli(said.output.decode()) == {"c0/v0": "degraded"}
    assert program_for(Command(("no-such-tool",), places=(str(tmp_path / "not/there"),))) == ""
