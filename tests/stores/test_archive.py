"""A memory goes into a file and comes back the same, or not at all."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from tracetune.errors import InputError, StoreError, WriteError
from tracetune.stores.archive import (
    adump,
    arestore,
    dump,
    read_archive,
    restore,
    write_archive,
)
from tracetune.stores.backends import open_store
from tracetune.stores.memory import ProceduralMemory

Open = Callable[[str], BaseStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open SQLite files by name, as often as needed."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(open_store(f"sqlite:///{name}.db", base=tmp_path))


@pytest.fixture
def shop(opened: Open) -> ProceduralMemory:
    """Two agents, with releases in force, rolled back and rejected."""
    memory = ProceduralMemory(opened("shop"), "shop")
    desk, till = memory.agent("desk"), memory.agent("till")
    first = desk.commit(prompts={"z": "Grüß dich\u2028", "a": ""}, config={"n": 1e16}, promote=True)
    desk.commit(config={"n": 2, "deep": {"b": [None, True], "a": 0.1}}, promote=True, by="ana")
    desk.rollback(by="ana", why="worse")
    desk.reject(desk.commit(config={"n": 3}).id, by="ana", why="no")
    till.commit(prompts={"main": "Ring."}, evidence={"traces": ["t-1"]}, promote=True)
    assert desk.release.id == first.id
    # Whatever else is kept beside is carried as well.
    shop_store = memory.store
    shop_store.put(("tracetune", "shop", "desk", "notes", "bob"), "likes", {"tone": "short"})
    desk.label("canary", first.id, by="ana")
    memory.agent("desk", user="bob@x.org").prefer(config={"n": 7})
    shop_store.put(("tracetune", "shop2", "desk"), "head", {"of": "another project"})
    return memory


def test_a_dump_comes_back_the_same(shop: ProceduralMemory, opened: Open) -> None:
    copy = ProceduralMemory(opened("copy"), "shop")
    rows = dump(shop)
    done = restore(copy, rows)
    assert dump(copy) == rows
    assert (done.agents, done.releases, done.records) == (("desk", "till"), 4, len(rows) - 2)
    for name in ("desk", "till"):
        ours, theirs = shop.agent(name), copy.agent(name)
        assert theirs.releases() == ours.releases()
        assert theirs.history() == ours.history()
        assert theirs.release == ours.release
    assert list(copy.agent("desk").prompts) == ["z", "a"]
    likes = copy.store.get(("tracetune", "shop", "desk", "notes", "bob"), "likes")
    assert likes is not None
    assert likes.value == {"tone": "short"}
    assert copy.store.get(("tracetune", "shop2", "desk"), "head") is None
    assert copy.agent("desk").labels() == {"canary": shop.agent("desk").release.id}
    assert copy.agent("desk", user="bob@x.org").config["n"] == 7


async def test_the_async_twins_do_the_same(shop: ProceduralMemory, tmp_path: Path) -> None:
    rows = dump(shop)
    async with open_store("sqlite:///async.db", base=tmp_path) as store:
        copy = ProceduralMemory(store, "shop")
        await arestore(copy, rows)
        assert await adump(copy) == rows


def test_a_file_carries_a_dump_unchanged(shop: ProceduralMemory, tmp_path: Path) -> None:
    rows, file = dump(shop), tmp_path / "shop.jsonl"
    write_archive(file, rows)
    assert read_archive(file) == rows
    assert len(file.read_bytes().splitlines()) == len(rows)
    assert json.loads(file.read_text().split("\n")[0])["project"] == "shop"


def test_an_empty_memory_is_two_lines_and_comes_back(opened: Open) -> None:
    rows = dump(ProceduralMemory(opened("none"), "shop"))
    assert len(rows) == 2
    assert restore(ProceduralMemory(InMemoryStore(), "shop"), rows).records == 0


def test_more_records_than_one_statement_takes(opened: Open) -> None:
    store = InMemoryStore()
    for number in range(7000):
        store.put(("tracetune", "shop", "desk", "notes"), f"{number}", {"n": number})
    rows = dump(ProceduralMemory(store, "shop"))
    copy = ProceduralMemory(opened("copy"), "shop")
    assert restore(copy, rows).records == 7000
    assert dump(copy) == rows


def test_a_memory_that_is_not_empty_is_left_alone(shop: ProceduralMemory, opened: Open) -> None:
    other = ProceduralMemory(opened("other"), "shop")
    other.agent("desk").commit(prompts={"main": "mine"}, promote=True)
    before = dump(other)
    with pytest.raises(InputError, match=r"'shop' has a memory already \(\d+ records\)"):
        restore(other, dump(shop))
    assert dump(other) == before


def test_a_memory_that_went_on_is_not_set_back(shop: ProceduralMemory) -> None:
    rows = dump(shop)
    shop.agent("desk").commit(config={"n": 9}, promote=True)
    before = dump(shop)
    with pytest.raises(InputError, match="has a memory already"):
        restore(shop, rows)
    assert dump(shop) == before


class Failing(InMemoryStore):
    """A store that is lost after some writes."""

    left = 1

    def batch(self, ops: Any) -> Any:
        ops = list(ops)
        if type(ops[0]).__name__ == "PutOp":
            if not self.left:
                raise ConnectionError("gone")
            self.left -= 1
        return super().batch(ops)


def test_a_restore_that_was_cut_short_has_no_head_and_is_finished_by_another(
    opened: Open,
) -> None:
    source = ProceduralMemory(opened("big"), "shop")
    source.agent("desk").commit(prompts={"main": "hi"}, promote=True)
    for number in range(600):
        source.store.put(("tracetune", "shop", "desk", "journal2"), f"{number}", {"n": number})
    rows = dump(source)
    store = Failing()
    copy = ProceduralMemory(store, "shop")
    with pytest.raises(StoreError, match=r"restore of project 'shop' failed: gone\."):
        restore(copy, rows)
    assert copy.agent("desk").head() is None
    store.left = 9
    restore(copy, rows)
    assert dump(copy) == rows


def cut(rows: list[Any]) -> list[Any]:
    return rows[:-1]


def changed(rows: list[Any]) -> list[Any]:
    return [rows[0], rows[1] | {"key": "other"}, *rows[2:]]


def without_one(rows: list[Any]) -> list[Any]:
    return [rows[0], *rows[2:]]


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        pytest.param(cut, r"line \d+: the archive ends without its last line", id="cut short"),
        pytest.param(changed, r"line \d+: the checksum is not that", id="a record was changed"),
        pytest.param(
            without_one, r"line \d+: the number of records is not", id="a record is missing"
        ),
        pytest.param(lambda _: [], "line 1: expected the first line", id="nothing"),
        pytest.param(lambda r: r[:1], "line 1: the archive ends without", id="only a header"),
        pytest.param(lambda r: r[1:], "line 1: expected the first line", id="no header"),
        pytest.param(
            lambda r: [r[0] | {"layout": 99}, *r[1:]],
            "line 1: the archive has layout 99",
            id="of a newer tracetune",
        ),
        pytest.param(
            lambda r: [*r[:2], {"namespace": "desk", "key": "x", "value": {}}, *r[3:]],
            "line 3: expected a record",
            id="a line that is no record",
        ),
    ],
)
def test_what_is_no_whole_dump_restores_nothing(
    shop: ProceduralMemory, breaking: Callable[[list[Any]], list[Any]], message: str
) -> None:
    empty = ProceduralMemory(InMemoryStore(), "shop")
    with pytest.raises(InputError, match=message):
        restore(empty, breaking(dump(shop)))
    assert dump(empty) == dump(ProceduralMemory(InMemoryStore(), "shop"))


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        pytest.param(lambda b: b[:-40], r"line \d+: expected one JSON object", id="cut in a line"),
        pytest.param(lambda b: b"", "line 1: expected the first line", id="an empty file"),
        pytest.param(lambda b: b"\xff" + b, "line 1: .*utf-8", id="no text"),
        pytest.param(
            lambda b: b.replace(b"\n", b"\n\n", 1), "line 2: expected one", id="a blank line"
        ),
        pytest.param(lambda b: b.replace(b"Ring", b"Rang"), "checksum", id="an edited prompt"),
    ],
)
def test_a_broken_file_is_told_by_its_line(
    shop: ProceduralMemory,
    tmp_path: Path,
    breaking: Callable[[bytes], bytes],
    message: str,
) -> None:
    file = tmp_path / "shop.jsonl"
    write_archive(file, dump(shop))
    file.write_bytes(breaking(file.read_bytes()))
    with pytest.raises(InputError, match=message) as raised:
        read_archive(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_a_file_that_stands_there_is_not_replaced(shop: ProceduralMemory, tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text("mine")
    with pytest.raises(WriteError, match=r"prompts\.yaml exists already"):
        write_archive(file, dump(shop))
    assert file.read_text() == "mine"


def test_another_projects_dump_is_taken_only_on_purpose(shop: ProceduralMemory) -> None:
    copy = ProceduralMemory(InMemoryStore(), "copy")
    with pytest.raises(InputError, match="of project 'shop', but this one is 'copy'"):
        restore(copy, dump(shop))
    restore(copy, dump(shop), rename=True)
    assert copy.agent("desk").release == shop.agent("desk").release
