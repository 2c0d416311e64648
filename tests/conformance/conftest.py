"""One suite, two databases: every test that takes ``store`` or ``database`` runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from collector.store.engine import Store
from collector.store.migrate import migrate

HERE = Path(__file__).parent


def _module(name: str) -> ModuleType:
    """A neighbour of this file; tests are no package."""
    full = f"conformance_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@dataclasses.dataclass(frozen=True)
class Database:
    """A migrated, empty database of one kind."""

    kind: str
    url: str

    def open(self, **bounds: Any) -> Store:
        """Another store on the same database, as another process would have one."""
        return Store.open(self.url, **bounds)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """The PostgreSQL of this run. Missing: a failure in CI, a named skip elsewhere."""
    pg = _module("pg")
    try:
        server = pg.PostgresServer()
    except pg.NoPostgres as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file; each test gets a copy."""
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Any) -> str:
    """A migrated PostgreSQL database; each test gets a copy."""
    name = postgres_server.create()
    migrate(postgres_server.url(name))
    return name


KINDS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        path = tmp_path / "collector.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield Database("sqlite", f"sqlite:///{path}")
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create(request.getfixturevalue("postgres_template"))
    yield Database("postgresql", server.url(name))
    server.drop(name)


@pytest.fixture(params=KINDS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind without a single table."""
    if request.param == "sqlite":
        yield Database("sqlite", f"sqlite:///{tmp_path / 'empty.db'}")
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create()
    yield Database("postgresql", server.url(name))
    server.drop(name)


@pytest.fixture
def stores(database: Database) -> Iterator[Callable[..., Store]]:
    """Opens further stores on the database and closes them all at the end."""
    opened: list[Store] = []

    def open_one(**bounds: Any) -> Store:
        opened.append(database.open(**bounds))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[..., Store]) -> Store:
    """A store on a migrated, empty database of each kind."""
    return stores()
