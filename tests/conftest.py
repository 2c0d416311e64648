"""For all tests: what they may ask of the machine, and the law that under CI=true nothing is skipped quietly.

Kept importable on Python 3.9 with the agent's packages only.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Generator

import pytest

from tests.tools import needs
from tests.tools.examples import IS_FEW, examples

if IS_FEW:
    import hypothesis

    hypothesis.settings.register_profile("few", max_examples=examples(100))
    hypothesis.settings.load_profile("few")

_EXCUSED_BEGINNINGS = ("needs root", "needs Python", "needs data beside the checkout")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the collector's rooms are for Python 3.11 and later; marked, so that they say so. What is marked ``lab`` is
    long and runs under ``make failover-lab`` only: it is left out, which is no skip."""
    if os.environ.get("FAILOVER_LAB") != "1":
        left = [item for item in items if item.get_closest_marker("lab")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    if sys.version_info >= (3, 11):
        return
    for item in items:
        if item.get_closest_marker("collector"):
            item.add_marker(pytest.mark.skip(reason="needs Python 3.11"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked ``postgres`` starts its own server, so the server's programs must be there."""
    if item.get_closest_marker("postgres"):
        needs.require_package("postgresql")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: Any
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI=true a skip that the named list does not excuse becomes a failure that says why."""
    report = yield
    if needs.is_ci() and report.skipped and not hasattr(report, "wasxfail"):
        why = _skip_words(report.longrepr)
        if not _is_excused(why):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped under CI=true: {why}"
    return report


def _skip_words(longrepr: Any) -> str:
    words = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return words.removeprefix("Skipped: ")


def _is_excused(why: str) -> bool:
    if why.startswith(_EXCUSED_BEGINNINGS):
        return True
    return any(why == f"kernel feature missing: {name}" for name in needs.excused_kernel_features())


@pytest.fixture(scope="session")
def require_package() -> Callable[[str], None]:
    """``require_package("chromium")``: see tests/tools/needs.py."""
    return needs.require_package


@pytest.fixture(scope="session")
def require_kernel() -> Callable[[str], None]:
    """``require_kernel("netem")``: see tests/tools/needs.py."""
    return needs.require_kernel
