"""Where memory lives: a LangGraph store behind a URL."""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from tracetune.errors import InputError, StoreError, TraceTuneError

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

__all__ = ["StoreHandle", "describe", "open_store", "store_error", "store_errors"]

_KNOWN = "memory://, sqlite:///path/to/file.db, postgresql://user@host/database"
_BUSY_S = 30.0
_SETUP_TRIES = 50

_places: WeakKeyDictionary[BaseStore, str] = WeakKeyDictionary()


class StoreHandle(AbstractContextManager["BaseStore"], AbstractAsyncContextManager["BaseStore"]):
    """A store that is opened by `with` (a sync store) or `async with` (an async one)."""

    def __init__(self, url: str, base: Path | None) -> None:
        self.scheme, self._rest = _parse(url)
        self._url = url
        self._base = base
        self.place = _public(url)
        """The URL without its password, for people to read."""
        self._opened: AbstractContextManager[BaseStore] | None = None
        self._aopened: AbstractAsyncContextManager[BaseStore] | None = None

    def __enter__(self) -> BaseStore:
        self._refuse_twice()
        with store_errors(self.place, "opening", secret=self._url):
            opened = self._sync()
            store = opened.__enter__()
        self._opened = opened
        _places[store] = self.place
        return store

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.__exit__(kind, error, trace)

    async def __aenter__(self) -> BaseStore:
        self._refuse_twice()
        with store_errors(self.place, "opening", secret=self._url):
            opened = self._async()
            store = await opened.__aenter__()
        self._aopened = opened
        _places[store] = self.place
        return store

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        opened, self._aopened = self._aopened, None
        if opened is not None:
            await opened.__aexit__(kind, error, trace)

    def _refuse_twice(self) -> None:
        if self._opened is not None or self._aopened is not None:
            raise StoreError(f"{self.place}: opening failed: this handle is open already.")

    def _sync(self) -> AbstractContextManager[BaseStore]:
        if self.scheme == "memory":
            return _memory()
        return _sqlite(self._file()) if self.scheme == "sqlite" else _postgres(self._url)

    def _async(self) -> AbstractAsyncContextManager[BaseStore]:
        if self.scheme == "memory":
            return _amemory()
        return _asqlite(self._file()) if self.scheme == "sqlite" else _apostgres(self._url)

    def _file(self) -> Path:
        return (self._base or Path()) / Path(self._rest).expanduser()


def open_store(url: str, *, base: Path | None = None) -> StoreHandle:
    """Return a handle for `with` or `async with`, which opens and yields the store at `url`.

    Args:
        url: `memory://`, `sqlite:///relative/or/absolute.db`, or `postgresql://…`.
        base: The folder that a relative path starts from; the current one when left out.

    Raises:
        InputError: The URL is of no known form (at once).
        StoreError: It cannot be opened (on entering); the message never holds a password.
    """
    return StoreHandle(url, base)


def describe(store: BaseStore) -> str:
    """The URL a store was opened by, without its password, or the name of its class."""
    return _places.get(store, type(store).__name__)


@contextmanager
def store_errors(place: str, doing: str, *, secret: str = "") -> Iterator[None]:
    """Turn whatever a store raises into a one-line StoreError; our own errors pass.

    Args:
        place: The store, as people know it.
        doing: The operation, to follow the place: `opening`.
        secret: The URL whose password must not show, should a driver quote it.
    """
    try:
        yield
    except TraceTuneError:
        raise
    except Exception as error:  # a store may be anyone's: what it raises is not ours to list
        raise store_error(error, place, doing, secret=secret) from error


def store_error(error: Exception, place: str, doing: str, *, secret: str = "") -> StoreError:
    """Return the one-line StoreError for what a store raised; the rest is as for `store_errors`."""
    if isinstance(error, asyncio.InvalidStateError):
        reason = "inside an event loop, await the method named a…."
    else:
        reason = _hide(_reason(error), secret)
    return StoreError(f"{place}: {doing} failed: {reason}")


def _parse(url: str) -> tuple[str, str]:
    """The scheme and, for SQLite, the file's path."""
    if not isinstance(url, str):
        raise InputError(f"The store's url must be text, one of {_KNOWN}, but got {url!r:.60}.")
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in ("memory", "sqlite", "postgresql", "postgres"):
        shown = f"the scheme {scheme!r}" if colon else "no scheme"
        raise InputError(f"The store's url has {shown}, but expected one of {_KNOWN}.")
    if scheme == "memory" and rest:
        raise InputError(f"The store's url {url!r} must be memory:// and nothing more.")
    if scheme == "sqlite":
        path = rest.removeprefix("/")
        # Folders may be called so: a project's own is put before a relative path.
        options = re.search(r"[?#][^/]*$|\0", path)
        if path == rest or not path or path == ":memory:" or options:
            raise InputError(
                f"The store's url {url!r} must be sqlite:///path/to/file.db, without options"
                " (memory:// for one that is not kept)."
            )
        return scheme, path
    return scheme, rest


