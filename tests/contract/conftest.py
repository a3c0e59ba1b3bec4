"""Every contract test runs on SQLite and on PostgreSQL 15; where that is missing it fails, it is never skipped."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.storage.migrate import HEAD
from adapters.storage.store import SqlStore
from daemon.domain.ids import NodeName
from tests.fakes.values import NODE
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "tokd.db"
    store = SqlStore(f"sqlite:///{path}", NODE)
    store.open()
    store.close()
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    store = SqlStore(url, NODE)
    store.open()
    store.close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the schema and nothing in it."""
    if request.param == "sqlite":
        path = tmp_path / "tokd.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_database")
    request.getfixturevalue("postgres").empty(url, HEAD)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tokd.db'}"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., SqlStore]]:
    """Opens stores on the test's database, one for each node that is asked for."""
    stores: list[SqlStore] = []

    def open_one(node: str = NODE, *, has_broker: bool = True) -> SqlStore:
        store = SqlStore(url, NodeName(node), has_broker=has_broker)
        store.open()
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., SqlStore]) -> SqlStore:
    return open_store()
