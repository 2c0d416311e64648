"""The table of the laboratory is whole: every case of the specification has its row, and every row says what proves it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.lab.house import ROOT
from tests.lab.play import Case
from tests.lab.table import CASES, SPECIFIED

pytestmark = pytest.mark.collector


def test_every_case_of_the_specification_has_a_row_and_no_id_stands_twice() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    assert {one.partition(".")[0] for one in ids} == set(SPECIFIED)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_row_is_played_or_proven_elsewhere_or_says_why_not(case: Case) -> None:
    ways = [case.do is not None, bool(case.test), bool(case.why_not)]
    assert ways.count(True) == 1
    assert case.do is None or case.expect is not None
    for node in case.test.split():
        place, _, name = node.partition("::")
        tree = ast.parse((ROOT / Path(place)).read_text("utf-8"))
        tests = {
            n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
        }
        assert name.partition("[")[0] in tests if name else tests, f"{node} is no test"
