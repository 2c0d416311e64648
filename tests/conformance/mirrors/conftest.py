"""One suite, two real desks: every test that takes ``rig`` runs on Redmine and on Request Tracker."""

from __future__ import annotations

import os
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


STORES = {"redmine": "sqlite", "rt": "postgresql"}
"""Each desk's suite keeps our side in another database, so both are met without a second round of slow desks.

MIRROR_STORES=swapped does it the other way round.
"""


class Databases:
    """Empty databases for our side, of the kind that this desk's suite uses."""

    def __init__(self, kind: str, request: pytest.FixtureRequest) -> None:
        self.kind = kind
        self._server = request.getfixturevalue("postgres_server") if kind == "postgresql" else None
        self._made: dict[str, str] = {}

    def new(self, folder: Path) -> str:
        """Its url; a SQLite file lies in the folder."""
        if self._server is None:
            return f"sqlite:///{folder}/desk.db"
        name = self._server.create()
        url = self._server.url(name)
        self._made[url] = name
        return url

    def drop(self, url: str) -> None:
        """Nobody uses it any more."""
        if self._server is not None and url in self._made:
            self._server.drop(self._made.pop(url))

    def drop_all(self) -> None:
        for url in list(self._made):
            self.drop(url)


@pytest.fixture
def databases(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Databases]:
    kinds = dict(STORES)
    if os.environ.get("MIRROR_STORES") == "swapped":
        kinds = dict(zip(kinds, reversed(list(kinds.values())), strict=True))
    made = Databases(kinds[rig.kind], request)
    yield made
    made.drop_all()


@pytest.fixture
def ours(rig: Rig, databases: Databases, tmp_path: Path) -> Iterator[OurSide]:
    """Our desk with a contract that mirrors into the rig's."""
    side = OurSide(rig, databases.new(tmp_path))
    yield side
    side.close()
