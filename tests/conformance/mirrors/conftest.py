"""One suite, two real desks: every test that takes ``rig`` runs on Redmine and on Request Tracker."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.mirrors import roots
from tests.conformance.mirrors.rig import OurSide, Rig, make_rig
from tests.tools.needs import is_ci, require_package, require_root

BUILD_S = 1200
"""Longest that building one root may take on a fresh machine; the suite's own tests have the house's time-out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of each desk may find no root yet, and builds it."""
    for item in items:
        if "rig" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILD_S))


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells the person who waits, past pytest's capturing."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {text}", flush=True)

    return tell


@pytest.fixture(scope="session", params=[pytest.param(kind, marks=pytest.mark.e2e) for kind in roots.RECIPES])
def rig(
    request: pytest.FixtureRequest, say: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """A started desk behind a proxy that breaks what it is told to."""
    require_root()
    for package in ("debootstrap", "systemd-nspawn"):
        require_package(package)
    if shutil.which("apt-get") is None:
        words = "the desks' roots are built from Debian's packages: there is no apt-get here"
        pytest.fail(words) if is_ci() else pytest.skip(words)
    folder = roots.root(roots.RECIPES[request.param], say)
    with roots.started(request.param, folder) as started:
        made = make_rig(started, tmp_path_factory.mktemp(request.param))
        yield made
        made.proxy.close()


@pytest.fixture(autouse=True)
def _nothing_broken(request: pytest.FixtureRequest) -> None:
    """Each test begins with a proxy that lets everything pass."""
    if "rig" in request.fixturenames:
        request.getfixturevalue("rig").proxy.break_next()


@pytest.fixture
def ours(rig: Rig, tmp_path: Path) -> Iterator[OurSide]:
    """Our desk with a contract that mirrors into the rig's."""
    side = OurSide(rig, tmp_path)
    yield side
    side.close()