@contextmanager
def _memory() -> Iterator[BaseStore]:
    from langgraph.store.memory import InMemoryStore

    yield InMemoryStore()


@asynccontextmanager
async def _amemory() -> AsyncIterator[BaseStore]:
    with _memory() as store:
        yield store


def _prepare(path: Path) -> None:
    """Make the folder and a set-up WAL database.

    Processes that open a new file at the same moment collide in LangGraph's migrations and
    in the switch to WAL, neither of which waits for the other: who loses tries again.
    """
    from langgraph.store.sqlite import SqliteStore

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, but expected a database file")
    for left in reversed(range(_SETUP_TRIES)):
        conn = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
        try:
            conn.execute("PRAGMA journal_mode=WAL")
            SqliteStore(conn).setup()
            return
        except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
            _note_migration(conn, str(error))
            if not left or not re.search("locked|busy|UNIQUE|duplicate|exists", str(error)):
                raise
            time.sleep(0.02)
        finally:
            conn.close()


def _note_migration(conn: sqlite3.Connection, error: str) -> None:
    """Note a migration that was done by a process which was killed before it noted it."""
    from langgraph.store.sqlite import SqliteStore

    done = re.fullmatch(r"duplicate column name: (\w+)", error)
    for version, text in enumerate(SqliteStore.MIGRATIONS):
        if done and re.search(rf"ADD COLUMN {done[1]}\b", text):
            conn.execute("INSERT OR IGNORE INTO store_migrations (v) VALUES (?)", (version,))


@contextmanager
def _sqlite(path: Path) -> Iterator[BaseStore]:
    from langgraph.store.sqlite import SqliteStore

    _prepare(path)
    conn = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_S)
    store = SqliteStore(conn)
    try:
        conn.execute("PRAGMA synchronous=NORMAL")
        store.setup()
        yield store
    finally:
        # Another thread may be reading (a cache that renews itself): closing under it crashes.
        with store.lock:
            conn.close()


@asynccontextmanager
async def _asqlite(path: Path) -> AsyncIterator[BaseStore]:
    import aiosqlite
    from langgraph.store.sqlite import AsyncSqliteStore

    await asyncio.to_thread(_prepare, path)
    async with aiosqlite.connect(path, isolation_level=None, timeout=_BUSY_S) as conn:
        await conn.execute("PRAGMA synchronous=NORMAL")
        store = AsyncSqliteStore(conn)
        await store.setup()
        yield store


@contextmanager
def _postgres(url: str) -> Iterator[BaseStore]:
    store = _postgres_module(url).ReconnectingStore(url)
    try:
        store.setup()
        yield store
    finally:
        store.close()


@asynccontextmanager
async def _apostgres(url: str) -> AsyncIterator[BaseStore]:
    store = await _postgres_module(url).AsyncReconnectingStore.open(url)
    try:
        await store.setup()
        yield store
    finally:
        await store.close()


def _postgres_module(url: str) -> Any:
    try:
        # By name: type checkers run without the extra, too.
        importlib.import_module("langgraph.store.postgres")
        return importlib.import_module("tracetune.stores.postgres")
    except ImportError as error:
        place = _public(url)
        hint = "pip install 'tracetune[postgres]'"
        raise StoreError(f"{place}: needs the extra postgres: {hint}.") from error


def _reason(error: Exception) -> str:
    """The first line of what went wrong first."""
    root: BaseException = error
    while root.__cause__ is not None:  # LangGraph wraps a failed read
        root = root.__cause__
    # Its COMMIT after a failed write fails as well, and hides why the write did.
    while isinstance(root, sqlite3.Error) and isinstance(root.__context__, sqlite3.Error):
        root = root.__context__
    lines = str(root).strip().splitlines()
    return (lines[0].strip() if lines else type(root).__name__).removesuffix(".") + "."


def _hide(reason: str, url: str) -> str:
    user, at, _ = url.partition("://")[2].rpartition("@")
    found = [user.partition(":")[2]] if at else []
    found += re.findall(r"password=([^&]*)", url)
    if any(re.search("[@/?#]", secret) for secret in found):
        # The driver took a part of it for the host, and says so.
        return "its password holds @, /, ? or #, which must be written %40, %2F, %3F, %23."
    for secret in filter(None, {form for s in found for form in (s, unquote(s))}):
        reason = reason.replace(secret, "***")
    return reason


def _public(url: str) -> str:
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{scheme}://{name}{':***' if colon else ''}{at}{place}"
    return re.sub(r"(password=)[^&]*", r"\1***", shown)
