"""Stores behind URLs: what opens, what does not, and what is said then."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore

from tracetune.errors import InputError, StoreError
from tracetune.stores.backends import describe, open_store, store_errors


def test_memory_opens_empty_each_time():
    with open_store("memory://") as store:
        assert isinstance(store, InMemoryStore)
        store.put(("a",), "k", {"v": 1})
    with open_store("memory://") as store:
        assert store.get(("a",), "k") is None


async def test_memory_opens_for_await():
    async with open_store("memory://") as store:
        await store.aput(("a",), "k", {"v": 1})
        assert (await store.asearch(("a",)))[0].value == {"v": 1}


async def test_sqlite_keeps_what_was_put_for_both_ways(tmp_path: Path):
    handle = open_store("sqlite:///deep/down/memory.db", base=tmp_path)
    with handle as store:
        assert isinstance(store, SqliteStore)
        store.put(("a",), "k", {"v": 1})
    async with handle as astore:
        assert isinstance(astore, AsyncSqliteStore)
        item = await astore.aget(("a",), "k")
        assert item is not None
        assert item.value == {"v": 1}


def test_only_opening_makes_the_folder_and_the_file(tmp_path: Path):
    handle = open_store("sqlite:///deep/down/memory.db", base=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with handle:
        assert (tmp_path / "deep/down/memory.db").is_file()


def test_an_absolute_path_needs_no_base(tmp_path: Path):
    path = tmp_path / "memory.db"
    with open_store(f"sqlite:///{path}", base=tmp_path / "elsewhere") as store:
        assert describe(store) == f"sqlite:///{path}"
    assert path.is_file()


@pytest.mark.parametrize("name", ["C#", "what?", "100%25 [a]"])
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str):
    with open_store(f"sqlite:///{tmp_path / name / 'memory.db'}") as store:
        store.put(("a",), "k", {"v": 1})
    assert (tmp_path / name / "memory.db").is_file()


def test_a_relative_path_starts_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///memory.db"):
        pass
    assert (tmp_path / "memory.db").is_file()


async def test_sqlite_runs_in_wal_mode_without_full_syncs(tmp_path: Path):
    handle = open_store("sqlite:///memory.db", base=tmp_path)
    with handle as store:
        assert isinstance(store, SqliteStore)
        one = [store.conn.execute(f"PRAGMA {p}").fetchone()[0] for p in _PRAGMAS]
    async with handle as astore:
        assert isinstance(astore, AsyncSqliteStore)
        cursors = [await astore.conn.execute(f"PRAGMA {p}") for p in _PRAGMAS]
        other = [(await c.fetchone() or [None])[0] for c in cursors]
    assert one == other == ["wal", 1, 30_000]


_PRAGMAS = ("journal_mode", "synchronous", "busy_timeout")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("redis://host/0", "the scheme 'redis', but expected one of", id="scheme"),
        pytest.param("SQLITE:///x.db", "the scheme 'SQLITE'", id="scheme in capitals"),
        pytest.param("memory.db", "no scheme, but expected one of memory://", id="no scheme"),
        pytest.param("", "no scheme", id="nothing"),
        pytest.param(Path("x.db"), "must be text, one of memory://.* got PosixPath", id="a path"),
        pytest.param(None, "must be text, .* got None", id="none"),
        pytest.param("memory://x", "must be memory:// and nothing more", id="memory with a path"),
        pytest.param("sqlite://x.db", "must be sqlite:///path", id="two slashes"),
        pytest.param("sqlite:///", "must be sqlite:///path", id="no path"),
        pytest.param("sqlite:///:memory:", "memory:// for one that is not kept", id=":memory:"),
        pytest.param("sqlite:///x.db?mode=ro", "without options", id="options"),
        pytest.param("sqlite:///a#b/x.db?mode=ro", "without options", id="options and a folder"),
    ],
)
def test_a_url_of_no_known_form_is_refused_at_once(url: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)


def test_an_unknown_scheme_does_not_show_the_password():
    with pytest.raises(InputError, match="'mysql'") as caught:
        open_store("mysql://ann:hunter22@host/db")
    assert "hunter22" not in str(caught.value)


def _folder(tmp_path: Path) -> None:
    (tmp_path / "memory.db").mkdir()


def _text_file(tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_text("This is no database. " * 100)


def _other_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "memory.db") as conn:
        conn.execute("CREATE TABLE store (something TEXT)")
    conn.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(_folder, "memory.db is a folder", id="a folder stands there"),
        pytest.param(_text_file, "file is not a database", id="a file that is no database"),
        pytest.param(_other_tables, "no such column: prefix", id="a database of someone else"),
    ],
)
async def test_what_cannot_be_opened_says_why_in_one_line(make, message: str, tmp_path: Path):
    make(tmp_path)
    handle = open_store("sqlite:///memory.db", base=tmp_path)
    with pytest.raises(StoreError, match=message) as caught, handle:
        pass
    with pytest.raises(StoreError) as acaught:
        async with handle:
            pass
    assert str(caught.value) == str(acaught.value)
    assert str(caught.value).startswith("sqlite:///memory.db: opening failed: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_as_it_was(tmp_path: Path):
    _text_file(tmp_path)
    before = (tmp_path / "memory.db").read_bytes()
    with pytest.raises(StoreError), open_store("sqlite:///memory.db", base=tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["memory.db"]
    assert (tmp_path / "memory.db").read_bytes() == before


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"opening failed: .*file"),
        open_store("sqlite:///file/memory.db", base=tmp_path),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_a_folder_without_permission_says_so(tmp_path: Path):
    tmp_path.chmod(0o500)
    handle = open_store("sqlite:///sub/memory.db", base=tmp_path)
    with pytest.raises(StoreError, match="Permission denied"), handle:
        pass


def test_a_handle_opens_once_at_a_time(tmp_path: Path):
    handle = open_store("sqlite:///memory.db", base=tmp_path)
    with handle as store:
        with pytest.raises(StoreError, match="open already"), handle:
            pass
        store.put(("a",), "k", {"v": 1})
    with handle as store:
        assert store.get(("a",), "k") is not None


@pytest.fixture
def no_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the extra, also where it is installed."""
    monkeypatch.setitem(sys.modules, "langgraph.store.postgres", None)


