"""A recorded case is a scenario, plain JSON, and judges the same when it is read back."""

from __future__ import annotations

import json

import pytest

from collector.qualify.judge import qualify
from collector.qualify.recorded import case_of, scenario_of

pytestmark = pytest.mark.collector


@pytest.fixture
def case(make_case, make_held, make_sibling):
    facts = {"disk.await_ms": (3, 180), "disk.iops": (120, 40), "disk.qdepth": 7.2}
    return make_case(
        "io",
        facts,
        subject="vda",
        beside=(make_held("cpu", {"load.per_cpu": 3}),),
        siblings=(make_sibling(disk__await_ms=150.0),),
        lacks=("psi",),
        lines=("blk_update_request: I/O error, dev vda, sector 99",),
        ops=("dnf update",),
    )


def test_a_recorded_case_judges_the_same(case):
    verdict = qualify(case)
    read_back = case_of(json.loads(json.dumps(scenario_of(case, verdict))))
    again = qualify(read_back)
    assert again.to_dict() == verdict.to_dict()
    assert (again.class_, again.root_cause) == (1, "virt.storage_backend")


def test_a_recorded_case_has_the_shape_of_the_scenario_files(case):
    scenario = scenario_of(case, qualify(case))
    assert [h["id"] for h in scenario["topology"]["hosts"]] == ["a1", "a2"]
    assert scenario["topology"]["hosts"][0]["lacks"] == ["psi"]
    at_start = [e for e in scenario["timeline"] if e["signal"] == "disk.await_ms" and e["host"] == "a1"]
    assert [(e["t"], e["value"]) for e in at_start] == [(0, 3), (60, 180)]
    assert [e["t"] for e in scenario["timeline"]] == sorted(e["t"] for e in scenario["timeline"])
    assert scenario["truth"]["class"] == "1"