@pytest.mark.usefixtures("no_postgres")
async def test_postgres_without_its_extra_names_the_extra():
    handle = open_store("postgresql://ann:hunter22@host/db")
    with pytest.raises(StoreError, match="needs the extra postgres") as caught, handle:
        pass
    with pytest.raises(StoreError, match="needs the extra postgres"):
        async with handle:
            pass
    assert str(caught.value).startswith("postgresql://ann:***@host/db: ")


@pytest.mark.parametrize(
    ("url", "quoted"),
    [
        pytest.param("postgresql://a:hunter22@h/db", "no user a with hunter22", id="as it is"),
        pytest.param("postgresql://a:p%40ss%21x@h/db", "bad p@ss!x here", id="percent-decoded"),
        pytest.param("postgresql://a:hun@ter22@h/db", "no host 'ter22@h'", id="taken for a host"),
        pytest.param("postgresql://h/db?password=hunter22&x=1", "hunter22?", id="as an option"),
    ],
)
def test_a_password_that_a_driver_quotes_is_not_passed_on(url: str, quoted: str):
    with pytest.raises(StoreError) as caught, store_errors("place", "opening", secret=url):
        raise OSError(quoted)
    assert not any(part in str(caught.value) for part in ("hunter22", "ter22", "p@ss"))


def test_processes_that_open_a_new_file_together_all_succeed(tmp_path: Path):
    program = (
        "import sys; from tracetune.stores.backends import open_store\n"
        "sys.stdin.read()\n"
        "with open_store(sys.argv[1]) as store: store.put(('a',), sys.argv[2], {})"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/memory.db"]
    runs = [
        subprocess.Popen([*command, str(i)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for i in range(6)
    ]
    for run in runs:
        assert run.stdin is not None
        run.stdin.close()
    errors = [run.stderr.read().decode() for run in runs if run.stderr]
    assert [run.wait() for run in runs] == [0] * len(runs), errors
    with open_store("sqlite:///memory.db", base=tmp_path) as store:
        assert len(store.search(("a",))) == len(runs)


@pytest.mark.parametrize("version", range(len(SqliteStore.MIGRATIONS)))
def test_a_file_whose_maker_was_killed_before_it_noted_a_migration_opens(
    tmp_path: Path, version: int
):
    conn = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    conn.execute("CREATE TABLE store_migrations (v INTEGER PRIMARY KEY)")
    for done, text in enumerate(SqliteStore.MIGRATIONS[: version + 1]):
        conn.executescript(text)
        if done < version:
            conn.execute("INSERT INTO store_migrations (v) VALUES (?)", (done,))
    conn.close()
    with open_store("sqlite:///memory.db", base=tmp_path) as store:
        store.put(("a",), "k", {"v": 1})
        assert store.get(("a",), "k") is not None
